"""What every network does that reads ids and says what comes next: histories become states, states become rankings."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fathom.data.batches import pad_right
from fathom.errors import ConfigError
from fathom.items.search import search
from fathom.recommenders.ranked import joined
from fathom.recommenders.text_items import TextItems
from fathom.records import PAD, Case, Ranking

BATCH = 256
"""Histories compared with the items at a time: bounds memory, changes nothing in the result."""
ENCODED = 64
"""Histories encoded at a time: what attention needs for them stays near a core. 256 took twice as long (200 events, width 64)."""


class SequenceNetwork(nn.Module, ABC):
    """A network with item vectors; keeps the Scorer and Recommender seams. Scores are products of state and item.

    A sequence starts with `PAD`, which stands for 'nothing before': so the first event is learned too, and somebody without
    a history gets what people start with.
    """

    def __init__(self, n_items: int, width: int, length: int, *, items: TextItems | None = None) -> None:
        """`items` stands in the place of vectors of ids."""
        super().__init__()
        self.n_items = n_items
        self.length = length
        """Newest events that are read."""
        self.items: nn.Embedding | TextItems = nn.Embedding(n_items + 1, width) if items is None else items
        self.width = width

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """(B, T, d) float32: what is expected after each of the ids (B, T), padded on the right; no place knows what comes after it."""

    def users(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """(B, d) float32: what is expected after each history. Those of like length are encoded together, so that little is padding."""
        found = torch.empty(len(histories), self.width)
        for rows in of_like_length(list(map(len, histories))):
            found[rows] = self._users([histories[row] for row in rows])
        return found

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
        """Some of `users`, as narrow as their longest history allows."""
        device = next(self.parameters()).device
        ids, last = as_sequences(histories, self.length, n_items=self.n_items)
        states: Tensor = self(ids.to(device))
        return states[torch.arange(len(ids)), last].cpu()


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


def of_like_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The rows 0, 1, ... in pieces of `ENCODED`, those of like length together.

    >>> list(of_like_length([3, 9, 1]))
    [[2, 0, 1]]
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), ENCODED):
        yield order[start : start + ENCODED]
