"""Any scorer as a recommender."""

from collections.abc import Sequence

import numpy as np

from fathom.contracts import Scorer
from fathom.errors import ConfigError
from fathom.items.search import top_k_scores
from fathom.records import Case, Ranking

BATCH = 256
"""Cases scored at a time: bounds memory, changes nothing in the result."""


class Ranked:
    """Ranks the whole catalogue by a scorer's scores; ties go to the smaller id."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.n_items = scorer.n_items

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case; with `exclude_history` none that is in its history. `PAD` where fewer are left."""
        if k < 1:
            raise ConfigError(f"k is {k}: write 1 or more")
        parts = []
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            exclude = [case.history if exclude_history else () for case in batch]
            parts.append(top_k_scores(self.scorer.score(batch), k, exclude))
        return joined(parts, k)


def joined(parts: Sequence[Ranking], k: int) -> Ranking:
    """The rows of all `parts`, one after the other, as one ranking of `k` columns; of no parts, a ranking without rows."""
    return Ranking(
        items=np.concatenate([np.empty((0, k), dtype=np.int64), *(part.items for part in parts)]),
        scores=np.concatenate([np.empty((0, k), dtype=np.float32), *(part.scores for part in parts)]),
    )
