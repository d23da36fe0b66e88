"""The table of ranked candidates: named models among the lists, the lists as they are, and the language model in every way it is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from rich.console import RenderableType

from fathom.contracts import Recommender
from fathom.data.candidates import ceiling
from fathom.errors import DataError
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_comparisons, make_row
from fathom.pipeline.asking.figures import asked_figures
from fathom.pipeline.ranking.recipe import CHANCE, OFFERED
from fathom.pipeline.ranking.workshop import RankingWorkshop
from fathom.pipeline.sequential.table import SequentialTable
from fathom.pipeline.table import Speaker
from fathom.pipeline.workshop import sampled
from fathom.prompting.prompts import prompts_of
from fathom.prompting.rank import PromptedRanker, RankedCandidates
from fathom.recommenders.among import Among, Kept
from fathom.records import Case

PLACES = (0, 5, 10, 15, 19)
"""Where on the shown list the target stands: metrics are told for each."""


class RankingTable(SequentialTable):
    """Everybody is given the same lists."""

    work: RankingWorkshop
    even_ties = True

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {name: (name, "candidates") for name in self.protagonists} | dict.fromkeys((CHANCE, OFFERED), ("candidates",))

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        """As for sequences; of those who ask all test users, each way of asking with the floor, BM25, the last model and the lists."""
        names, asked = self.protagonists, self.work.recipe.asked
        others = [name for name in dict.fromkeys(("popularity", "bm25", names[-1])) if name in names]
        whole = [name for name, settings in asked.items() if not settings.users]
        return [*super().pairs, *((name, other) for name in whole for other in (*others, OFFERED))]

    @property
    def headlines(self) -> Sequence[str]:
        """Whoever asks about everybody, if anybody does."""
        return [*self.protagonists, *(name for name, settings in self.work.recipe.asked.items() if not settings.users)]

    @property
    def ranked(self) -> str:
        lists = self.work.lists
        shortest, longest = min(map(len, lists.values())), max(map(len, lists.values()))
        size = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
        *others, last = self.work.recipe.candidates.retrievers or ("",)
        kind = {
            "stored": "the stored list of each user",
            "has-target": "what came next among random items",
            "retrieved": f"what {', '.join(others)}{' and ' if others else ''}{last} find",
        }[self.work.recipe.candidates.protocol]
        held = ceiling(self.work.test_cases, lists)
        return f"{size} candidates ({kind}; {held:.1%} of the lists hold what came next), metrics are means over the orders of ties"

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        work = self.work

        def offered() -> Recommender:
            return Kept({user: (items, [-float(place) for place in range(len(items))]) for user, items in work.lists.items()})

        def chance() -> Recommender:
            return Kept({user: (items, [0.0] * len(items)) for user, items in work.lists.items()})

        named = {name: partial(self._among, name) for name in self.protagonists}
        return {CHANCE: chance, OFFERED: offered, **named}

    def _among(self, name: str) -> Recommender:
        return Among(self.work.scorer(name), self.work.lists)

    def speakers(self) -> Mapping[str, Speaker]:
        return {name: Speaker((name,), True, partial(self._ask, name)) for name in self.work.recipe.asked}

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        work, rows = self.work, []
        for name, evaluation in evaluations.items():
            row = make_row(name, evaluation, seed=work.recipe.seed)
            figures = self._by_place(evaluation) | self._by_rank(evaluation)
            if name in work.recipe.asked:
                figures |= asked_figures(work.said(name, RankedCandidates), evaluation.seconds, work.recipe.endpoint)
            rows.append(row.model_copy(update={"metrics": row.metrics | figures}))
        return rows, self._of_some(evaluations)

    def _of_some(self, evaluations: Mapping[str, Evaluation]) -> list[Difference]:
        """Whoever asks some of the test users, beside the others on these users alone."""
        found = []
        for name, settings in self.work.recipe.asked.items():
            if settings.users and name in evaluations:
                own = evaluations[name]
                others = {
                    other: evaluations[other] for other in ("popularity", "bm25", self.protagonists[-1], OFFERED) if other in evaluations
                }
                same = {other: one.subset(np.flatnonzero(np.isin(one.users, own.users))) for other, one in others.items()}
                found += make_comparisons({name: own, **same}, [(name, other) for other in same], seed=self.work.recipe.seed)
        return found

    def _by_place(self, evaluation: Evaluation) -> dict[str, float]:
        """NDCG@10 by where the target stood on the list that was shown: all alike for who looks at what things are."""
        lists = self.work.lists
        pairs = zip(evaluation.users.tolist(), evaluation.next_items.tolist(), strict=True)
        stood = np.array([lists[user].index(item) if item in lists[user] else -1 for user, item in pairs])
        found = {}
        for place in PLACES:
            if (chosen := np.flatnonzero(stood == place)).size:
                found[f"ndcg@10/shown={place}"] = float(evaluation.subset(chosen).per_case("ndcg@10").mean())
        return found

    def _by_rank(self, evaluation: Evaluation) -> dict[str, float]:
        """How often training holds, on average, what comes out first, fifth, tenth, and what came next: the first above the last is a
        bias towards what is popular."""
        counts = self.work.counts
        ranks = [rank for rank in (1, 5, 10, 20) if rank <= evaluation.items.shape[1] and (evaluation.items[:, rank - 1] > 0).all()]
        found = {f"popularity/rank={rank}": float(counts[evaluation.items[:, rank - 1]].mean()) for rank in ranks}
        return found | {"popularity/target": float(counts[evaluation.next_items].mean())}

    def _ask(self, name: str) -> None:
        work, settings = self.work, self.work.recipe.asked[name]
        cases = sampled(work.test_cases, settings.users, seed=work.recipe.seed)
        prompts = prompts_of(settings.prompts, "ranking").label

        def asker() -> Callable[[Sequence[Case]], list[RankedCandidates]]:
            ranker = PromptedRanker(work.who_is_asked, work.catalog, settings)
            return lambda part: ranker.rank(part, [work.lists[case.user] for case in part])

        told = work.ask(name, cases, RankedCandidates, f"{len(cases):,} lists, {settings.way}, by the prompts {prompts}", asker)
        if told is not None:
            evaluation = evaluate(Kept({one.user: (one.items, one.scores) for one in told}), cases, even_ties=True)
            replace(evaluation, seconds=sum(one.seconds for one in told)).save(work.folder("ranks") / f"{name}.parquet")

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        del tokens
        if name not in self.work.recipe.asked:
            return super().trace(name, case, tokens=False)
        if case.user not in self.work.lists:
            raise DataError(f"--user {case.user}: there is no list for them to put in order")
        ranker = PromptedRanker(self.work.who_is_asked, self.work.catalog, self.work.recipe.asked[name])
        [told] = ranker.rank([case], [self.work.lists[case.user]])
        titles = [f"{place}. {self.work.catalog.title(item)}" for place, item in enumerate(told.items, start=1)]
        return [told.prompt, told.reply or "(no words: by likelihoods)", "\n".join(titles)]
