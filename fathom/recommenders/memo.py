"""Rows that are computed once while they are asked for again and again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Memo(Generic[Key]):
    """The rows of `compute`, remembered: of each call only what is unknown is computed, all of it at once.

    Keeps the `most` keys asked for last. `compute` must give each key the same row whatever its batch mates are.
    """

    def __init__(self, compute: Callable[[Sequence[Key]], Tensor], *, most: int) -> None:
        self._compute = compute
        self._most = most
        self._rows: OrderedDict[Key, Tensor] = OrderedDict()
        self._lock = Lock()

    def rows(self, keys: Sequence[Key]) -> Tensor:
        """(n, d): one row a key, which must not be empty in number."""
        with self._lock:
            missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
            if missing:
                self._rows.update(zip(missing, self._compute(missing), strict=True))
            found = torch.stack([self._rows[key] for key in keys])
            for key in keys:
                self._rows.move_to_end(key)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)
        return found
