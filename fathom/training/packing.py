"""Documents side by side in rows, so that no token is padding, and the loss over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from fathom.language.policy import LocalPolicy
from fathom.records import Floats, Ints
from fathom.training.full_softmax import full_softmax


@dataclass(frozen=True, slots=True)
class Document:
    """Tokens that belong together and the weight of each in the loss; (T,) each. A weight of 0: it is only read, as the first must be."""

    tokens: Ints
    weights: Floats

    @classmethod
    def asked_from(cls, tokens: Ints, first: int, weight: float = 1.0) -> Self:
        """All tokens from place `first` (1 or later) on are asked for."""
        weights = np.full(len(tokens), weight, dtype=np.float32)
        weights[: max(1, first)] = 0.0
        return cls(tokens, weights)


class Packed(NamedTuple):
    """Rows of documents; (B, row) each."""

    tokens: Tensor
    positions: Tensor
    """Counted from 0 in every document: where it falls back to 0, a new document begins."""
    weights: Tensor

    def pieces(self, rows: int) -> "list[Packed]":
        """The same rows, at most `rows` at a time."""
        return [Packed(*part) for part in zip(*(table.split(rows) for table in self), strict=True)]


def pack(lengths: Ints, row: int) -> list[list[int]]:
    """Which documents share a row: best fit, longest first, so that few tokens of a row stay empty.

    >>> pack(np.array([3, 6, 4, 7]), 10)
    [[3, 0], [1, 2]]
    """
    rooms: list[list[int]] = [[] for _ in range(row + 1)]  # rooms[r]: the rows with r tokens left
    rows: list[list[int]] = []
    for document in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[document])
        room = next((room for room in range(length, row + 1) if rooms[room]), None)
        if room is None:
            rows.append([])
            index, room = len(rows) - 1, row
        else:
            index = rooms[room].pop()
        rows[index].append(document)
        rooms[room - length].append(index)
    return rows


class Epoch(Sequence[Packed]):
    """The batches of one epoch, made when they are asked for: no document cut, rows in a random order."""

    def __init__(self, documents: Sequence[Document], *, row: int, batch_size: int, padding: int, rng: np.random.Generator) -> None:
        order = rng.permutation(len(documents))  # equal lengths meet different neighbours in every epoch
        self._documents = [documents[index] for index in order]
        rows = pack(np.asarray([len(document.tokens) for document in self._documents], dtype=np.int64), row)
        self._rows = [rows[index] for index in rng.permutation(len(rows))]
        self._length, self._batch_size, self._padding = row, batch_size, padding

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, index: int | slice) -> Packed:  # type: ignore[override]
        assert isinstance(index, int)
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        tokens = np.full((len(rows), self._length), self._padding, dtype=np.int64)
        positions = np.zeros_like(tokens)
        weights = np.zeros(tokens.shape, dtype=np.float32)
        for at, row in enumerate(rows):
            start = 0
            for document in (self._documents[number] for number in row):
                end = start + len(document.tokens)
                tokens[at, start:end] = document.tokens
                positions[at, start:end] = np.arange(end - start)
                weights[at, start:end] = document.weights
                start = end
            positions[at, start:] = np.arange(self._length - start)  # the empty rest is a document of its own, without weight
        return Packed(torch.from_numpy(tokens), torch.from_numpy(positions), torch.from_numpy(weights))


def weighted_loss(policy: LocalPolicy, batch: Packed) -> tuple[Tensor, Tensor]:
    """The weighted sum of the tokens' negative log-likelihood, and the sum of the weights; logits exist where a weight is positive."""
    hidden = policy.hidden(batch.tokens, batch.positions)
    weights = batch.weights.to(hidden.device)
    asked = weights > 0
    targets = batch.tokens.to(hidden.device)[asked]
    before = hidden[:, :-1][asked[:, 1:]]
    return full_softmax(before, policy.decoder.output, targets, weights=weights[asked]), weights.sum()
