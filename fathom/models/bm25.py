"""BM25: the items whose texts share rare words with the texts of what somebody took (Robertson and Zaragoza 2009), by bm25s."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse
from torch import Tensor

from fathom.items.lexical import index_of, words_of_texts
from fathom.items.text import item_texts
from fathom.models.model import TensorModel, TrainingData, ranked_scores, sparse_matrix, sparse_tensors, taste
from fathom.models.searching import Range, SearchSpace
from fathom.records import Case
from fathom.settings import Settings


class BM25Settings(Settings):
    """The weights of words, and how a history becomes a query."""

    saturation: float = Field(default=1.2, ge=0)
    """k1: how soon a repeated word stops counting."""
    normalisation: float = Field(default=0.75, ge=0, le=1)
    """b: how much long texts are held back."""
    latest: int = Field(default=10, ge=1)
    """Newest events whose texts are the query."""
    decay: float = Field(default=0.9, gt=0, le=1)
    """Weight of an event of the query against the one after it."""


class BM25(TensorModel[BM25Settings]):
    """Nothing is learned from people: the log is not read. Scores are linear in the query's words, so one product ranks everything."""

    kind = "bm25"
    about = "items whose texts share rare words with the history"
    searched: ClassVar[SearchSpace] = {
        "saturation": Range(0.2, 3.0),
        "normalisation": Range(0.0, 1.0),
        "latest": Range(1, 50, log=True),
        "decay": Range(0.5, 1.0),
    }

    @classmethod
    def fit(cls, data: TrainingData, settings: BM25Settings) -> Self:
        """The words of all items, and what each is worth in each."""
        texts = words_of_texts(item_texts(data.catalog))
        index = index_of(texts, saturation=settings.saturation, normalisation=settings.normalisation)
        known, found = index.vocab_dict, index.scores
        n_items, words = data.catalog.n_items, len(found["indptr"]) - 1
        counts = [(item, known[word], count) for item, text in enumerate(texts, start=1) for word, count in Counter(text).items()]
        items, columns, times = zip(*counts, strict=True) if counts else ((), (), ())
        said = sparse.csr_array((np.array(times, dtype=np.float32), (items, columns)), shape=(n_items + 1, words))
        worth = sparse.csr_array((found["data"], found["indices"] + 1, found["indptr"]), shape=(words, n_items + 1))
        return cls(n_items, settings, sparse_tensors("said", said) | sparse_tensors("worth", worth))

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32; 0 for items that share no word with the history."""
        words = taste(cases, self.n_items, decay=self.settings.decay, latest=self.settings.latest) @ self._said
        return ranked_scores((words @ self._worth).toarray())

    @cached_property
    def _said(self) -> "sparse.csr_array[np.float32]":
        return sparse_matrix(self.tensors, "said", columns=len(self.tensors["worth.offsets"]) - 1)

    @cached_property
    def _worth(self) -> "sparse.csr_array[np.float32]":
        return sparse_matrix(self.tensors, "worth", columns=self.n_items + 1)
