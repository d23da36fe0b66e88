"""Nearly the best items, much faster: an index of neighbours in the place of all products; how nearly is measured."""

from collections.abc import Collection, Sequence

import numpy as np
from torch import Tensor

from fathom.errors import ConfigError
from fathom.items.near import Near
from fathom.items.search import search
from fathom.records import PAD, Floats, Ranking


class Approximate:
    """An index over item vectors, by their products. What it finds is scored exactly; what it misses is missed."""

    def __init__(self, items: Tensor, index: Near) -> None:
        """`items` (N + 1, d), row 0 ignored; `index` knows rows 1 to N."""
        self._items = items.detach().float().cpu().contiguous()
        self._index = index

    def search(self, queries: Tensor, k: int, *, exclude: Sequence[Collection[int]]) -> Ranking:
        """As `fathom.items.search.search`, of what the index finds: the k best of it, none of `exclude`."""
        if len(exclude) != len(queries):
            raise ConfigError(f"{len(exclude)} exclusion lists for {len(queries)} rows: give one for each row")
        queries = queries.detach().float().cpu().contiguous()
        most = min(k + max(map(len, exclude), default=0), len(self._items) - 1)
        found = self._index.near(queries.numpy(), most)
        rows = np.zeros((len(queries), k), dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row, (near, without) in enumerate(zip(found, exclude, strict=True)):
            kept = near[~np.isin(near, [PAD, *without])]
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


def as_vectors(items: Tensor) -> Floats:
    """The item table as an index takes it: float32 on the CPU."""
    vectors: Floats = items.detach().float().cpu().contiguous().numpy()
    return vectors
