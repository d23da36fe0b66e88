"""EASE: the linear item-to-item model with a closed form (Steck 2019, arXiv:1905.03375)."""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from fathom.errors import ConfigError
from fathom.models.model import TensorModel, TrainingData, people, ranked_scores, taste
from fathom.models.searching import Range, SearchSpace
from fathom.records import Case
from fathom.settings import Settings

MOST_ITEMS = 40_000
"""Beyond it the dense matrix of all pairs would take more than 6 GB."""


class EASESettings(Settings):
    """How strongly the weights are held back, and how a history is read."""

    regularisation: float = Field(default=500.0, gt=0)
    """Lambda: what a squared weight costs."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Weight of an event of the history against the one after it; 1, as in the paper: all count alike."""


class EASE(TensorModel[EASESettings]):
    """B minimises |X - X B|^2 + lambda |B|^2 with a zero diagonal: P = (X'X + lambda I)^-1, b_ij = -p_ij / p_jj. Scores are x B."""

    kind = "ease"
    about = "the linear item-to-item model in closed form"
    searched: ClassVar[SearchSpace] = {"regularisation": Range(10.0, 5000.0, log=True), "decay": Range(0.5, 1.0)}

    @classmethod
    def fit(cls, data: TrainingData, settings: EASESettings) -> Self:
        """The closed form, in float64 and kept as float32; all pairs of items are held at once."""
        n_items = data.catalog.n_items
        if n_items > MOST_ITEMS:
            raise ConfigError(
                f"ease holds all pairs of items at once, and {n_items:,} items are more than the {MOST_ITEMS:,} that fit: "
                "leave it out, or use item-knn"
            )
        held = people(data.interactions, n_items)[:, 1:]
        gram = torch.from_numpy((held.T @ held).toarray()).double()
        gram.diagonal().add_(settings.regularisation)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = -inverse / inverse.diagonal()
        weights.fill_diagonal_(0.0)
        return cls(n_items, settings, {"weights": weights.float()})

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32."""
        held = taste(cases, self.n_items, decay=self.settings.decay)[:, 1:]
        scores = torch.zeros(len(cases), self.n_items + 1)
        scores[:, 1:] = torch.from_numpy(held @ self.tensors["weights"].numpy())
        return ranked_scores(scores.numpy())
