"""What is different from method to method when a run is judged: the rows, how they come about, who is compared with whom."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from rich.console import RenderableType

from fathom.contracts import Rater, Recommender
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_comparisons
from fathom.metrics import Values
from fathom.models.popularity import Popularity
from fathom.pipeline.workshop import LanguageWorkshop, Workshop
from fathom.recommenders.raters import Biases, Factors
from fathom.recommenders.textual import TextRecommender
from fathom.records import Case, Ints
from fathom.reports.page import PageData
from fathom.reports.readings import Reading, of_list
from fathom.reports.tables import SHOWN

BLIND_ORACLE = "oracle-without-ratings"
"""In a planted world, the best that can be done without ratings: a model above it has read them."""


ALL_ITEMS = "full ranking"
"""What is ranked where nothing else is said."""

RARE = 10
"""Items with fewer training interactions are reported apart."""


def places_of(evaluation: Evaluation) -> list[int]:
    """Of what came next in each list; 0 where it was not ranked."""
    ranks = evaluation.ranks if evaluation.ranks.ndim == 1 else evaluation.ranks[:, 0]
    places: list[int] = np.maximum(ranks, 0).tolist()
    return places


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model that recommends in words or after them: it is heard once for all of its rows, and its words are kept."""

    rows: tuple[str, ...]
    """Its rows in the table."""
    ready: bool
    """Whether it is there to be heard."""
    judge: Callable[[], None]
    """Hears it about every test case; leaves the rows' ranks and its words in the run folder."""


class Table(ABC):
    """The table of one run. `judge.py` fills it; a method says what is in it."""

    needs: ClassVar[Mapping[str, tuple[str, ...]]]
    """Row -> the stages that must have left their products for it; the other rows need no training."""
    pairs: ClassVar[Sequence[tuple[str, str]]]
    """Who is compared with whom, where both rows exist."""
    protagonists: ClassVar[Sequence[str]]
    """The rows of the method's own, in the order of their lives: the last one that exists is who serves."""
    life: ClassVar[Sequence[str]] = ()
    """The rows of one model after one stage of its training and the next: a page shows what changed from the first to the last."""
    asked: ClassVar[str] = "users"
    """Of what a case is one, in the plural."""
    even_ties: ClassVar[bool] = False
    """Whether metrics are means over all orders of items with equal scores: short lists have many such."""

    shown: ClassVar[Sequence[str]] = SHOWN
    """The metrics that a terminal shows."""

    def __init__(self, work: Workshop) -> None:
        self.work = work

    @property
    def headlines(self) -> Sequence[str]:
        """The rows that a page may be about: the last one that exists is it."""
        return self.protagonists

    @property
    def ranked(self) -> str:
        """What is ranked, in words."""
        return ALL_ITEMS

    @abstractmethod
    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        """Name of each row that says nothing -> how it is made, in the order of the table."""

    @abstractmethod
    def speakers(self) -> Mapping[str, Speaker]:
        """Name -> who speaks, in the order of the table."""

    @abstractmethod
    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        """Row of a speaker -> how it is made as whoever recommends to anybody."""

    @abstractmethod
    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        """A row for each evaluation, and the comparisons that are this method's own."""

    def told(self, page: PageData) -> PageData:
        """The page with what its protagonist answered."""
        return replace(page, readings=self.readings(page.agent))

    @abstractmethod
    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        """What the protagonist called `name` says about a case, for a terminal; with `tokens` also token by token."""

    @property
    def agents(self) -> Sequence[str]:
        """Those of `served` that think aloud, turn by turn."""
        return ()

    @property
    def hearing(self) -> Sequence[str]:
        """The rows that take what is wanted in words."""
        return ()

    @property
    def growing(self) -> Sequence[str]:
        """The rows that can recommend items which come after training."""
        return ()

    def readings(self, name: str) -> Sequence[Reading]:
        """What the row called `name` answered, case by case, in the order in which it was asked; none where it ranks nothing."""
        evaluation = self.judged(name)
        if evaluation is None:
            return ()
        cases, catalog = self._cases_of(evaluation), self.work.catalog
        return [
            of_list(case, items, catalog, place)
            for case, items, place in zip(cases, evaluation.items.tolist(), places_of(evaluation), strict=True)
        ]

    def judged(self, name: str) -> Evaluation | None:
        """The ranks that the run folder holds of a row; None where it holds none."""
        path = self.work.folder("ranks") / f"{name}.parquet"
        return Evaluation.load(path) if path.is_file() else None

    def _cases_of(self, evaluation: Evaluation) -> list[Case]:
        """The cases that were asked, which may be fewer than the run has; of one that is gone, its history is."""
        known = {(case.user, case.target): case for case in self.work.test_cases}
        asked = zip(evaluation.users.tolist(), evaluation.next_items.tolist(), strict=True)
        return [known.get((user, target)) or Case(user, (), target) for user, target in asked]

    def raters(self) -> Mapping[str, Callable[[], Rater]]:
        """Name -> who foretells ratings, best first; asked only where the log has some."""
        log, n_items = self.work.split.train, self.work.catalog.n_items
        return {"factors": lambda: Factors.of(log, n_items), "biases": lambda: Biases.of(log, n_items)}

    def spared(self, name: str) -> float:
        """Seconds that the row `name` did not spend because another one had done its work."""
        del name
        return 0.0

    def weights(self) -> Values | None:
        """(n,) what each test case counts in a mean, 1 on average; None: all alike."""
        return None

    def ceilings(self) -> dict[str, Callable[[], Recommender]]:
        """What nobody can beat, where it is known."""
        oracle, world = self.work.oracle, self.work.recipe.world
        if oracle is None:
            return {}
        blind = {BLIND_ORACLE: oracle.without_ratings} if world is not None and world.planted else {}
        return {**blind, "oracle": lambda: oracle}


class LanguageTable(Table):
    """The table of a method whose language model recommends."""

    work: LanguageWorkshop

    def floors(self) -> dict[str, Callable[[], Recommender]]:
        """What everybody must beat."""
        work = self.work
        return {
            "popularity": lambda: Popularity.of(work.split.train, work.catalog.n_items),
            "text": lambda: TextRecommender(work.vectors),
        }


def parts(work: Workshop) -> dict[str, Ints]:
    """What is reported apart, before the name of a metric -> the items whose cases it is about.

    'rare/': fewer than `RARE` training interactions; 'cold/': the tenth of all items that training holds least often, smaller ids first.
    """
    counts = work.counts[1:]
    least = np.argsort(counts, kind="stable")[: len(counts) // 10]
    return {"rare/": np.flatnonzero(counts < RARE) + 1, "cold/": least + 1}


def part_figures(work: Workshop, evaluation: Evaluation) -> dict[str, float]:
    """Metrics of the cases about the `parts`, where there are any."""
    found: dict[str, float] = {}
    for prefix, items in parts(work).items():
        if (chosen := np.flatnonzero(np.isin(evaluation.next_items, items))).size:
            found |= {f"{prefix}{name}": value for name, value in evaluation.subset(chosen).metrics((10, 20)).items()}
    return found


def part_comparisons(work: Workshop, evaluations: Mapping[str, Evaluation], pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """The pairs compared on the cases about each of the `parts` alone."""
    pairs, told = [(a, b) for a, b in pairs if a in evaluations and b in evaluations], []
    for prefix, items in parts(work).items():
        some = {name: np.flatnonzero(np.isin(evaluations[name].next_items, items)) for name in {name for pair in pairs for name in pair}}
        if some and all(chosen.size for chosen in some.values()):
            narrowed = {name: evaluations[name].subset(chosen) for name, chosen in some.items()}
            found = make_comparisons(narrowed, pairs, seed=work.recipe.seed)
            told += [one.model_copy(update={"metric": f"{prefix}{one.metric}"}) for one in found]
    return told
