"""Ranking metrics, one number per case, from nothing but the rank of the one item that came next.

A rank is 1 for the best place and 0 where the target is not in the list at all. Every ranking metric is a function
`(ranks, k) -> (n,) values`, so that means, intervals and paired tests are all taken from the same per-case numbers.
What a list does to the catalogue (coverage, novelty, popularity bias) is a function of the lists alone: it never looks at the targets.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fathom.errors import ConfigError, suggestion
from fathom.records import PAD, Ints, Ranking

Values: TypeAlias = npt.NDArray[np.float64]
Metric: TypeAlias = Callable[[Ints, int], Values]

EVERYWHERE = np.iinfo(np.int64).max
"""The cut-off that cuts nothing off: a metric over the whole list that was kept."""


def recall(ranks: Ints, k: int) -> Values:
    """1 where the target is among the first `k`, otherwise 0 (one relevant item: recall and hit rate are the same number).

    >>> recall(np.array([1, 3, 11, 0]), 10).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    return _found(ranks, k).astype(np.float64)


def ndcg(ranks: Ints, k: int) -> Values:
    """1 / log2(rank + 1) where the target is among the first `k`, otherwise 0; the ideal list scores 1.

    With a single relevant item the ideal discounted gain is 1, so nothing is left to divide by (Järvelin and Kekäläinen, 2002).

    >>> ndcg(np.array([1, 3, 11, 0]), 10).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    return np.where(_found(ranks, k), 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def reciprocal_rank(ranks: Ints, k: int) -> Values:
    """1 / rank where the target is among the first `k`, otherwise 0; its mean is the MRR.

    >>> reciprocal_rank(np.array([1, 4, 11, 0]), 10).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """
    return np.where(_found(ranks, k), 1.0 / np.maximum(ranks, 1), 0.0)


METRICS: Mapping[str, Metric] = {"ndcg": ndcg, "recall": recall, "mrr": reciprocal_rank}

CUTOFFS = (1, 5, 10, 20)
"""Where every table cuts the lists."""


def per_case(name: str, ranks: Ints) -> Values:
    """(n,) values of the metric called `name`: 'ndcg@10', 'recall@20', or 'mrr' alone for the whole list.

    >>> per_case("mrr@5", np.array([2, 9])).tolist()
    [0.5, 0.0]
    >>> per_case("mrr", np.array([2, 10])).tolist()
    [0.5, 0.1]
    """
    word, at, cutoff = name.partition("@")
    if word not in METRICS:
        raise ConfigError(f"unknown metric '{name}'{suggestion(word, METRICS)}; a cut-off follows after '@', as in 'ndcg@10'")
    if at and not (cutoff.isdecimal() and int(cutoff) > 0):
        raise ConfigError(f"metric '{name}': '{cutoff}' is no cut-off; write a whole number from 1 on, as in '{word}@10'")
    return METRICS[word](ranks, int(cutoff) if at else EVERYWHERE)


def metric_names(cutoffs: Sequence[int] = CUTOFFS) -> tuple[str, ...]:
    """The names of all ranking metrics at all `cutoffs`, and 'mrr' over the whole list.

    >>> metric_names([10])
    ('ndcg@10', 'recall@10', 'mrr@10', 'mrr')
    """
    return (*(f"{word}@{k}" for word in METRICS for k in cutoffs), "mrr")


def ranks_of(ranking: Ranking, targets: Ints) -> Ints:
    """(B,) the place of each target in its row of `ranking`, counted from 1; 0 where it is not in the row.

    The first place counts where a row holds an item twice. A target that is `PAD` is nowhere, though short rows end in `PAD`.

    >>> ranks_of(Ranking(np.array([[5, 2, 9], [4, 0, 0]]), np.zeros((2, 3), np.float32)), np.array([9, 0])).tolist()
    [3, 0]
    """
    if len(targets) != len(ranking.items):
        raise ConfigError(f"{len(ranking.items)} rows are ranked, but {len(targets)} targets are given: there must be one target a row")
    if ranking.items.shape[1] == 0:
        return np.zeros(len(targets), dtype=np.int64)
    hits = (ranking.items == targets[:, None]) & (targets[:, None] != PAD)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int64)


def coverage(items: Ints, n_items: int) -> float:
    """The share of the catalogue that stands in at least one of the lists; `items` is (n, k), `PAD` where a list is short.

    >>> coverage(np.array([[1, 2], [2, 0]]), 4)
    0.5
    """
    return len(np.setdiff1d(items, [PAD])) / n_items


def novelty(items: Ints, counts: Ints) -> float:
    """Mean bits of surprise of the listed items: -log2 of an item's share of all training events (Zhou et al., 2010).

    `counts` is (n_items + 1,): how often each item id was taken in training. One event is added to every item,
    so that a never-taken item is very novel and not infinitely so. 0.0 where the lists are empty.

    >>> novelty(np.array([[1, 2]]), np.array([0, 3, 3]))  # both hold 4 of 8 events after smoothing: 1 bit
    1.0
    """
    shares = (counts[1:] + 1.0) / (counts[1:] + 1.0).sum()
    listed = items[items != PAD]
    return float(-np.log2(shares[listed - 1]).mean()) if len(listed) else 0.0


def popularity_bias(items: Ints, counts: Ints) -> float:
    """Mean popularity percentile of the listed items: 0.5 for items drawn blindly from the catalogue, near 1 for best-sellers alone.

    The percentile of an item is the share of the catalogue taken less often than it, half of its equals included. 0.0 for empty lists.

    >>> popularity_bias(np.array([[2, 2]]), np.array([0, 5, 9, 1, 1]))  # the most popular of four: 3.5 / 4
    0.875
    """
    taken = np.sort(counts[1:])
    below, upto = np.searchsorted(taken, counts[1:], side="left"), np.searchsorted(taken, counts[1:], side="right")
    percentiles = (below + upto) / (2.0 * len(taken))
    listed = items[items != PAD]
    return float(percentiles[listed - 1].mean()) if len(listed) else 0.0


def _found(ranks: Ints, k: int) -> npt.NDArray[np.bool_]:
    return (ranks >= 1) & (ranks <= k)
