"""Fixed lists of candidates in the order of somebody's scores."""

from collections.abc import Mapping, Sequence

import numpy as np

from fathom.contracts import Scorer
from fathom.records import PAD, Case, Ranking


class Among:
    """Keeps the `Recommender` seam over a scorer whose choice is a list of candidates for each user; ties stay as they are shown.

    What is in the history is ranked where a list holds it: the list is what was asked.
    """

    def __init__(self, scorer: Scorer, lists: Mapping[int, Sequence[int]]) -> None:
        self._scorer = scorer
        self._lists = lists

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """(B, k): the first k candidates of each case; `PAD` where there are fewer."""
        del exclude_history
        scores = self._scorer.score(cases)
        return ranking_of_lists(
            [self._lists[case.user] for case in cases],
            [row[list(self._lists[case.user])].tolist() for row, case in zip(scores, cases, strict=True)],
            k,
        )


class Kept:
    """Orders that were found before, as a recommender of the very users they were found for."""

    def __init__(self, orders: Mapping[int, tuple[Sequence[int], Sequence[float]]]) -> None:
        """`orders`: user -> items, and what speaks for each."""
        self._orders = orders

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """(B, k): the first k of each order; `PAD` where it is shorter."""
        del exclude_history
        found = [self._orders[case.user] for case in cases]
        return ranking_of_lists([items for items, _ in found], [scores for _, scores in found], k)


def ranking_of(lists: Sequence[Sequence[int]], k: int) -> Ranking:
    """Lists in order as a `Ranking` of k columns, with the scores 0, -1, -2, ...: they order items, and do not weigh them."""
    return ranking_of_lists(lists, [[-float(place) for place in range(len(items))] for items in lists], k)


def ranking_of_lists(lists: Sequence[Sequence[int]], scores: Sequence[Sequence[float]], k: int) -> Ranking:
    """Lists with a score for each item as a `Ranking`, the highest first; ties stay as they are, `PAD` where a list is short."""
    items = np.full((len(lists), k), PAD, dtype=np.int64)
    values = np.full((len(lists), k), -np.inf, dtype=np.float32)
    for row, (listed, told) in enumerate(zip(lists, scores, strict=True)):
        own = np.asarray(told, dtype=np.float32)
        order = np.argsort(-own, kind="stable")[:k]
        items[row, : len(order)] = np.asarray(listed, dtype=np.int64)[order]
        values[row, : len(order)] = own[order]
    return Ranking(items, values)
