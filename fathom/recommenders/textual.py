"""The floor that reads: items whose text is near the text of what somebody took lately."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fathom.errors import ConfigError, ModelError
from fathom.items.search import search
from fathom.recommenders.ranked import BATCH, joined
from fathom.records import PAD, Case, Floats, Ranking


class TextRecommender:
    """Ranks items by the cosine between their text vector and the recency-weighted mean of the history's text vectors.

    Nothing is trained: it works for people and items that no log has seen. The event `a` places before the last weighs
    0.5 ** (a / half_life); only the last `recent` events count. A case without a history, or whose items have no text,
    scores 0 everywhere and therefore gets the smallest ids.
    """

    def __init__(self, vectors: Floats, *, half_life: float = 4.0, recent: int = 50) -> None:
        if half_life <= 0 or recent < 1:
            raise ConfigError(f"half_life {half_life} and recent {recent}: half_life must be above 0, recent at least 1")
        if not np.isfinite(vectors).all():
            item = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ModelError(f"the text vector of item {item} is not finite: delete the vector cache and encode the texts again")
        self.n_items = len(vectors) - 1
        self.vectors = normalize(torch.from_numpy(vectors).float(), dim=1)
        self.vectors[PAD] = 0.0
        self._weights = 0.5 ** (torch.arange(recent, dtype=torch.float32) / half_life)

    def users(self, cases: Sequence[Case]) -> Tensor:
        """(B, d) float32 unit vectors of the cases' tastes; zero where nothing is known."""
        rows = torch.zeros(len(cases), self.vectors.shape[1])
        for row, case in zip(rows, cases, strict=True):
            newest_first = torch.tensor(case.history[: -len(self._weights) - 1 : -1], dtype=torch.long)
            row.copy_(self._weights[: len(newest_first)] @ self.vectors[newest_first])
        return normalize(rows, dim=1)

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 cosines; -inf in column `PAD`."""
        scores = self.users(cases) @ self.vectors.T
        scores[:, PAD] = -torch.inf
        return scores

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k items of nearest text for each case, ties to the smaller id; with `exclude_history` none of its history."""
        parts = []
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            exclude = [case.history if exclude_history else () for case in batch]
            parts.append(search(self.users(batch), self.vectors, k, exclude=exclude))
        return joined(parts, k)
