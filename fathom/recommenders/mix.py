"""Several recommenders as one: their lists are fused with weights, which validation cases choose."""

from collections.abc import Collection, Sequence
from itertools import islice, zip_longest
from typing import Literal

import numpy as np
import torch

from fathom.contracts import Recommender
from fathom.errors import ConfigError
from fathom.items.search import top_k_scores
from fathom.metrics import ndcg, ranks_of
from fathom.records import PAD, Case, Floats, Ints, Ranking

How = Literal["reciprocal_rank", "score"]

DAMPING = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009)."""

TENTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The weights that are tried unless others are named."""

TOGETHER = 1024
"""Cases fused at a time."""


class Mix:
    """Keeps the `Recommender` seam over other recommenders.

    'reciprocal_rank' adds weight / (60 + rank) over the lists that hold an item. 'score' standardises each list's scores to mean 0
    and deviation 1, so that no part counts more for its units, and adds weight * score; what a list lacks gets its last score.
    Only what stands in some list of length `depth` can be recommended.
    """

    def __init__(self, parts: Sequence[Recommender], weights: Sequence[float], *, how: How = "reciprocal_rank", depth: int = 100) -> None:
        if len(parts) != len(weights) or not parts:
            raise ConfigError(f"{len(parts)} recommenders and {len(weights)} weights: give each recommender one weight")
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(f"weights are {list(weights)}: none may be negative, one must be positive")
        self._parts = tuple(parts)
        self._weights = tuple(weights)
        self._how: How = how
        self._depth = depth

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of the fused lists; ties go to the smaller id."""
        rankings = [part.recommend(cases, max(k, self._depth), exclude_history=exclude_history) for part in self._parts]
        return fuse(rankings, self._weights, k, how=self._how)


def fuse(rankings: Sequence[Ranking], weights: Sequence[float], k: int, *, how: How) -> Ranking:
    """The k best items of each row under the weighted sum of what the `rankings` say."""
    size = 1 + max(int(ranking.items.max(initial=0)) for ranking in rankings)
    pieces: list[Ranking] = []
    for start in range(0, len(rankings[0].items), TOGETHER):
        parts = [Ranking(ranking.items[start : start + TOGETHER], ranking.scores[start : start + TOGETHER]) for ranking in rankings]
        rows = np.arange(len(parts[0].items))[:, None]
        total = np.zeros((len(rows), size))
        listed = np.zeros((len(rows), size), dtype=np.bool_)
        for ranking, weight in zip(parts, weights, strict=True):
            values, missing = _values(ranking, how=how)
            column = np.repeat(missing[:, None], size, axis=1)
            column[rows, ranking.items] = values
            total += weight * column
            listed[rows, ranking.items] = True
        fused = torch.from_numpy(np.where(listed, total, -np.inf).astype(np.float32))
        pieces.append(top_k_scores(fused, k, [()] * len(rows)))
    return Ranking(np.concatenate([piece.items for piece in pieces]), np.concatenate([piece.scores for piece in pieces]))


def _values(ranking: Ranking, *, how: How) -> tuple[Floats, Floats]:
    """What a list gives its items (B, depth), and what it gives to all others (B,)."""
    real = ranking.items != PAD
    if how == "reciprocal_rank":
        places = np.arange(1, ranking.items.shape[1] + 1)
        return np.where(real, 1.0 / (DAMPING + places), 0.0).astype(np.float32), np.zeros(len(real), dtype=np.float32)
    counts = np.maximum(real.sum(axis=1, keepdims=True), 1)
    scores = np.where(real, ranking.scores, 0.0).astype(np.float64)
    mean = scores.sum(axis=1, keepdims=True) / counts
    spread = np.sqrt((np.where(real, scores - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / counts)
    standard = np.where(real, (scores - mean) / np.where(spread > 0, spread, 1.0), np.inf)
    last = standard.min(axis=1)
    last = np.where(np.isfinite(last), last, 0.0)
    return np.where(real, standard, last[:, None]).astype(np.float32), last.astype(np.float32)


def shortlist(rankings: Sequence[Sequence[int]], *, seen: Collection[int], size: int) -> tuple[int, ...]:
    """`size` items out of several rankings, none of them `seen`, none twice, in the order of their reciprocal ranks together.

    Turn by turn each ranking gives its next one until there are enough, so that none crowds out another; ties go to who came first.

    >>> shortlist([[1, 2, 3, 4], [3, 9, 1]], seen=[9], size=3)
    (1, 3, 2)
    """
    unseen = [[item for item in ranking if item not in seen] for ranking in rankings]
    turns = zip_longest(*unseen, fillvalue=PAD)
    chosen = list(islice(dict.fromkeys(item for turn in turns for item in turn if item != PAD), size))
    earned = reciprocal_ranks(unseen, DAMPING)
    return tuple(sorted(chosen, key=lambda item: -earned[item]))


def reciprocal_ranks(lists: Sequence[Sequence[int]], added: float, *, later: float = 1.0) -> dict[int, float]:
    """What the items of some lists earn, in the order in which they appear: 1 / (`added` + place) from each list (Cormack, Clarke and
    Büttcher 2009), where all but the first count `later`.

    >>> reciprocal_ranks([[7, 8], [8]], 3)
    {7: 0.25, 8: 0.45}
    """
    earned: dict[int, float] = {}
    for number, items in enumerate(lists):
        for place, item in enumerate(items, start=1):
            earned[item] = earned.get(item, 0.0) + (later if number else 1.0) / (added + place)
    return earned


def choose_weight(
    parts: tuple[Recommender, Recommender],
    cases: Sequence[Case],
    *,
    weights: Sequence[float] = TENTHS,
    how: How = "reciprocal_rank",
    depth: int = 100,
    exclude_history: bool = True,
) -> float:
    """The weight w of the second of two recommenders (the first has 1 - w) with the best NDCG@10 on `cases`; of equals the smallest.

    Each part ranks once, whatever the number of weights. Choose on validation cases, never on the test.
    """
    rankings = [part.recommend(cases, depth, exclude_history=exclude_history) for part in parts]
    targets: Ints = np.asarray([case.target for case in cases], dtype=np.int64)
    quality = {
        weight: float(ndcg(ranks_of(fuse(rankings, (1 - weight, weight), 10, how=how), targets), 10).mean()) for weight in sorted(weights)
    }
    return max(quality, key=quality.__getitem__)
