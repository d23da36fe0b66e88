"""Intervals and paired tests by the bootstrap over users: how far would the figures move with other users of the same kind?

Resampling n users with replacement and taking a mean only asks how often each *distinct* value was drawn, and those counts
are multinomial. Metrics of one target take few distinct values (NDCG@10 takes eleven), so ten thousand resamples of
thousands of users are one small draw and one small product, exact and not an approximation (Efron and Tibshirani, 1993, section 6).
"""

from dataclasses import dataclass

import numpy as np

from fathom.errors import DataError
from fathom.metrics import Values
from fathom.records import Ints

RESAMPLES = 10_000
CHUNK = 2**24
"""Most counts drawn at once, to bound the memory where all values differ."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its percentile interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much `a` is above `b`, both measured on the same cases."""

    ratio: float | None
    """mean(a) / mean(b); None where mean(b) is 0."""
    difference: float
    """mean(a) - mean(b)."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    p: float
    """Two-sided: twice the smaller share of resamples on one side of zero, at most 1, at least 2 / (resamples + 1)."""


def interval(values: Values, users: Ints | None = None, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of the per-case `values` with its percentile interval.

    `users` (n,) groups the cases: where a user has several, users are drawn and bring all their cases. None: a user a case.
    """
    means = _resampled_means(values[:, None], users, seed, resamples)[:, 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def compare(
    a: Values, b: Values, users: Ints | None = None, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """The paired comparison of two recommenders' per-case values on the same cases, drawn user by user.

    A case draws both its values together, so that what the two have in common (easy users, hard users) cancels.
    """
    if a.shape != b.shape:
        raise DataError(f"a paired comparison needs the same cases: {len(a)} values are given for one and {len(b)} for the other")
    means = _resampled_means(np.stack([a, b], axis=1), users, seed, resamples)
    differences = means[:, 0] - means[:, 1]
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    above, below = float(a.mean()), float(b.mean())
    return Comparison(
        ratio=above / below if below else None,
        difference=above - below,
        low=float(low),
        high=float(high),
        p=min(1.0, 2.0 * (beyond + 1) / (resamples + 1)),
    )


def _resampled_means(values: Values, users: Ints | None, seed: int, resamples: int) -> Values:
    """(resamples, d) means of the (n, d) `values` over users drawn with replacement."""
    if len(values) == 0:
        raise DataError("an interval needs at least one case")
    sums = values if users is None else _sums(values, users)
    sizes = np.ones(len(values)) if users is None else np.bincount(np.unique(users, return_inverse=True)[1]).astype(np.float64)
    distinct, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    generator, shares = np.random.default_rng(seed), counts / counts.sum()
    step = max(1, CHUNK // len(distinct))
    draws = (generator.multinomial(int(counts.sum()), shares, size=min(step, resamples - start)) for start in range(0, resamples, step))
    # einsum, not a matrix product: on some processors the last digit of that depends on how many rows there are.
    pieces = [np.einsum("rn,nd->rd", drawn.astype(np.float64), distinct) for drawn in draws]
    totals: Values = np.concatenate(pieces)
    return totals[:, :-1] / totals[:, -1:]


def _sums(values: Values, users: Ints) -> Values:
    """(n_users, d) the values of each user added up."""
    if len(users) != len(values):
        raise DataError(f"{len(values)} values are given, but {len(users)} users: there must be one user a value")
    known, position = np.unique(users, return_inverse=True)
    sums = np.zeros((len(known), values.shape[1]))
    np.add.at(sums, position, values)
    return sums
