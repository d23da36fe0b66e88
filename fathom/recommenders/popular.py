"""The floor every model must beat: what most people took."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fathom.errors import DataError
from fathom.recommenders.ranked import Ranked
from fathom.records import PAD, Case, Interactions, Ranking


class Popularity:
    """Ranks items by how often they occur in the interactions it was given, the same for everybody; a Scorer and a Recommender."""

    def __init__(self, interactions: Interactions, n_items: int) -> None:
        if interactions.n_events and not 1 <= int(interactions.items.min()) <= int(interactions.items.max()) <= n_items:
            low, high = int(interactions.items.min()), int(interactions.items.max())
            raise DataError(
                f"the interactions hold item ids {low} to {high}, but the catalogue has 1 to {n_items}: give both from one dataset"
            )
        self.n_items = n_items
        self.counts = np.bincount(interactions.items, minlength=n_items + 1)

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32: the count of each item, -inf in column `PAD`; items nobody took score 0."""
        row = torch.from_numpy(self.counts).float()
        row[PAD] = -torch.inf
        return row.repeat(len(cases), 1)

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k most frequent items of each case; with `exclude_history` none that is in its history."""
        return Ranked(self).recommend(cases, k, exclude_history=exclude_history)
