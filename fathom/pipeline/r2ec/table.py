"""R²ec's table: a model that reasons is heard once about every test case, and read out after all of its words or after fewer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
from rich.console import RenderableType

from fathom.contracts import Recommender
from fathom.evaluation.cost import latency
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_row
from fathom.evaluation.said import load_said, save_said
from fathom.files import read_json, write_json
from fathom.metrics import ndcg
from fathom.pipeline.r2ec.workshop import REASONERS, R2ecWorkshop
from fathom.pipeline.table import LanguageTable, Speaker, part_comparisons, part_figures, places_of
from fathom.reasoners.reasoning import reason, shortened
from fathom.reasoners.recommender import R2ec, Reasoned
from fathom.records import Case, Reasoning
from fathom.reports.episode import token_view
from fathom.reports.page import PageData
from fathom.reports.readings import Reading, of_reasoning
from fathom.reports.reasoning import reasoning_view
from fathom.training.processes import Shared, in_shares, processes
from fathom.training.run import progress

NO_REASON = "r2ec-no-reason"
"""The row of the model that was never taught to reason."""

ALONE = 16
"""Test cases that are asked one by one, to see how long a person waits."""

FOREMOST = 10
"""Items that are shown behind a reasoning."""


class R2ecTable(LanguageTable):
    """Floors, the model without reasoning, and every stage of its life with it."""

    work: R2ecWorkshop
    protagonists = (NO_REASON, *REASONERS)
    life = REASONERS
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sasrec": ("sasrec",),
        NO_REASON: (NO_REASON,),
        **{name: (name,) for name in REASONERS},
    }
    pairs = (
        ("sasrec", "popularity"),
        (NO_REASON, "sasrec"),
        *((name, NO_REASON) for name in REASONERS),
        ("r2ec-recpo", "r2ec-warm"),
        ("r2ec", "r2ec-recpo"),
        ("r2ec", "sasrec"),
        ("r2ec", "text"),
    )

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        return {**self.floors(), "sasrec": lambda: self.work.sasrec, NO_REASON: self._silent, **self.ceilings()}

    def speakers(self) -> Mapping[str, Speaker]:
        return {name: Speaker((name,), self.work.folder(name).is_dir(), partial(_hear, self.work, name)) for name in REASONERS}

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        return {name: partial(self._reasoner, name) for name in REASONERS}

    @property
    def growing(self) -> Sequence[str]:
        return REASONERS

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        work, rows = self.work, []
        for name, evaluation in evaluations.items():
            row = make_row(name, evaluation, counts=work.counts, seed=work.recipe.seed)
            if name in REASONERS:
                speed = {"users_per_second": len(evaluation.ranks) / evaluation.seconds}
                row = row.model_copy(update={"metrics": row.metrics | spoken(self._reasonings(name)) | speed | self._asked_apart(name)})
            rows.append(row.model_copy(update={"metrics": row.metrics | part_figures(work, evaluation)}))
        return rows, part_comparisons(work, evaluations, [(REASONERS[-1], other) for other in ("sasrec", "text", NO_REASON)])

    def told(self, page: PageData) -> PageData:
        reasonings = self._reasonings(page.agent)
        return replace(page, reasonings=reasonings, readings=self._read(page.agent, reasonings))

    def readings(self, name: str) -> Sequence[Reading]:
        return self._read(name, self._reasonings(name))

    def _read(self, name: str, reasonings: Sequence[Reasoning]) -> Sequence[Reading]:
        """What was reasoned for the row `name`, and what was ranked first behind it; of a row that is silent its plain lists."""
        evaluation = self.judged(name)
        if evaluation is None or not reasonings:
            return super().readings(name)
        lists = evaluation.items[:, :FOREMOST].tolist()
        return [
            of_reasoning(reasoning, items, self.work.catalog, place)
            for reasoning, items, place in zip(reasonings, lists, places_of(evaluation), strict=True)
        ]

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        reasoner = self._silent() if name == NO_REASON else self._reasoner(name)
        [reasoning] = reason(reasoner.head, [case], self.work.catalog, budget=reasoner.budget)
        ranking = reasoner.rank([reasoning], FOREMOST)
        best = list(zip(ranking.items[0].tolist(), ranking.scores[0].tolist(), strict=True))
        shown: list[RenderableType] = [reasoning_view(reasoning, best, self.work.catalog)]
        if tokens:
            shown.append(token_view(reasoning.tape, reasoner.head.policy.decode))
        return shown

    def _silent(self) -> R2ec:
        return R2ec(self.work.head(NO_REASON), self.work.catalog, budget=0)

    def _reasoner(self, name: str) -> R2ec:
        return R2ec(self.work.head(name), self.work.catalog)

    def _reasonings(self, name: str) -> list[Reasoning]:
        """None of a row that is silent."""
        return load_said(self.work.folder("episodes") / f"{name}.jsonl.gz", Reasoning) if name in REASONERS else []

    def _asked_apart(self, name: str) -> dict[str, float]:
        """What was found out about a model beside its ranks, when it was heard."""
        path = self.work.folder("episodes") / f"{name}.json"
        kept = read_json(path) if path.is_file() else {}
        return {key: float(str(value)) for key, value in kept.items()} if isinstance(kept, dict) else {}


def spoken(reasonings: Sequence[Reasoning]) -> dict[str, float]:
    """How much was said, per user: tokens that the model wrote (mean and the 95th percentile), tokens read at the end, the share that was
    read out because its tokens had run out, the share whose prompt had no room for all events, and seconds of reasoning alone."""
    written = np.array([reasoning.written for reasoning in reasonings])
    return {
        "tokens": float(written.mean()),
        "tokens_p95": float(np.percentile(written, 95)),
        "context_tokens": float(np.mean([len(reasoning.tape.tokens) for reasoning in reasonings])),
        "forced": float(np.mean([reasoning.forced for reasoning in reasonings])),
        "cut": float(np.mean([reasoning.cut for reasoning in reasonings])),
        "seconds_per_user": float(np.mean([reasoning.seconds for reasoning in reasonings])),
    }


def _hear(work: R2ecWorkshop, name: str) -> None:
    """Let the model reason about every test case, once, greedily, and rank behind it; the one that serves also behind fewer words."""
    reasoner, together = R2ec(work.head(name), work.catalog), processes()
    with progress(f"judging {name}", len(work.test_cases)) as advance:

        def share(cases: Sequence[Case]) -> list[Reasoning]:
            return reason(reasoner.head, cases, work.catalog, progress=lambda done: advance(done * together.num_processes))

        reasonings = in_shares(share, work.test_cases)
    evaluation = evaluate(Shared(Reasoned(reasoner, reasonings)), work.test_cases)
    apart: dict[str, float] = {}
    for budget in work.recipe.budgets if name == REASONERS[-1] else ():
        fewer = [shortened(reasoning, reasoner.head, budget) for reasoning in reasonings]
        ranks = evaluate(Shared(Reasoned(reasoner, fewer)), work.test_cases).ranks
        apart[f"ndcg@10/tokens={budget}"] = float(ndcg(ranks, 10).mean())
    if not together.is_main_process:
        return
    apart |= {"users_at_once": reasoner.head.policy.at_once, "latency_seconds": latency(reasoner, work.test_cases[:ALONE])}
    save_said(work.folder("episodes") / f"{name}.jsonl.gz", reasonings)
    write_json(work.folder("episodes") / f"{name}.json", dict(apart))
    ranked = evaluation.seconds * together.num_processes
    spent = replace(evaluation, seconds=ranked + sum(reasoning.seconds for reasoning in reasonings))
    spent.save(work.folder("ranks") / f"{name}.parquet")
