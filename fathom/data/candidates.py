"""Lists of candidates, one for each case: stored ones, drawn ones with the target among them, or what retrievers find.

With the target among random others a list is easy, and says how well it would be told from noise; a retrieved list is what a ranker has in
service, and holds the target as often as the retrievers find it: that share is the ceiling of whoever ranks it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, DataError
from fathom.files import written_aside
from fathom.records import Case

FILE = "candidates.parquet"
"""Beside a log: user, and the items to be put in order as they are to be shown."""

Lists = dict[int, tuple[int, ...]]
"""User -> item ids, in the order in which they are shown."""


def stored(path: Path, dataset: Dataset) -> Lists:
    """The lists in the Parquet file `path`, columns user and presented (or candidates), under the source's own names.

    A user or an item that the data set does not have, and an item that stands in a list twice, are a `DataError`.
    """
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: no readable Parquet file of candidates ({error})") from error
    column = next((name for name in ("presented", "candidates") if name in frame.columns), None)
    if column is None or "user" not in frame.columns:
        raise DataError(f"{path}: columns 'user' and 'presented' (or 'candidates') are needed; there are {', '.join(frame.columns)}")
    users = {name: user for user, name in enumerate(dataset.interactions.users)}
    items = {name: item for item, name in enumerate(dataset.catalog.names, start=1)}
    lists: Lists = {}
    for row, (user, listed) in enumerate(frame.select(pl.col("user").cast(pl.String), column).iter_rows(), start=1):
        names = [str(item) for item in listed]
        if user not in users:
            raise DataError(f"{path} row {row}: the data set has no user '{user}'")
        if strangers := [name for name in names if name not in items]:
            raise DataError(f"{path} row {row}: the catalogue has no item '{strangers[0]}', which user '{user}' is to be offered")
        if len(set(names)) < len(names):
            raise DataError(f"{path} row {row}: user '{user}' is offered an item twice")
        lists[users[user]] = tuple(items[name] for name in names)
    return lists


def drawn(cases: Sequence[Case], n_items: int, *, negatives: int, seed: int) -> Lists:
    """Of each case its target among so many random items that are neither it nor in the history, in a drawn order.

    Who else is asked changes nothing.
    """
    lists: Lists = {}
    for case in cases:
        draw = np.random.default_rng([seed, case.user])
        taken = {case.target, *case.history, *case.later}
        if n_items - len(taken) < negatives:
            raise ConfigError(
                f"{negatives} negatives for user {case.user}, but only {n_items - len(taken)} items are neither taken nor the target"
            )
        others: list[int] = []
        while len(others) < negatives:
            more = (draw.integers(n_items, size=2 * negatives) + 1).tolist()
            others += [item for item in dict.fromkeys(more) if item not in taken and item not in others][: negatives - len(others)]
        listed = [case.target, *others]
        lists[case.user] = tuple(listed[place] for place in draw.permutation(len(listed)).tolist())
    return lists


def shortened(listed: Sequence[int], target: int, most: int) -> tuple[int, ...]:
    """The first items of a list, `most` of them, the target among them as it stands among all.

    >>> shortened((4, 7, 2, 9), 9, 2), shortened((4, 7, 2, 9), 4, 2), shortened((4, 7), 5, 1)
    ((4, 9), (4, 7), (4,))
    """
    others = [item for item in listed if item != target][: most - (target in listed)]
    return tuple(item for item in listed if item == target or item in others)


def random_items(cases: Sequence[Case], n_items: int, size: int, *, seed: int) -> Lists:
    """Of each case so many items in a drawn order, or all there are; who else is asked changes nothing."""
    lists = {}
    for case in cases:
        drawn = np.random.default_rng([seed, case.user, 1]).choice(n_items, size=min(size, n_items), replace=False)
        lists[case.user] = tuple((drawn + 1).tolist())
    return lists


def ceiling(cases: Sequence[Case], lists: Mapping[int, Sequence[int]]) -> float:
    """The share of cases whose list holds what came next: nobody who ranks these lists can do better."""
    return float(np.mean([case.target in lists[case.user] for case in cases]))


def save(lists: Lists, path: Path) -> None:
    """Write the lists in item ids, whole or not at all."""
    frame = pl.DataFrame(
        {"user": list(lists), "items": pl.Series([list(items) for items in lists.values()], dtype=pl.List(pl.Int64))},
        schema_overrides={"user": pl.Int64},
    )
    with written_aside(path) as aside:
        frame.write_parquet(aside)


def load(path: Path) -> Lists:
    """What `save` wrote."""
    try:
        frame = pl.read_parquet(path, columns=["user", "items"])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: no readable file of candidate lists ({error}); remove it, the same command makes it again") from error
    return {user: tuple(items) for user, items in frame.iter_rows()}
