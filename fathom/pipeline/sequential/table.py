"""The table of named models: a row each, compared with the floor and with the one that serves."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import RenderableType

from fathom.contracts import Recommender
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_row
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.table import Speaker, Table, part_figures
from fathom.records import Case
from fathom.reports.page import PageData


class SequentialTable(Table):
    """Nobody speaks; the last model of the table serves, unless another is named."""

    work: SequentialWorkshop

    @property
    def protagonists(self) -> Sequence[str]:  # type: ignore[override]
        return self.work.recipe.models.names

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {name: (name,) for name in self.protagonists}

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        names = self.protagonists
        return [(name, other) for name in names for other in dict.fromkeys(("popularity", names[-1])) if other != name]

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        return {**{name: partial(self.work.model, name) for name in self.protagonists}, **self.ceilings()}

    def speakers(self) -> Mapping[str, Speaker]:
        return {}

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        return {}

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        rows = []
        for name, evaluation in evaluations.items():
            row = make_row(name, evaluation, counts=self.work.counts, seed=self.work.recipe.seed)
            rows.append(row.model_copy(update={"metrics": row.metrics | part_figures(self.work, evaluation)}))
        return rows, []

    def told(self, page: PageData) -> PageData:
        return page

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        raise ConfigError(f"--model {name}: it recommends without a word, there is nothing to trace; ask it by 'fathom recommend'")
