"""The table of free recommendation: named models, a language model over the whole catalogue, and what it names however it is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from rich.console import RenderableType

from fathom.agents.protocol import HISTORY_OPEN
from fathom.contracts import Recommender
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_comparisons, make_row
from fathom.items.embed import Remembering, cache_folder
from fathom.language.encoding import text_encoder
from fathom.language.prompt import within
from fathom.pipeline.next.recipe import CATALOGUE
from fathom.pipeline.next.workshop import NextWorkshop
from fathom.pipeline.sequential.table import SequentialTable
from fathom.pipeline.table import Speaker
from fathom.pipeline.workshop import sampled
from fathom.prompting.generate import Generated, Generator, generated_figures, order_sensitivity
from fathom.prompting.ground import Grounder
from fathom.prompting.prompts import prompts_of
from fathom.recommenders.among import Kept
from fathom.records import Case

K = 20
"""Items that are asked for."""


class NextTable(SequentialTable):
    """Everybody is asked for the best of the whole catalogue."""

    work: NextWorkshop

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {**super().needs, CATALOGUE: ("lm",)}

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        names, recipe = self.protagonists, self.work.recipe
        others = list(dict.fromkeys(name for name in ("popularity", names[-1], self.work.filled_by) if name in names))
        speaking = [name for name, settings in recipe.generated.items() if not settings.users]
        return [*super().pairs, *((name, other) for name in (CATALOGUE, *speaking) for other in others)]

    @property
    def headlines(self) -> Sequence[str]:
        """Whoever asks about everybody and shows histories as they are; before all of them the one that ranks the catalogue."""
        asked = [name for name, settings in self.work.recipe.generated.items() if not settings.users and not settings.shuffled]
        return [*self.protagonists, *asked, CATALOGUE]

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        rows = dict(super().recommenders())
        ceilings = {name: rows.pop(name) for name in self.ceilings()}
        catalogue: dict[str, Callable[[], Recommender]] = {CATALOGUE: self._catalogue} if self.work.recipe.ranks_catalogue else {}
        return {**rows, **catalogue, **ceilings}

    def _catalogue(self) -> Recommender:
        """Every title by its likelihood, as the model has learned to go on with histories."""
        from fathom.recommenders.language import LanguageRecommender

        language, policy, titles = self.work.recipe.language, self.work.local, self.work.catalog.titles
        assert language is not None

        def prompt(case: Case) -> str:
            def filled(lines: Sequence[str]) -> str:
                return HISTORY_OPEN + "".join(lines)

            lines = [f"{titles[item - 1]}\n" for item in case.history]
            return within(lines, filled, name="history", most=language.windows.row, count=lambda text: len(policy.encode(text)))

        return LanguageRecommender(policy, self.work.catalog, prompt)

    def speakers(self) -> Mapping[str, Speaker]:
        return {name: Speaker((name,), True, partial(self._ask, name)) for name in self.work.recipe.generated}

    def _generator(self, name: str) -> Generator:
        work, recipe = self.work, self.work.recipe
        encoder = Remembering(text_encoder(recipe.encoder), cache_folder())
        grounder = Grounder(work.catalog, encoder, work.vectors, alike=recipe.alike)
        settings, filling = recipe.generated[name], work.model(work.filled_by)
        return Generator(work.who_is_asked, work.catalog, grounder, filling, settings, vectors=work.vectors)

    def _ask(self, name: str) -> None:
        work, settings = self.work, self.work.recipe.generated[name]
        cases = sampled(work.test_cases, settings.users, seed=work.recipe.seed)

        def asker() -> Callable[[Sequence[Case]], list[Generated]]:
            generator = self._generator(name)
            return lambda part: generator.generate(part, K)

        about = f"{len(cases):,} lists out of its own head, by the prompts {prompts_of(settings.prompts, 'next').label}"
        told = work.ask(name, cases, Generated, about, asker)
        if told is not None:
            orders = {one.user: ([item.item for item in one.items], [-float(place) for place in range(len(one.items))]) for one in told}
            evaluation = replace(evaluate(Kept(orders), cases), seconds=sum(one.seconds for one in told))
            evaluation.save(work.folder("ranks") / f"{name}.parquet")

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        work, generated = self.work, self.work.recipe.generated
        rows, more = super().rows({name: one for name, one in evaluations.items() if name not in generated})
        asked = {name: work.said(name, Generated) for name in generated if name in evaluations}
        for name, told in asked.items():
            row = make_row(name, evaluations[name], counts=work.counts, seed=work.recipe.seed)
            figures = generated_figures(told) | {"seconds_per_user": evaluations[name].seconds / len(told)} | self._by_order(name, asked)
            if work.recipe.endpoint is not None:
                read, written = (sum(one.tally[kind] for one in told) for kind in ("read", "written"))
                figures["money"] = work.recipe.endpoint.price(read, written) / len(told)
            rows.append(row.model_copy(update={"metrics": row.metrics | figures}))
        order = list(evaluations)
        return sorted(rows, key=lambda row: order.index(row.model)), [*more, *self._of_some(evaluations)]

    def _by_order(self, name: str, asked: Mapping[str, Sequence[Generated]]) -> dict[str, float]:
        """How much of a row's lists is other than in the row that differs from it in nothing but the order in which histories are shown."""
        settings = self.work.recipe.generated[name]
        straight = settings.model_copy(update={"shuffled": False})
        same = [other for other, theirs in self.work.recipe.generated.items() if theirs == straight and other in asked]
        return {"changed_by_order": order_sensitivity(asked[same[0]], asked[name])} if settings.shuffled and same else {}

    def _of_some(self, evaluations: Mapping[str, Evaluation]) -> list[Difference]:
        """Whoever asks some of the test users, beside the others on these users alone."""
        found = []
        for name, settings in self.work.recipe.generated.items():
            if settings.users and name in evaluations:
                own, others = evaluations[name], ("popularity", self.protagonists[-1], self.work.filled_by, CATALOGUE)
                there = {other: evaluations[other] for other in others if other in evaluations}
                same = {other: one.subset(np.flatnonzero(np.isin(one.users, own.users))) for other, one in there.items()}
                found += make_comparisons({name: own, **same}, [(name, other) for other in same], seed=self.work.recipe.seed)
        return found

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        if name not in self.work.recipe.generated:
            return super().trace(name, case, tokens=tokens)
        [told] = self._generator(name).generate([case], K)
        lines = []
        for place, (one, why) in enumerate(zip(told.items, told.reasons, strict=True), start=1):
            found = f"{one.by} {one.score:.2f}: {one.text}" if one.text else one.by
            lines.append(f"{place}. {self.work.catalog.title(one.item)} ({found}){f'; near to {why}' if why else ''}")
        return [told.prompt, told.reply, "\n".join(lines)]
