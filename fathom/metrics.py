"""Ranking metrics, one number per case, from nothing but the ranks of what came next.

A rank is 1 for the best place, `NOWHERE` where an item is not in the list at all. Ranks are (n,), one relevant item a case, or (n, R),
up to R of them, with `NOBODY` where a case has fewer. Every ranking metric is a function `(ranks, k) -> (n,) values`, so that means,
intervals and paired tests are all taken from the same per-case numbers, and nothing as wide as the catalogue is made.
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

NOWHERE = 0
"""The rank of an item that is not in the list."""
NOBODY = -1
"""Stands in the place of a rank where a case has fewer relevant items than others."""

EVERYWHERE = np.iinfo(np.int64).max
"""The cut-off that cuts nothing off: a metric over the whole list that was kept."""


def recall(ranks: Ints, k: int) -> Values:
    """The share of the relevant items that stands among the first `k`; with one relevant item the same number as the hit rate.

    >>> recall(np.array([1, 3, 11, 0]), 10).tolist()
    [1.0, 1.0, 0.0, 0.0]
    >>> recall(np.array([[2, 11], [4, -1]]), 10).tolist()
    [0.5, 1.0]
    """
    ranks = _rows(ranks)
    shares: Values = _found(ranks, k).sum(axis=1) / _relevant(ranks)
    return shares


def hit(ranks: Ints, k: int) -> Values:
    """1 where a relevant item stands among the first `k`, otherwise 0.

    >>> hit(np.array([[2, 11], [0, -1]]), 10).tolist()
    [1.0, 0.0]
    """
    hits: Values = np.where(_found(_rows(ranks), k).any(axis=1), 1.0, 0.0)
    return hits


def precision(ranks: Ints, k: int) -> Values:
    """The share of the first `k` places that holds a relevant item; a list that is shorter has lost the rest of its places.

    >>> precision(np.array([[2, 4], [0, -1]]), 10).tolist()
    [0.2, 0.0]
    """
    shares: Values = _found(_rows(ranks), k).sum(axis=1) / k
    return shares


def average_precision(ranks: Ints, k: int) -> Values:
    """The mean, over the relevant items, of the precision at the place of each that stands among the first `k`; its mean is the MAP.

    Divided by the smaller of `k` and the number of relevant items: a list that begins with all of them scores 1.

    >>> average_precision(np.array([[1, 4], [2, -1]]), 10).tolist()
    [0.75, 0.5]
    """
    ranks = np.sort(_rows(ranks), axis=1)
    found = _found(ranks, k)
    precisions = np.where(found, np.cumsum(found, axis=1) / np.maximum(ranks, 1), 0.0)
    means: Values = precisions.sum(axis=1) / np.minimum(_relevant(ranks), k)
    return means


def dcg(ranks: Ints, k: int) -> Values:
    """The sum of 1 / log2(rank + 1) over the relevant items among the first `k` (Järvelin and Kekäläinen, 2002).

    >>> dcg(np.array([[1, 3], [11, -1]]), 10).tolist()
    [1.5, 0.0]
    """
    ranks = _rows(ranks)
    gained: Values = np.where(_found(ranks, k), _gains(ranks), 0.0).sum(axis=1)
    return gained


def ndcg(ranks: Ints, k: int) -> Values:
    """`dcg` over that of the ideal list, which begins with all the relevant items, found or not; with one of them the ideal is 1.

    >>> ndcg(np.array([1, 3, 11, 0]), 10).tolist()
    [1.0, 0.5, 0.0, 0.0]
    >>> ndcg(np.array([[2, 1], [1, -1]]), 10).tolist()
    [1.0, 1.0]
    """
    ranks = _rows(ranks)
    ideal = np.cumsum(_gains(np.arange(1, ranks.shape[1] + 1)))
    shares: Values = dcg(ranks, k) / ideal[np.minimum(_relevant(ranks), k) - 1]
    return shares


def reciprocal_rank(ranks: Ints, k: int) -> Values:
    """1 / rank of the best relevant item where it is among the first `k`, otherwise 0; its mean is the MRR.

    >>> reciprocal_rank(np.array([1, 4, 11, 0]), 10).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """
    ranks = _rows(ranks)
    best: Values = np.where(_found(ranks, k), 1.0 / np.maximum(ranks, 1), 0.0).max(axis=1)
    return best


def area_under_curve(scores: Values, positive: npt.NDArray[np.bool_]) -> float:
    """The chance that a positive case has a higher score than another one, ties for a half (Mann and Whitney); NaN where all are of a kind.

    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True]))
    0.875
    """
    from scipy.stats import rankdata  # half a second that nobody else who counts ranks has to wait

    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


METRICS: Mapping[str, Metric] = {
    "ndcg": ndcg,
    "recall": recall,
    "mrr": reciprocal_rank,
    "hit": hit,
    "precision": precision,
    "map": average_precision,
    "dcg": dcg,
}

OF_ONE = ("ndcg", "recall", "mrr")
"""What every table has. With one relevant item a case the others say the same again: hit is recall, precision recall / k, MAP the MRR,
and DCG is NDCG."""

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


def metric_names(cutoffs: Sequence[int] = CUTOFFS, *, several: bool = False) -> tuple[str, ...]:
    """The names of the ranking metrics at all `cutoffs`, and 'mrr' over the whole list; all of them where cases have `several` targets.

    >>> metric_names([10])
    ('ndcg@10', 'recall@10', 'mrr@10', 'mrr')
    """
    return (*(f"{word}@{k}" for word in (METRICS if several else OF_ONE) for k in cutoffs), "mrr")


def ranks_of(ranking: Ranking, targets: Ints) -> Ints:
    """The place of each of `targets`, (B,) or (B, R), in its row of `ranking`, from 1; `NOWHERE` where it is not in the row.

    The first place counts where a row holds an item twice. A target that is `PAD` is nowhere, though short rows end in `PAD`; beside
    other targets of its row it is `NOBODY`.

    >>> ranks_of(Ranking(np.array([[5, 2, 9], [4, 0, 0]]), np.zeros((2, 3), np.float32)), np.array([9, 0])).tolist()
    [3, 0]
    >>> ranks_of(Ranking(np.array([[5, 2, 9]]), np.zeros((1, 3), np.float32)), np.array([[9, 7, 0]])).tolist()
    [[3, 0, -1]]
    """
    if len(targets) != len(ranking.items):
        raise ConfigError(f"{len(ranking.items)} rows are ranked, but {len(targets)} targets are given: there must be one target a row")
    if targets.ndim == 2:
        columns = [np.where(one == PAD, NOBODY, ranks_of(ranking, one)) for one in targets.T]
        return np.stack(columns, axis=1)
    if ranking.items.shape[1] == 0:
        return np.full(len(targets), NOWHERE, dtype=np.int64)
    hits = (ranking.items == targets[:, None]) & (targets[:, None] != PAD)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, NOWHERE).astype(np.int64)


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


def _rows(ranks: Ints) -> Ints:
    """(n, R): one relevant item a case is a column."""
    return ranks if ranks.ndim == 2 else ranks[:, None]


def _found(ranks: Ints, k: int) -> npt.NDArray[np.bool_]:
    return (ranks >= 1) & (ranks <= k)


def _relevant(ranks: Ints) -> Ints:
    """(n,) how many relevant items each case has."""
    counts: Ints = (ranks != NOBODY).sum(axis=1)
    return counts


def _gains(ranks: Ints) -> Values:
    gains: Values = 1.0 / np.log2(np.maximum(ranks, 1) + 1.0)
    return gains
