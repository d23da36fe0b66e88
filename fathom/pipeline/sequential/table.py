"""The table of named models: a row each, compared with the floor and with the one that serves."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
from rich.console import Console, RenderableType

from fathom.contracts import Recommender
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_row
from fathom.metrics import Values
from fathom.models.registry import model_of
from fathom.models.sasrec_text import SASRecText
from fathom.models.text import Text
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.table import Speaker, Table, part_figures
from fathom.recommenders.mix import Mix, choose_weight
from fathom.records import Case, Ints
from fathom.training.processes import processes


class SequentialTable(Table):
    """Nobody speaks; the last model of the table serves, unless another is named."""

    work: SequentialWorkshop

    @property
    def protagonists(self) -> Sequence[str]:  # type: ignore[override]
        return self.work.recipe.models.names

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {name: (name,) for name in self.protagonists} | self.work.recipe.mixed

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        """Each with the floor, with the last of the table, and one that is a model once more with the model as it is; each mix with its
        parts."""
        names = self.protagonists
        alone = [
            (name, other) for name in names for other in dict.fromkeys(("popularity", model_of(name).kind, names[-1])) if other != name
        ]
        return [*alone, *((row, part) for row, parts in self.work.recipe.mixed.items() for part in parts)]

    def weights(self) -> Values | None:
        """Every window counts alike, however many it asks: means are averages over time (AoT)."""
        if not self.work.windows:
            return None
        place = self._places
        counts = np.bincount(place)
        return len(place) / (np.count_nonzero(counts) * counts[place])

    @cached_property
    def _places(self) -> Ints:
        """(n,) the window of each test case."""
        window = {case.user: number for number, one in enumerate(self.work.windows) for case in one.test}
        return np.array([window[case.user] for case in self.work.test_cases], dtype=np.int64)

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        alone = {name: partial(self.work.model, name) for name in self.protagonists}
        return {**alone, **{row: partial(self._mix, row) for row in self.work.recipe.mixed}, **self.ceilings()}

    def _mix(self, row: str) -> Recommender:
        """Two models as one."""
        first, second = self.work.recipe.mixed[row]
        parts = (self.work.model(first), self.work.model(second))
        weight = choose_weight(parts, self.work.valid_cases)
        if processes().is_main_process:
            told = f"{row}: {1 - weight:.1f} of {first}, {weight:.1f} of {second}, by {len(self.work.valid_cases):,} validation cases"
            Console().print(f"  {told}", highlight=False)
        return Mix(parts, (1 - weight, weight))

    def speakers(self) -> Mapping[str, Speaker]:
        return {}

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        return {}

    @property
    def hearing(self) -> Sequence[str]:
        return [name for name in self.work.recipe.models.names if model_of(name) is Text]

    @property
    def growing(self) -> Sequence[str]:
        return [name for name in self.work.recipe.models.names if model_of(name) in (Text, SASRecText)]

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        rows = []
        for name, evaluation in evaluations.items():
            row = make_row(name, evaluation, counts=self.work.counts, seed=self.work.recipe.seed)
            figures = part_figures(self.work, evaluation) | self._over_time(evaluation)
            rows.append(row.model_copy(update={"metrics": row.metrics | figures}))
        return rows, []

    def _over_time(self, evaluation: Evaluation) -> dict[str, float]:
        """Metrics of each window alone, before their names when it begins: '2019-04-03/ndcg@10'."""
        found: dict[str, float] = {}
        for number, window in enumerate(self.work.windows):
            if (chosen := np.flatnonzero(self._places == number)).size:
                found |= {f"{window.name}/{name}": value for name, value in evaluation.subset(chosen).metrics((10, 20)).items()}
        return found

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        raise ConfigError(f"--model {name}: it recommends without a word, there is nothing to trace; ask it by 'fathom recommend'")
