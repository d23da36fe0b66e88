"""Exact top-k: the best items of each row, excluded ones left out, ties to the smaller id, whatever the batch or chunk.

A matrix product rounds differently for different shapes, so two batch sizes could order near-equal items differently.
`search` therefore uses the product only to find candidates: everything that could still be among the best k, given how
far rounding may carry a float32 product, is scored again in double precision and rounded once to float32. The result is
the true ranking by correctly computed scores, and costs little more than the product itself.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from fathom.errors import ConfigError, ModelError
from fathom.records import PAD, Ranking

BLOCK = 64
"""Items whose best score is looked at first; only blocks that hold a candidate are looked into."""
STRIP = 8192
"""Items scored by one product: the scores of 256 queries still lie in the cache when they are compared."""
PIECE = 65536
"""Candidates scored exactly at a time."""
LARGEST_ID = 2**31 - 1


def top_k_scores(scores: Tensor, k: int, exclude: Sequence[Collection[int]]) -> Ranking:
    """The k best columns of each row of `scores` (B, N + 1); column 0, -inf and the ids in `exclude` never come back.

    `exclude` has one collection a row. Ties go to the smaller id. Fewer than k left: the row ends with `PAD` and -inf.
    A NaN is a `ModelError`.
    """
    _checked(k, len(scores), len(exclude))
    scores = scores.detach().to(torch.float32, copy=True)
    if bool(torch.isnan(scores).any()):
        count = int(torch.isnan(scores).sum())
        raise ModelError(f"{count:,} of {scores.numel():,} scores are NaN: the model diverged or its weights are broken")
    scores[_pairs(exclude, scores.shape[1], scores.device)] = -torch.inf
    scores[:, PAD] = -torch.inf
    ids = torch.arange(scores.shape[1], device=scores.device)
    best = torch.topk(_sort_keys(scores, ids), min(k, scores.shape[1]), dim=1).values
    kept = LARGEST_ID - (best & 0xFFFFFFFF)
    return _ranking(kept, scores.gather(1, kept), k)


def search(queries: Tensor, items: Tensor, k: int, *, exclude: Sequence[Collection[int]], chunk: int = 65536) -> Ranking:
    """The k items of largest dot product with each query: `queries` (B, d), `items` (N + 1, d), row 0 (`PAD`) ignored.

    Exact in the sense of the module's docstring; ids in `exclude` (one collection a query) never come back; ties go to the
    smaller id. `chunk` items are looked at before candidates are settled: it bounds memory and changes nothing in the result.
    Queries and items must lie on one device. A vector that is not finite is a `ModelError` that names it.
    """
    _checked(k, len(queries), len(exclude))
    if chunk < 1:
        raise ConfigError(f"chunk is {chunk}: write 1 or more")
    if queries.shape[1] != items.shape[1]:
        raise ModelError(f"queries have {queries.shape[1]} dimensions and items {items.shape[1]}: they come from different models")
    queries, items = queries.detach().float().contiguous(), items.detach().float()
    lengths = torch.linalg.vector_norm(queries, dim=1)
    if not bool(torch.isfinite(lengths).all()):
        row = int(torch.nonzero(~torch.isfinite(lengths))[0])
        raise ModelError(f"query {row} is not finite: the model diverged or its weights are broken")
    rows, ids = _pairs(exclude, len(items), queries.device)
    order = torch.argsort(ids)
    rows, ids = rows[order], ids[order]
    strip = min(STRIP, chunk)
    # Candidates may wait until there are about as many as the best themselves, so that few sorts are needed.
    patience = len(queries) * max(4 * k, BLOCK)
    best = _Best(queries, lengths, items, k=k)
    buffer = torch.empty(len(queries) * (strip + BLOCK), device=queries.device)
    with torch.autocast(queries.device.type, enabled=False):
        for start in range(1, len(items), strip):
            stop = min(start + strip, len(items))
            low, high = torch.searchsorted(ids, torch.tensor([start, stop], device=ids.device)).tolist()
            best.look_at(start, stop, buffer, without=(rows[low:high], ids[low:high] - start))
            if best.settled == 1 or stop - best.settled >= chunk or best.waiting > patience:
                best.settle(stop)
        best.settle(len(items))
    return _ranking(best.items, best.scores, k)


class _Best:
    """The best k so far of each query; it is shown the items in the order of their ids."""

    def __init__(self, queries: Tensor, lengths: Tensor, table: Tensor, *, k: int) -> None:
        self.items = torch.full((len(queries), min(k, max(len(table) - 1, 1))), PAD, device=queries.device)
        self.scores = torch.full(self.items.shape, -torch.inf, device=queries.device)
        self.settled = 1
        self.waiting = 0
        self._queries = queries
        self._table = table
        self._candidates: list[tuple[Tensor, Tensor]] = []
        # What a score must exceed. Once settled that is the k-th exact score: a later item, whose id is larger, must be better.
        self._floor = torch.full((len(queries),), -torch.inf, device=queries.device)
        # |float32 product - exact product| <= about d u |q| |v|, u = 2^-24, in whatever order it is summed (Higham, Accuracy and
        # Stability of Numerical Algorithms, section 3.1); doubled, it also covers the rounding of lengths, floor and score.
        self._margin = 2 * (queries.shape[1] + 4) * 2.0**-24 * lengths

    def look_at(self, start: int, stop: int, buffer: Tensor, *, without: tuple[Tensor, Tensor]) -> None:
        """Find the candidates among items start..stop-1; `without` names (row, id - start) pairs that are excluded."""
        part = self._table[start:stop]
        blocks = -(-len(part) // BLOCK)
        scores = buffer[: len(self._queries) * blocks * BLOCK].view(len(self._queries), blocks * BLOCK)
        torch.mm(self._queries, part.T, out=scores[:, : len(part)])
        scores[:, len(part) :] = -torch.inf
        scores[without] = -torch.inf
        margin = self._margin * _longest(part, start)
        k = self.items.shape[1]
        if self.settled == 1 and not self._candidates and len(part) >= k:
            kth = torch.topk(scores, k, dim=1).values[:, -1] - margin
            self._floor = torch.nextafter(kth, torch.full_like(kth, -torch.inf))  # equal scores must pass here
        bar = self._floor - margin
        grouped = scores.view(len(self._queries), blocks, BLOCK)
        rows, block = torch.nonzero(grouped.amax(dim=2) > bar[:, None], as_tuple=True)
        at, place = torch.nonzero(grouped[rows, block] > bar[rows, None], as_tuple=True)
        self._candidates.append((rows[at], block[at] * BLOCK + place + start))
        self.waiting += len(at)

    def settle(self, stop: int) -> None:
        """Score the candidates exactly and keep the best k of each row; all items before `stop` have been looked at."""
        held_rows, held_places = torch.nonzero(self.items != PAD, as_tuple=True)
        rows = torch.cat([held_rows, *(rows for rows, _ in self._candidates)])
        items = torch.cat([self.items[held_rows, held_places], *(items for _, items in self._candidates)])
        fresh = [self._exact(*pair) for pair in self._candidates]
        scores = torch.cat([self.scores[held_rows, held_places], *fresh])
        order = torch.argsort(_sort_keys(scores, items), descending=True)
        order = order[torch.argsort(rows[order], stable=True)]
        rows, items, scores = rows[order], items[order], scores[order]
        first = torch.searchsorted(rows, torch.arange(len(self._queries), device=rows.device))
        place = torch.arange(len(rows), device=rows.device) - first[rows]
        kept = place < self.items.shape[1]
        self.items[rows[kept], place[kept]] = items[kept]
        self.scores[rows[kept], place[kept]] = scores[kept]
        self._floor = self.scores[:, -1].clone()
        self._candidates = []
        self.settled, self.waiting = stop, 0

    def _exact(self, rows: Tensor, items: Tensor) -> Tensor:
        """The dot products of query `rows` and `items`, entry by entry, summed in double precision, as float32."""
        pieces = zip(torch.split(rows, PIECE), torch.split(items, PIECE), strict=True)
        return torch.cat([(self._queries[row].double() * self._table[item].double()).sum(dim=1).float() for row, item in pieces])


def _sort_keys(scores: Tensor, ids: Tensor) -> Tensor:
    """int64 keys whose descending order is: higher score first, then smaller id."""
    bits = (scores + 0.0).view(torch.int32)  # + 0.0 turns -0.0, whose bits differ, into 0.0
    ordered = torch.where(bits < 0, bits ^ LARGEST_ID, bits).to(torch.int64)
    return (ordered << 32) + (LARGEST_ID - ids)


def _pairs(exclude: Sequence[Collection[int]], columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The excluded ids that exist, as (rows, ids)."""
    rows = [row for row, ids in enumerate(exclude) for _ in ids]
    ids = [item for ids in exclude for item in ids]
    pairs = torch.tensor([rows, ids], dtype=torch.long).view(2, -1)
    pairs = pairs[:, (pairs[1] >= 0) & (pairs[1] < columns)].to(device)
    return pairs[0], pairs[1]


def _longest(part: Tensor, start: int) -> Tensor:
    """The largest length among the vectors of items `start`, `start` + 1, ...; a `ModelError` if one is not finite."""
    lengths = torch.linalg.vector_norm(part, dim=1)
    longest: Tensor = lengths.max()
    if not bool(torch.isfinite(longest)):
        item = start + int(torch.nonzero(~torch.isfinite(lengths))[0])
        raise ModelError(f"the vector of item {item} is not finite: the model diverged or its weights are broken")
    return longest


def _ranking(items: Tensor, scores: Tensor, k: int) -> Ranking:
    """A `Ranking` of exactly k columns: `PAD` where a score is -inf or nothing is left."""
    missing = k - items.shape[1]
    items = items.masked_fill(scores == -torch.inf, PAD)
    items = torch.nn.functional.pad(items, (0, missing), value=PAD)
    scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    return Ranking(items=items.cpu().numpy(), scores=scores.cpu().numpy())


def _checked(k: int, rows: int, exclusions: int) -> None:
    """Refuse a k or a number of exclusion lists that cannot be."""
    if k < 1:
        raise ConfigError(f"k is {k}: write 1 or more")
    if exclusions != rows:
        raise ConfigError(f"{exclusions} exclusion lists for {rows} rows: give one for each row, an empty one where nothing is excluded")
