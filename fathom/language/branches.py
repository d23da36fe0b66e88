"""What-if tokens hung on the present ends of rows: many continuations are judged in one pass, the rows stay as they are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fathom.language.decoder import Decoder, KeyValues, Step
from fathom.records import Ints

ROOT = -1
"""The parent of a branch that hangs on the row itself."""


class Branches:
    """A forest over the rows 0..n-1, which stand in the slots of the same numbers.

    A branch is one token. It sees its row and the branches above it, not its siblings, and stands at the position it would have
    if it were written. Keys and values go to the free places behind each row, where whatever the row writes next replaces them.
    """

    def __init__(self, decoder: Decoder, cache: KeyValues, lengths: Sequence[int], roots: Tensor) -> None:
        self.roots = roots
        """(n, width) hidden states at the ends of the rows."""
        self._decoder = decoder
        self._cache = cache
        self._lengths: Ints = np.asarray(lengths, dtype=np.int64)
        self._used: Ints = np.zeros(len(lengths), dtype=np.int64)
        self._chains: list[tuple[int, ...]] = []

    @property
    def size(self) -> int:
        """How many branches there are; the next one gets this number."""
        return len(self._chains)

    def grow(self, rows: Sequence[int], parents: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """(N, width) hidden states of N new branches, numbered from `size` on.

        `rows` ascend; a parent may be grown in the same call, before its child.
        """
        row: Ints = np.asarray(rows, dtype=np.int64)
        column: Ints = np.zeros(len(row), dtype=np.int64)
        counts: Ints = np.zeros(len(self._lengths), dtype=np.int64)
        for index, where in enumerate(row):
            column[index] = counts[where]
            counts[where] += 1
        place = self._lengths[row] + self._used[row] + column
        self._used += counts
        for parent, own in zip(parents, place.tolist(), strict=True):
            self._chains.append((own,) if parent == ROOT else (*self._chains[parent], own))
        chains = self._chains[len(self._chains) - len(row) :]
        depth = np.asarray([len(chain) for chain in chains], dtype=np.int64)
        places = int(place.max()) + 1
        self._cache.reserve(places)
        mask = np.zeros((len(counts), int(counts.max()), places), dtype=np.bool_)
        mask |= np.arange(places) < self._lengths[:, None, None]
        mask[np.repeat(row, depth), np.repeat(column, depth), np.concatenate(chains)] = True
        device = self._decoder.device
        step = Step(
            cache=self._cache,
            first=0,
            rows=len(counts),
            row=torch.from_numpy(row).to(device),
            column=torch.from_numpy(column).to(device),
            place=torch.from_numpy(place).to(device),
            mask=torch.from_numpy(mask).to(device),
        )
        positions = torch.from_numpy(self._lengths[row] + depth - 1).to(device)
        return self._decoder.forward(torch.as_tensor(tokens, device=device), positions, step)
