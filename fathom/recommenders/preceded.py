"""Histories with items put before them that nobody took: what somebody who is hardly known may have taken."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fathom.contracts import Recommender
from fathom.records import PAD, Case, EventColumn, Interactions, Ranking

Before = Mapping[int, tuple[int, ...]]
"""User -> items, the oldest first."""


class Preceded:
    """Keeps the `Recommender` seam over another one that sees such items, and may recommend them."""

    def __init__(self, recommender: Recommender, before: Before) -> None:
        self._recommender = recommender
        self._before = before

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case, none of its own history with `exclude_history`."""
        longest = max((len(set(case.history)) for case in cases), default=0) if exclude_history else 0
        seen = [self.case(case, self._before) for case in cases]
        found = self._recommender.recommend(seen, k + longest, exclude_history=False)
        items = np.full((len(cases), k), PAD, dtype=np.int64)
        scores = np.full((len(cases), k), -np.inf, dtype=np.float32)
        for row, case in enumerate(cases):
            kept = np.flatnonzero((found.items[row] != PAD) & ~np.isin(found.items[row], case.history if exclude_history else ()))[:k]
            items[row, : len(kept)], scores[row, : len(kept)] = found.items[row, kept], found.scores[row, kept]
        return Ranking(items, scores)

    @staticmethod
    def case(case: Case, before: Before) -> Case:
        """The case as it is seen; of what is put before it neither rating nor time is known."""
        items = before.get(case.user, ())
        n = len(items)
        return replace(
            case,
            history=(*items, *case.history),
            ratings=(*(float("nan"),) * n, *case.ratings) if case.ratings else (),
            times=(*(-1,) * n, *case.times) if case.times else (),
            columns={name: (*(float("nan"),) * n, *values) for name, values in case.columns.items()},
        )


def preceded_by(log: Interactions, before: Before) -> Interactions:
    """The log with these items before the histories of their users."""
    counts = np.array([len(before.get(user, ())) for user in range(log.n_users)], dtype=np.int64)
    offsets = log.offsets + np.concatenate([[0], np.cumsum(counts)])
    own = np.ones(offsets[-1], dtype=np.bool_)
    for user in np.flatnonzero(counts).tolist():
        own[offsets[user] : offsets[user] + counts[user]] = False
    items = np.zeros(len(own), dtype=np.int64)
    items[own] = log.items
    items[~own] = [item for user in range(log.n_users) for item in before.get(user, ())]

    def widened(values: np.ndarray, filler: float) -> np.ndarray:
        whole = np.full(len(own), filler, dtype=values.dtype)
        whole[own] = values
        return whole

    return replace(
        log,
        offsets=offsets,
        items=items,
        ratings=None if log.ratings is None else widened(log.ratings, np.nan),
        times=None if log.times is None else widened(log.times, -1),
        columns={name: EventColumn(widened(column.values, np.nan), column.names) for name, column in log.columns.items()},
    )
