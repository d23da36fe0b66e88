"""Nearly the best items, much faster: a graph of neighbours (usearch) in the place of all products; how nearly is measured."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.files import written_aside
from fathom.items.search import search
from fathom.records import PAD, Ints, Ranking


class Approximate:
    """An index over item vectors, by their products. What it finds is scored exactly; what it misses is missed."""

    def __init__(self, items: Tensor, index: Any) -> None:
        """`items` (N + 1, d) float32 on the CPU; `index` knows rows 1 to N."""
        self._items = items
        self._index = index

    @classmethod
    def build(cls, items: Tensor, *, breadth: int = 128) -> "Approximate":
        """An index of `items` (N + 1, d), row 0 ignored; the more `breadth` in building and asking, the better and the slower."""
        usearch = _usearch()
        items = items.detach().float().cpu().contiguous()
        index = usearch.Index(ndim=items.shape[1], metric="ip", dtype="f32", expansion_add=breadth, expansion_search=breadth)
        # One thread: the graph depends on the order in which items come.
        index.add(np.arange(1, len(items), dtype=np.uint64), items[1:].numpy(), threads=1)
        return cls(items, index)

    def search(self, queries: Tensor, k: int, *, exclude: Sequence[Collection[int]]) -> Ranking:
        """As `fathom.items.search.search`, of what the index finds: the k best of it, none of `exclude`."""
        if len(exclude) != len(queries):
            raise ConfigError(f"{len(exclude)} exclusion lists for {len(queries)} rows: give one for each row")
        queries = queries.detach().float().cpu().contiguous()
        most = min(k + max(map(len, exclude), default=0), len(self._items) - 1)
        found = self._index.search(queries.numpy(), most)
        keys: Ints = np.asarray(found.keys, dtype=np.int64).reshape(len(queries), -1)
        rows = np.zeros((len(queries), k), dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row, (near, without) in enumerate(zip(keys, exclude, strict=True)):
            kept = near[~np.isin(near, list(without))]
            products = (self._items[kept].double() @ queries[row].double()).float().numpy()
            order = np.lexsort((kept, -products))[:k]
            rows[row, : len(order)], scores[row, : len(order)] = kept[order], products[order]
        return Ranking(rows, scores)

    def recall(self, queries: Tensor, k: int, *, exclude: Sequence[Collection[int]]) -> float:
        """The share of the truly best k items that it finds, over all `queries`."""
        exact = search(queries.detach().float().cpu(), self._items, k, exclude=exclude).items
        found = self.search(queries, k, exclude=exclude).items
        hits = sum(len(set(mine) & set(true) - {PAD}) for mine, true in zip(found.tolist(), exact.tolist(), strict=True))
        return hits / max(int((exact != PAD).sum()), 1)

    def save(self, path: Path) -> None:
        """Write the index, without the items, whole or not at all."""
        with written_aside(path) as aside:
            self._index.save(str(aside))

    @classmethod
    def load(cls, path: Path, items: Tensor) -> "Approximate":
        """The index in `path` over the same `items`; another number of items or width is a `ModelError`."""
        index = _usearch().Index.restore(str(path)) if path.is_file() else None
        if index is None:
            raise ModelError(f"{path}: there is no index in it: 'fathom index' makes one")
        if (len(index), index.ndim) != (len(items) - 1, items.shape[1]):
            told = f"{len(index):,} items of {index.ndim} numbers, but the model has {len(items) - 1:,} of {items.shape[1]}"
            raise ModelError(f"{path}: it was made of {told}: make it again")
        return cls(items.detach().float().cpu().contiguous(), index)


def _usearch() -> Any:
    try:
        from usearch import index
    except ModuleNotFoundError as error:
        raise MissingExtraError("usearch", "index") from error
    return index
