"""The table of conversations: who names, at each turn, what the recommender of the dialogue named then."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from rich.console import RenderableType

from fathom.contracts import Recommender
from fathom.conversation.asked import PromptedOrder
from fathom.conversation.likely import LikelyOrder, lines_of
from fathom.conversation.replay import Listener
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.rows import make_comparisons, make_row
from fathom.pipeline.asking.figures import asked_figures
from fathom.pipeline.conversation.recipe import FIXED, LISTENING
from fathom.pipeline.conversation.workshop import ConversationWorkshop
from fathom.pipeline.table import Speaker, Table
from fathom.pipeline.workshop import sampled
from fathom.prompting.prompts import prompts_of
from fathom.prompting.rank import RankedCandidates
from fathom.recommenders.among import ranking_of
from fathom.records import Case, Ranking


class ConversationTable(Table):
    """Rows that learn nothing, rows that learn to weigh signals, and the last of them with a language model."""

    work: ConversationWorkshop
    shown = ("recall@10", "recall@1", "recall@5", "recall@20", "ndcg@10")

    asked = "turns"

    @property
    def protagonists(self) -> Sequence[str]:  # type: ignore[override]
        return [*self._silent, *self.work.recipe.asked]

    @property
    def _silent(self) -> Sequence[str]:
        return [*FIXED, *self.work.recipe.learned, *([LISTENING] if self.work.recipe.language is not None else [])]

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {name: ("weights", "lm") if name == LISTENING else ("weights",) for name in self.protagonists}

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        names, last = self._silent, list(self.work.recipe.learned)[-1]
        whole = [name for name, settings in self.work.recipe.asked.items() if not settings.users]
        with_floor = [(name, "popularity") for name in names if name != "popularity"]
        return [
            *with_floor,
            *((last, name) for name in (*FIXED[1:], *list(self.work.recipe.learned)[:-1])),
            (LISTENING, last),
            *((name, last) for name in whole),
        ]

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
        return {name: Speaker((name,), True, partial(self._ask, name)) for name in self.work.recipe.asked}

    def _answer(self, name: str, cases: Sequence[Case]) -> list[RankedCandidates]:
        """What the language model makes of the last learned row's first items."""
        work = self.work
        listener = work.listener(list(work.recipe.learned)[-1])
        order = PromptedOrder(work.who_is_asked, work.catalog, work.recipe.asked[name])
        began = time.perf_counter()
        lists = [listener.best(case, work.recipe.looked_at)[0] for case in cases]
        told = order.put([work.said_before(case) for case in cases], lists)
        share = (time.perf_counter() - began) / len(cases)
        return [
            RankedCandidates(
                case.user,
                one.items,
                tuple(-float(place) for place in range(len(one.items))),
                {
                    "questions": 1,
                    "unreadable": one.unreadable,
                    "compliant": not one.unreadable,
                    "read": one.answer.read,
                    "written": one.answer.written,
                },
                one.prompt,
                one.answer.text,
                share,
            )
            for case, one in zip(cases, told, strict=True)
        ]

    def _ask(self, name: str) -> None:
        work, settings = self.work, self.work.recipe.asked[name]
        cases = sampled(work.test_cases, settings.users, seed=work.recipe.seed)
        about = f"{len(cases):,} turns, by the prompts {prompts_of(settings.prompts, 'conversation').label}"
        told = work.ask(name, cases, RankedCandidates, about, lambda: partial(self._answer, name))
        if told is not None:
            orders = {(case.user, case.history): one.items for case, one in zip(cases, told, strict=True)}
            evaluation = replace(evaluate(Told(orders), cases), seconds=sum(one.seconds for one in told))
            evaluation.save(work.folder("ranks") / f"{name}.parquet")

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        return {}

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        seed, counts = self.work.recipe.seed, self.work.counts
        rows = [make_row(name, evaluation, counts=counts, seed=seed) for name, evaluation in evaluations.items()]
        asked = {name: evaluations[name] for name in self.work.recipe.asked if name in evaluations}
        costs = {
            name: asked_figures(self.work.said(name, RankedCandidates), evaluation.seconds, self.work.recipe.endpoint)
            for name, evaluation in asked.items()
        }
        rows = [row.model_copy(update={"metrics": row.metrics | costs.get(row.model, {})}) for row in rows]
        pairs = [(a, b) for a, b in self.pairs if a in evaluations and b in evaluations]
        return rows, make_comparisons(evaluations, pairs, metrics=("recall@10",), seed=seed)

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        """What was said, and what would be recommended then."""
        del tokens
        if name in self.work.recipe.asked:
            [told] = self._answer(name, [case])
            return [
                told.prompt,
                told.reply,
                "\n".join(f"{place}. {self.work.catalog.title(item)}" for place, item in enumerate(told.items[:10], 1)),
            ]
        said = self.work.said_before(case)
        items = self.recommenders()[name]().recommend([case], 10).items[0].tolist()
        titles = [f"{place}. {self.work.catalog.title(item)}" for place, item in enumerate(items, start=1) if item]
        return ["".join(lines_of(said, self.work.catalog)), "\n".join(titles)]


class Told:
    """Keeps the `Recommender` seam with orders that were found before, of the very cases that they were found for."""

    def __init__(self, orders: Mapping[tuple[int, tuple[int, ...]], Sequence[int]]) -> None:
        self._orders = orders

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The first k of each order."""
        del exclude_history
        return ranking_of([self._orders[case.user, case.history] for case in cases], k)


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
        lists = [items for items, _ in found]
        parts = [self._work.part_of(case) for case in cases]
        for part in dict.fromkeys(parts):
            rows = [row for row, own in enumerate(parts) if own == part]
            order, scripts = self._order(part), [self._work.said_before(cases[row]) for row in rows]
            likelihoods = order.likelihoods.of(scripts, [lists[row][:looked_at] for row in rows])
            for row, own in zip(rows, likelihoods, strict=True):
                places = np.argsort(-order.mixed(found[row][1][:looked_at], own), kind="stable")
                lists[row] = [*(lists[row][place] for place in places), *lists[row][looked_at:]]
        return ranking_of(lists, k)
