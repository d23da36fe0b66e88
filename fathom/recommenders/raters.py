"""Ratings foretold from ratings: means, biases, factors. What any rating in words must beat.

A person is known by the ratings of a history alone, so that strangers are served as everybody is; only items are learned.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fathom.contracts import Rater
from fathom.errors import DataError
from fathom.records import Case, Interactions

Numbers = npt.NDArray[np.float64]


class GlobalMean:
    """Everybody gives everything what all gave on average."""

    def __init__(self, mean: float) -> None:
        self.mean = mean

    @classmethod
    def of(cls, log: Interactions) -> "GlobalMean":
        """Of the ratings in a log."""
        return cls(float(np.mean(_known(log)[2])))

    def rate(self, cases: Sequence[Case]) -> Numbers:
        """(B,) the mean."""
        return np.full(len(cases), self.mean)


class Biases:
    """The mean, and how much more an item gets, and a person gives, than that (Koren, Bell and Volinsky 2009, eq. 1).

    Shrunk: whoever has n ratings counts n / (n + `shrink`). Either part may be left out, which makes it the mean of the other one.
    """

    def __init__(self, mean: float, items: Numbers, *, people: bool = True, shrink: float = 5.0) -> None:
        """`items` (n_items + 1,): how much more than the mean each gets."""
        self.mean = mean
        self.items = items
        self._people = people
        self._shrink = shrink

    @classmethod
    def of(
        cls, log: Interactions, n_items: int, *, items: bool = True, people: bool = True, shrink: float = 5.0, rounds: int = 10
    ) -> "Biases":
        """Fitted in turns, `rounds` times: what is left of a rating without the one is the other's."""
        owner, taken, ratings = _known(log)
        mean = float(ratings.mean())
        of_items, of_people = np.zeros(n_items + 1), np.zeros(log.n_users)
        for _ in range(rounds):
            if items:
                of_items = _shrunk(taken, ratings - mean - of_people[owner], n_items + 1, shrink)
            if people:
                of_people = _shrunk(owner, ratings - mean - of_items[taken], log.n_users, shrink)
        return cls(mean, of_items, people=people, shrink=shrink)

    def of_person(self, case: Case) -> float:
        """How much more than expected a person gives, by the rated part of a history."""
        items, ratings = rated(case)
        if not self._people or not len(items):
            return 0.0
        return float((ratings - self.mean - self.items[items]).sum() / (len(items) + self._shrink))

    def rate(self, cases: Sequence[Case]) -> Numbers:
        """(B,) mean + item + person."""
        return np.array([self.mean + self.items[case.target] + self.of_person(case) for case in cases])


class Factors:
    """Biases, and for the rest the product of a person's and an item's factors, by alternating least squares.

    A person's factors are the ridge solution over the rated history, in training and in service alike.
    """

    def __init__(self, biases: Biases, factors: Numbers, *, regularisation: float) -> None:
        """`factors` (n_items + 1, d)."""
        self._biases = biases
        self._factors = factors
        self._regularisation = regularisation

    @classmethod
    def of(
        cls, log: Interactions, n_items: int, *, width: int = 16, regularisation: float = 8.0, rounds: int = 10, seed: int = 0
    ) -> "Factors":
        """Fitted to the log."""
        biases = Biases.of(log, n_items)
        owner, taken, ratings = _known(log)
        of_people = _shrunk(owner, ratings - biases.mean - biases.items[taken], log.n_users, 5.0)
        rest = ratings - biases.mean - biases.items[taken] - of_people[owner]
        items = np.random.default_rng(seed).normal(0, 0.1, (n_items + 1, width))
        for _ in range(rounds):
            people = _solved(owner, items[taken], rest, log.n_users, regularisation)
            items = _solved(taken, people[owner], rest, n_items + 1, regularisation)
        return cls(biases, items, regularisation=regularisation)

    def rate(self, cases: Sequence[Case]) -> Numbers:
        """(B,) biases + product."""
        found = self._biases.rate(cases)
        for row, case in enumerate(cases):
            items, ratings = rated(case)
            if len(items):
                rest = ratings - self._biases.mean - self._biases.items[items] - self._biases.of_person(case)
                [person] = _solved(np.zeros(len(items), dtype=np.int64), self._factors[items], rest, 1, self._regularisation)
                found[row] += person @ self._factors[case.target]
        return found


def raters_of(log: Interactions, n_items: int) -> Mapping[str, Rater]:
    """The floor, rung by rung."""
    return {
        "global-mean": GlobalMean.of(log),
        "person-mean": Biases.of(log, n_items, items=False),
        "item-mean": Biases.of(log, n_items, people=False),
        "biases": Biases.of(log, n_items),
        "factors": Factors.of(log, n_items),
    }


def rated(case: Case) -> tuple[npt.NDArray[np.int64], Numbers]:
    """The items of a history that have a rating, and the ratings."""
    ratings = np.asarray(case.ratings, dtype=np.float64)
    known = ~np.isnan(ratings)
    return np.asarray(case.history, dtype=np.int64)[: len(ratings)][known], ratings[known]


def truths(log: Interactions, cases: Sequence[Case]) -> Numbers:
    """(B,) how each case's target was rated in `log`, which holds the whole histories of its users; NaN where it was not."""
    if log.ratings is None:
        raise DataError("this log has no ratings: there is nothing to foretell")
    at = np.array([log.offsets[case.user] + len(case.history) for case in cases], dtype=np.int64)
    if wrong := [case.user for case, place in zip(cases, at.tolist(), strict=True) if log.items[place] != case.target]:
        raise DataError(f"the case of user {wrong[0]} does not begin where their history does: ratings are foretold of whole histories")
    return log.ratings[at].astype(np.float64)


def _known(log: Interactions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Numbers]:
    """User, item and rating of each rated event."""
    if log.ratings is None or np.isnan(log.ratings).all():
        raise DataError("this log has no ratings: there is nothing to foretell")
    known = ~np.isnan(log.ratings)
    owner = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    return owner[known], log.items[known], log.ratings[known].astype(np.float64)


def _shrunk(groups: npt.NDArray[np.int64], values: Numbers, size: int, shrink: float) -> Numbers:
    sums, counts = np.bincount(groups, weights=values, minlength=size), np.bincount(groups, minlength=size)
    means: Numbers = sums / (counts + shrink)
    return means


def _solved(groups: npt.NDArray[np.int64], rows: Numbers, values: Numbers, size: int, regularisation: float) -> Numbers:
    """(size, d) the ridge solution of each group over its `rows` (n, d)."""
    width = rows.shape[1]
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(size + 1))
    found = np.zeros((size, width))
    ridge = regularisation * np.eye(width)
    for group in range(size):
        own = order[bounds[group] : bounds[group + 1]]
        if len(own):
            found[group] = np.linalg.solve(rows[own].T @ rows[own] + ridge, rows[own].T @ values[own])
    return found
