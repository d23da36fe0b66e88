"""The table of conversations: who names, at each turn, what the recommender of the dialogue named then."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import RenderableType

from fathom.contracts import Recommender
from fathom.conversation.likely import LikelyOrder, lines_of
from fathom.conversation.replay import Listener
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_comparisons, make_row
from fathom.pipeline.conversation.recipe import FIXED, LISTENING
from fathom.pipeline.conversation.workshop import ConversationWorkshop
from fathom.pipeline.table import Speaker, Table
from fathom.recommenders.among import ranking_of_lists
from fathom.records import Case, Ranking, Utterance
from fathom.reports.page import PageData


class ConversationTable(Table):
    """Rows that learn nothing, rows that learn to weigh signals, and the last of them with a language model."""

    work: ConversationWorkshop
    shown = ("recall@10", "recall@1", "recall@5", "recall@20", "ndcg@10")

    @property
    def protagonists(self) -> Sequence[str]:  # type: ignore[override]
        return [*FIXED, *self.work.recipe.learned, *([LISTENING] if self.work.recipe.language is not None else [])]

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {name: ("weights", "lm") if name == LISTENING else ("weights",) for name in self.protagonists}

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        names, last = self.protagonists, list(self.work.recipe.learned)[-1]
        with_floor = [(name, "popularity") for name in names if name != "popularity"]
        return [*with_floor, *((last, name) for name in (*FIXED[1:], *list(self.work.recipe.learned)[:-1])), (LISTENING, last)]

    @property
    def ranked(self) -> str:
        return "all films that nobody has named before in the dialogue"

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        work, last = self.work, list(self.work.recipe.learned)[-1]
        rows: dict[str, Callable[[], Recommender]] = {name: partial(work.listener, name) for name in (*FIXED, *work.recipe.learned)}
        if work.recipe.language is not None:
            rows[LISTENING] = lambda: Rereader(work, work.listener(last))
        return rows

    def speakers(self) -> Mapping[str, Speaker]:
        return {}

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        return {}

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        seed, counts = self.work.recipe.seed, self.work.counts
        rows = [make_row(name, evaluation, counts=counts, seed=seed) for name, evaluation in evaluations.items()]
        pairs = [(a, b) for a, b in self.pairs if a in evaluations and b in evaluations]
        return rows, make_comparisons(evaluations, pairs, metrics=("recall@10",), seed=seed)

    def told(self, page: PageData) -> PageData:
        return page

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        """What was said, and what would be recommended then."""
        del tokens
        if name not in self.recommenders():
            raise ConfigError(f"--model {name}: the run has no such row")
        said = self.work.said_before(case)
        items = self.recommenders()[name]().recommend([case], 10).items[0].tolist()
        titles = [f"{place}. {self.work.catalog.title(item)}" for place, item in enumerate(items, start=1) if item]
        return ["".join(lines_of(said, self.work.catalog)), "\n".join(titles)]


class Rereader:
    """Keeps the `Recommender` seam over a listener whose first items a language model puts in order, each turn by its part's."""

    def __init__(self, work: ConversationWorkshop, listener: Listener) -> None:
        self._work = work
        self._listener = listener
        self._orders: dict[str, LikelyOrder] = {}

    def _order(self, part: str) -> LikelyOrder:
        if part not in self._orders:
            self._orders[part] = self._work.order(part)
        return self._orders[part]

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case; ties stay as the listener has them."""
        looked_at = self._work.recipe.looked_at
        found = [self._listener.best(case, max(k, looked_at), exclude_history=exclude_history) for case in cases]
        told: list[list[float]] = [[] for _ in cases]
        parts = [self._work.part_of(case) for case in cases]
        for part in dict.fromkeys(parts):
            rows = [row for row, own in enumerate(parts) if own == part]
            order = self._order(part)
            scripts: list[Sequence[Utterance]] = [self._work.said_before(cases[row]) for row in rows]
            likelihoods = order.likelihoods.of(scripts, [found[row][0][:looked_at] for row in rows])
            for row, own in zip(rows, likelihoods, strict=True):
                first = order.mixed(found[row][1][:looked_at], own)
                lowest = float(first.min(initial=0.0))
                told[row] = [*first.tolist(), *(lowest - 1 - place for place in range(len(found[row][0]) - len(first)))]
        return ranking_of_lists([items for items, _ in found], told, k)
