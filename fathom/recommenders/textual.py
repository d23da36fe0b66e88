"""The floor that reads: items whose text is near the text of what somebody took lately."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fathom.errors import ConfigError, ModelError
from fathom.items.search import search
from fathom.recommenders.ranked import BATCH, joined
from fathom.records import PAD, Case, Floats, Ranking

Weighting = Literal["decay", "constant", "linear", "quadratic", "last"]


def event_weights(count: int, weighting: Weighting, *, half_life: float) -> Tensor:
    """(n,) what each of n events counts, the newest first: 0.5 ** (a / half_life) for the event a places before the last; 1; k / n or
    (k / n) ** 2 for the k-th of n from the oldest; or the last one alone.

    >>> event_weights(4, "linear", half_life=1.0), event_weights(3, "decay", half_life=1.0)
    (tensor([1.0000, 0.7500, 0.5000, 0.2500]), tensor([1.0000, 0.5000, 0.2500]))
    """
    before = torch.arange(count, dtype=torch.float32)
    match weighting:
        case "decay":
            return 0.5 ** (before / half_life)
        case "constant":
            return torch.ones(count)
        case "linear":
            return (count - before) / max(count, 1)
        case "quadratic":
            return ((count - before) / max(count, 1)) ** 2
        case "last":
            return (before == 0).float()


class TextRecommender:
    """Ranks items by the cosine between their text vector and the weighted mean of the history's text vectors.

    Nothing is trained: it works for people and items that no log has seen. Only the last `recent` events count, by their `weighting`
    (`event_weights`). A case without a history, or whose items have no text, scores 0 everywhere and therefore gets the smallest ids.
    """

    def __init__(self, vectors: Floats, *, half_life: float = 4.0, recent: int = 50, weighting: Weighting = "decay") -> None:
        if half_life <= 0 or recent < 1:
            raise ConfigError(f"half_life {half_life} and recent {recent}: half_life must be above 0, recent at least 1")
        if not np.isfinite(vectors).all():
            item = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ModelError(f"the text vector of item {item} is not finite: delete the vector cache and encode the texts again")
        self.n_items = len(vectors) - 1
        self.vectors = normalize(torch.from_numpy(vectors).float(), dim=1)
        self.vectors[PAD] = 0.0
        self._recent = recent
        self._half_life = half_life
        self._weighting: Weighting = weighting

    def users(self, cases: Sequence[Case]) -> Tensor:
        """(B, d) float32 unit vectors of the cases' tastes; zero where nothing is known."""
        rows = torch.zeros(len(cases), self.vectors.shape[1])
        for row, case in zip(rows, cases, strict=True):
            newest_first = torch.tensor(case.history[: -self._recent - 1 : -1], dtype=torch.long)
            weights = event_weights(len(newest_first), self._weighting, half_life=self._half_life)
            row.copy_(weights @ self.vectors[newest_first])
        return normalize(rows, dim=1)

    def asked(self, queries: Floats, cases: Sequence[Case], k: int, *, weight: float = 0.5, exclude_history: bool = True) -> Ranking:
        """The k items nearest to free texts, given by their vectors `queries` (B, d), mixed with each case's taste: `weight` of 1 is the
        text alone, 0 the taste alone. A text of no vector, zero, leaves the taste; with `exclude_history` none of a case's history.
        """
        if not 0 <= weight <= 1:
            raise ConfigError(f"weight is {weight}: write 0 for the taste alone, 1 for the text alone, or something between")
        wanted = weight * normalize(torch.from_numpy(queries).float(), dim=1) + (1 - weight) * self.users(cases)
        exclude = [case.history if exclude_history else () for case in cases]
        return search(normalize(wanted, dim=1), self.vectors, k, exclude=exclude)

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
