"""Item-kNN: items that were taken by the same people are alike; a history recommends what is like it."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse
from torch import Tensor

from fathom.models.model import TensorModel, TrainingData, people, ranked_scores, sparse_matrix, sparse_tensors, taste
from fathom.models.searching import Range, SearchSpace
from fathom.records import Case, Interactions
from fathom.settings import Settings

BLOCK = 2048
"""Items whose similarities are worked out at a time: bounds memory, changes nothing in the result."""


class ItemKNNSettings(Settings):
    """Which items are alike, and how a history is read."""

    neighbours: int = Field(default=200, ge=1)
    """Most similar items kept for each item."""
    shrink: float = Field(default=10.0, ge=0)
    """Added to the denominator of the cosine, so that a few common people say little."""
    decay: float = Field(default=0.95, gt=0, le=1)
    """Weight of an event of the history against the one after it; 1: all count alike."""


class ItemKNN(TensorModel[ItemKNNSettings]):
    """Scores are sums of similarities, s_ij = c_ij / (sqrt(c_i c_j) + shrink), c_ij the number of people who took both."""

    kind = "item-knn"
    about = "items that the same people took"
    searched: ClassVar[SearchSpace] = {
        "neighbours": Range(20, 1000, log=True),
        "shrink": Range(1.0, 300.0, log=True),
        "decay": Range(0.5, 1.0),
    }

    @classmethod
    def fit(cls, data: TrainingData, settings: ItemKNNSettings) -> Self:
        """Similarities from the log; of each item the nearest `neighbours`, ties to the smaller id."""
        return cls.of(data.interactions, data.catalog.n_items, settings)

    @classmethod
    def of(cls, log: Interactions, n_items: int, settings: ItemKNNSettings | None = None) -> Self:
        """The same of a log alone."""
        settings = settings or ItemKNNSettings()
        held = people(log, n_items).tocsc()
        roots = np.sqrt(np.asarray(held.sum(axis=0))).astype(np.float32)
        parts = []
        for start in range(0, n_items + 1, BLOCK):
            common = (held[:, start : start + BLOCK].T @ held).tocsr()
            common.data /= np.repeat(roots[start : start + BLOCK], np.diff(common.indptr)) * roots[common.indices] + settings.shrink
            parts.append(_nearest(common, settings.neighbours, first=start))
        similar = sparse.vstack(parts, format="csr")
        return cls(n_items, settings, sparse_tensors("similar", similar))

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32: the similarities of each item to those of the history, weighted by age and added up."""
        return ranked_scores((taste(cases, self.n_items, decay=self.settings.decay) @ self._similar).toarray())

    @cached_property
    def _similar(self) -> "sparse.csr_array[np.float32]":
        return sparse_matrix(self.tensors, "similar", columns=self.n_items + 1)


def _nearest(similar: "sparse.csr_array[np.float32]", most: int, *, first: int) -> "sparse.csr_array[np.float32]":
    """Of each row, which is item `first` + its number, the `most` largest entries, itself left out."""
    rows = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
    other = similar.indices != rows + first
    rows, columns, values = rows[other], similar.indices[other], similar.data[other]
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < most
    return sparse.csr_array((values[kept], (rows[kept], columns[kept])), shape=similar.shape)
