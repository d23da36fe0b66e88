"""Matrix factorisation by implicit: ALS (Hu, Koren and Volinsky 2008) and BPR-MF (arXiv:1205.2618)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from fathom.errors import ConfigError
from fathom.models.model import TensorModel, TrainingData, people, taste
from fathom.models.searching import Range, SearchSpace
from fathom.records import PAD, Case
from fathom.settings import Settings

NEWTON = 8
"""Steps by which somebody new is placed among items that stay: the fit is convex, and later ones change nothing that is seen."""


class ALSSettings(Settings):
    """Of alternating least squares."""

    factors: int = Field(default=64, ge=1)
    """Numbers in a vector."""
    regularisation: float = Field(default=0.01, ge=0)
    """What a squared weight costs."""
    confidence: float = Field(default=10.0, gt=0)
    """How many times as much an item that was taken counts as one that was not (alpha)."""
    epochs: int = Field(default=15, ge=1)
    """Rounds over people and items."""
    seed: int = 42
    """Of the first weights."""


class BPRSettings(Settings):
    """Of Bayesian personalised ranking."""

    factors: int = Field(default=64, ge=1)
    """Numbers in a vector."""
    regularisation: float = Field(default=0.01, ge=0)
    """What a squared weight costs."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Of the steps, one for each interaction and an item that was not taken."""
    epochs: int = Field(default=100, ge=1)
    """Rounds over all interactions."""
    seed: int = 42
    """Of the first weights and of what is drawn."""


class ALS(TensorModel[ALSSettings]):
    """Everybody, known or new, is placed by the history: the least squares of one person among the items' vectors."""

    kind = "als"
    about = "matrix factorisation by least squares"
    searched: ClassVar[SearchSpace] = {
        "factors": Range(16, 256, log=True),
        "regularisation": Range(1e-3, 10.0, log=True),
        "confidence": Range(1.0, 100.0, log=True),
        "epochs": (10, 20, 40),
    }

    @classmethod
    def fit(cls, data: TrainingData, settings: ALSSettings) -> Self:
        """Vectors of the items; one thread, so that they are the same every time."""
        model = _implicit("als").AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularisation,
            alpha=settings.confidence,
            iterations=settings.epochs,
            num_threads=1,
            random_state=settings.seed,
        )
        model.fit(_matrix(data), show_progress=False)
        return cls(data.catalog.n_items, settings, {"items": torch.from_numpy(np.array(model.item_factors, dtype=np.float32))})

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 products of person and item."""
        items = self.tensors["items"].double()
        held = taste(cases, self.n_items)
        settings = self.settings
        gram = items.T @ items + settings.regularisation * torch.eye(items.shape[1], dtype=torch.float64)
        rows = []
        for row in range(len(cases)):
            own = items[torch.from_numpy(held.indices[held.indptr[row] : held.indptr[row + 1]].astype(np.int64))]
            person = torch.linalg.solve(gram + (settings.confidence - 1) * own.T @ own, settings.confidence * own.sum(dim=0))
            rows.append(items @ person)
        return _as_scores(rows, self.n_items)


class BPR(TensorModel[BPRSettings]):
    """Scores are u v_i + b_i. Who is not in the log is placed among the items by the same objective, the mean item in place of draws."""

    kind = "bpr"
    about = "matrix factorisation by pairwise ranking"
    searched: ClassVar[SearchSpace] = {
        "factors": Range(16, 256, log=True),
        "regularisation": Range(1e-4, 0.1, log=True),
        "learning_rate": Range(0.01, 0.2, log=True),
        "epochs": (50, 100, 200),
    }

    @classmethod
    def fit(cls, data: TrainingData, settings: BPRSettings) -> Self:
        """Vectors of people and items; one thread, so that they are the same every time."""
        model = _implicit("bpr").BayesianPersonalizedRanking(
            factors=settings.factors,
            regularization=settings.regularisation,
            learning_rate=settings.learning_rate,
            iterations=settings.epochs,
            num_threads=1,
            random_state=settings.seed,
        )
        model.fit(_matrix(data), show_progress=False)
        factors = {"people": model.user_factors, "items": model.item_factors}
        return cls(
            data.catalog.n_items, settings, {name: torch.from_numpy(np.array(part, dtype=np.float32)) for name, part in factors.items()}
        )

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 products of person and item, each item's bias among them."""
        items, known = self.tensors["items"].double(), self.tensors["people"].double()
        held = taste(cases, self.n_items)
        met, never = known[:, :-1].any(dim=1).tolist(), (items == 0).all(dim=1)
        never[PAD] = False
        rows = []
        for row, case in enumerate(cases):
            own = items[torch.from_numpy(held.indices[held.indptr[row] : held.indptr[row + 1]].astype(np.int64))]
            seen = 0 <= case.user < len(met) and met[case.user]
            said = items @ (known[case.user] if seen else self._placed(own, items[1:].mean(dim=0)))
            rows.append(torch.where(never, said.min(), said))  # of an item that nobody took nothing is known but that
        return _as_scores(rows, self.n_items)

    def _placed(self, own: Tensor, mean: Tensor) -> Tensor:
        """(d + 1,) where the taker of `own` (n, d + 1) stands: argmax of sum log sigmoid(u (v_i - mean) + b_i - b) - lambda u^2 / 2."""
        apart, lead = (own - mean)[:, :-1], (own - mean)[:, -1]
        person = torch.zeros(apart.shape[1], dtype=torch.float64)
        held_back = max(self.settings.regularisation, 1e-6) * max(len(own), 1)
        for _ in range(NEWTON):
            sure = torch.sigmoid(apart @ person + lead)
            slope = apart.T @ (1 - sure) - held_back * person
            bend = (apart * (sure * (1 - sure))[:, None]).T @ apart + held_back * torch.eye(len(person), dtype=torch.float64)
            person = person + torch.linalg.solve(bend, slope)
        return torch.cat([person, torch.ones(1, dtype=torch.float64)])


def _implicit(module: str) -> Any:
    """A module of implicit's CPU side."""
    try:
        import importlib

        return importlib.import_module(f"implicit.cpu.{module}")
    except ImportError as error:
        raise ConfigError(f"{module} needs the package implicit: pip install 'fathom-rec[classic]'") from error


def _matrix(data: TrainingData) -> "sparse.csr_matrix[np.float32]":
    return sparse.csr_matrix(people(data.interactions, data.catalog.n_items))


def _as_scores(rows: Sequence[Tensor], n_items: int) -> Tensor:
    scores = torch.stack(list(rows)).float() if rows else torch.zeros(0, n_items + 1)
    scores[:, PAD] = -torch.inf
    return scores
