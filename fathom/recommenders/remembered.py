"""A recommender that is asked the same cases more than once, and answers once."""

import time
from collections.abc import Sequence

import numpy as np

from fathom.contracts import Recommender
from fathom.records import Case, Floats, Ints, Ranking


class Remembered:
    """Keeps the `Recommender` seam over another one, whose answers it keeps as well, in memory.

    A case that comes again with as many items or fewer is answered from memory: of two lists of one ranking the shorter one is the
    head of the longer. Whoever counts what an answer cost finds in `saved` what the remembered ones did.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.saved = 0.0
        """Seconds that the remembered answers took when they were first given, summed over all that were given again."""
        self._recommender = recommender
        self._known: dict[tuple[Case, bool], tuple[Ints, Floats, float]] = {}

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best item ids of each case, best first."""
        keys = [(case, exclude_history) for case in cases]
        new = {key: None for key in keys if key not in self._known or len(self._known[key][0]) < k}
        self.saved += sum(self._known[key][2] for key in keys if key not in new)
        if new:
            began = time.perf_counter()
            ranking = self._recommender.recommend([case for case, _ in new], k, exclude_history=exclude_history)
            each = (time.perf_counter() - began) / len(new)
            self._known |= {key: (items, scores, each) for key, items, scores in zip(new, ranking.items, ranking.scores, strict=True)}
        items, scores, _ = zip(*(self._known[key] for key in keys), strict=True)
        return Ranking(np.stack([row[:k] for row in items]), np.stack([row[:k] for row in scores]))
