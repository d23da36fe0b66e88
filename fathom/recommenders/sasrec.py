"""SASRec: causal self-attention over what somebody took, answered by a dot product with tied item vectors (arXiv:1808.09781)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.data.batches import pad_right
from fathom.errors import ConfigError
from fathom.files import Json
from fathom.items.search import search
from fathom.recommenders.encoders import CausalEncoder, initialise
from fathom.recommenders.ranked import joined
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Ranking
from fathom.settings import Settings

BATCH = 256
"""Histories encoded at a time: bounds memory, changes nothing in the result."""


class SASRecSettings(Settings):
    """The size of the model. The paper's own: width 50, two layers, one head, length 200 on MovieLens-1M."""

    width: int = Field(default=64, ge=2)
    """Numbers in an item vector."""
    layers: int = Field(default=2, ge=1)
    """Transformer layers."""
    heads: int = Field(default=2, ge=1)
    """Attention heads per layer; they share the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=200, ge=1)
    """Newest events that are read."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in training, after the embedding and after each half of a layer."""


class SASRec(nn.Module):
    """Scores all items for a history; keeps the Scorer and Recommender seams.

    A sequence starts with `PAD`, which stands for 'nothing before': so the first event is learned too, and somebody without
    a history gets what people start with.
    """

    def __init__(self, n_items: int, settings: SASRecSettings) -> None:
        super().__init__()
        self.n_items = n_items
        self.settings = settings
        self.items = nn.Embedding(n_items + 1, settings.width)
        initialise(self)
        self.encoder = CausalEncoder(
            settings.width,
            length=settings.length,
            layers=settings.layers,
            heads=settings.heads,
            inner=settings.inner,
            dropout=settings.dropout,
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T, d) float32: what is expected after each of the ids (B, T), padded on the right."""
        states: Tensor = self.encoder(self.items(ids))
        return states

    def users(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """(B, d) float32: what is expected after each history."""
        return torch.cat([torch.empty(0, self.settings.width), *(self._users(part) for part in _parts(histories))])

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 on the CPU, -inf in column `PAD`."""
        scores = self.users([case.history for case in cases]) @ self.items.weight.detach().cpu().T
        scores[:, PAD] = -torch.inf
        return scores

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case, ties to the smaller id; with `exclude_history` none of its history."""
        table = self.items.weight.detach().cpu()
        parts = []
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            exclude = [case.history if exclude_history else () for case in batch]
            parts.append(search(self.users([case.history for case in batch]), table, k, exclude=exclude))
        return joined(parts, k)

    @torch.inference_mode()
    def _users(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """One batch of `users`, as narrow as its longest history allows."""
        device = self.items.weight.device
        ids, last = as_sequences(histories, self.settings.length, n_items=self.n_items)
        states: Tensor = self(ids.to(device))
        return states[torch.arange(len(ids)), last].cpu()

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, whole or not at all."""
        facts: dict[str, Json] = {"kind": "sasrec", "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")}
        save_weights(folder, self.state_dict(), facts)

    @classmethod
    def load(cls, folder: Path) -> "SASRec":
        """The model saved in `folder`, ready to be asked."""
        facts = read_facts(folder, "sasrec")
        model = cls(int(str(facts["n_items"])), recorded(facts, SASRecSettings, folder))
        put_weights(model, read_tensors(folder), folder)
        return model.eval()


def as_sequences(histories: Sequence[Sequence[int]], length: int, *, n_items: int) -> tuple[Tensor, Tensor]:
    """Ids (B, T) padded on the right, and the place of each row's last event (B,): `PAD` starts a sequence that fits in whole.

    T is the longest sequence's, at most `length`. An id that the model does not know is a `ConfigError`.
    """
    sequences = [(PAD, *history)[-length:] for history in histories]
    longest = max((len(sequence) for sequence in sequences), default=1)
    ids = torch.from_numpy(pad_right(sequences, longest))
    last = torch.tensor([len(sequence) - 1 for sequence in sequences], dtype=torch.long)
    inside = torch.arange(longest) <= last[:, None]
    inside[:, 0] &= torch.tensor([len(history) >= length for history in histories], dtype=torch.bool)
    if bool((wrong := inside & ((ids < 1) | (ids > n_items))).any()):
        raise ConfigError(f"a history names item {int(ids[wrong][0])}, but the model knows the items 1 to {n_items}")
    return ids, last


def _parts(histories: Sequence[Sequence[int]]) -> list[Sequence[Sequence[int]]]:
    """`histories` in pieces of `BATCH`."""
    return [histories[start : start + BATCH] for start in range(0, len(histories), BATCH)]
