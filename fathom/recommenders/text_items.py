"""Items that are known by their texts alone: a new one needs no training."""

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from fathom.recommenders.adaptors import MixtureAdaptor


class TextItems(nn.Module):
    """Stands where an embedding of ids stands: item vectors are adapted text vectors of unit norm (as UniSRec, arXiv:2206.05941)."""

    texts: Tensor

    def __init__(self, text_vectors: Tensor, width: int, *, experts: int, dropout: float) -> None:
        """`text_vectors` (N + 1, D): row 0 zero, the others of unit norm or zero; they are given and stay as they are."""
        super().__init__()
        self.register_buffer("texts", text_vectors.clone())
        self.adaptor = MixtureAdaptor(text_vectors.shape[1], width, experts=experts, dropout=dropout)

    @property
    def weight(self) -> Tensor:
        """(N + 1, d) float32 vectors of all items; an item without a text, as `PAD`, has none."""
        return normalize(self.adaptor(self.texts).float(), dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        """(..., d) the vectors of `ids`."""
        return embedding(ids, self.weight)

    def add(self, text_vectors: Tensor) -> None:
        """Put further items behind the present ones."""
        self.texts = torch.cat([self.texts, text_vectors.to(self.texts)])
