"""Filters: each takes a dataset and gives a smaller one, with a note that counts what it left out.

Users and items that lose their last interaction go too; the remaining items keep their order, and ids run from 1 again.
"""

from calendar import monthrange
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, DataError
from fathom.records import Catalog, Interactions

Mask = npt.NDArray[np.bool_]


def k_core(dataset: Dataset, users: int = 5, items: int = 5) -> Dataset:
    """The largest part in which every user has at least `users` interactions and every item at least `items`.

    Repeated until nothing changes, since an item that goes can take a user below the limit.
    """
    if users < 0 or items < 0:
        raise ConfigError(f"a {users}, {items}-core cannot be: write numbers of 0 or more")
    owner, item = owners(dataset.interactions), dataset.interactions.items
    keep = np.ones(len(item), dtype=bool)
    while True:
        of_user = np.bincount(owner[keep], minlength=dataset.interactions.n_users)
        of_item = np.bincount(item[keep], minlength=dataset.catalog.n_items + 1)
        still = keep & (of_user[owner] >= users) & (of_item[item] >= items)
        if still.sum() == keep.sum():
            return only(dataset, keep, f"{users}-core of users and {items}-core of items")
        keep = still


def rating_at_least(dataset: Dataset, low: float) -> Dataset:
    """Only interactions rated `low` or better; an interaction without a rating goes, and is counted apart."""
    ratings = dataset.interactions.ratings
    if ratings is None:
        raise DataError(f"{dataset.name} has no ratings, so none can be at least {low:g}: leave this filter out")
    unrated = int(np.isnan(ratings).sum())
    with_unrated = f" ({unrated:,} of those left out have no rating)" if unrated else ""
    return only(dataset, ratings >= low, f"rating of at least {low:g}{with_unrated}")


def time_window(dataset: Dataset, start: str | None = None, end: str | None = None) -> Dataset:
    """Only interactions from `start` on and before `end`, ISO dates or date-times in UTC; those without a time go, counted apart."""
    times = dataset.interactions.times
    if times is None:
        raise DataError(f"{dataset.name} knows only the order of its interactions, not their times: leave the time window out")
    first, last = _seconds(start, default=0), _seconds(end, default=np.iinfo(np.int64).max)
    if first >= last:
        raise ConfigError(f"the time window from {start} to {end} is empty: the start has to be before the end")
    unknown = int((times < 0).sum())
    with_unknown = f" ({unknown:,} of those left out have no time)" if unknown else ""
    words = " and ".join(word for word in (f"from {start}" if start else "", f"before {end}" if end else "") if word)
    return only(dataset, (times >= first) & (times < last), f"time {words or 'known'}{with_unknown}")


def rolling_window(dataset: Dataset, *, end: str, months: int = 12, step: int = 3, least_items: int = 10_000) -> Dataset:
    """Only interactions of the last `months` before `end`, an ISO date in UTC; while fewer than `least_items` items are left, the window
    begins `step` months earlier, as far back as the log goes (R²ec's preprocessing of Amazon 2023, arXiv:2505.16994).

    The released code goes back three months at a time, as is the default; the paper says month by month.
    """
    times = dataset.interactions.times
    if times is None or not bool((times >= 0).any()):
        raise DataError(f"{dataset.name} has no times, so no window can be moved over them: leave the window out")
    if months < 1 or step < 1:
        raise ConfigError(f"a window of {months} months in steps of {step}: write 1 or more for both")
    last = _seconds(end, default=0)
    oldest = int(times[times >= 0].min())
    while True:
        start = _months_before(end, months)
        inside = (times >= _seconds(start, default=0)) & (times < last)
        items = len(np.unique(dataset.interactions.items[inside]))
        if items >= least_items or _seconds(start, default=0) <= oldest:
            return only(dataset, inside, f"{months} months before {end}, {items:,} items")
        months += step


def short_titles(dataset: Dataset, words: int) -> Dataset:
    """Only interactions with items whose titles have at most `words` words and more than one character."""
    if words < 1:
        raise ConfigError(f"titles of at most {words} words: write 1 or more, or leave the filter out")
    fits = np.array([False, *(len(title) > 1 and len(title.split()) <= words for title in dataset.catalog.titles)])
    return only(dataset, fits[dataset.interactions.items], f"titles of at most {words} words")


def drop_duplicates(dataset: Dataset) -> Dataset:
    """Of several interactions of one user with one item only the first."""
    log = dataset.interactions
    pair = owners(log) * (dataset.catalog.n_items + 1) + log.items
    keep = np.zeros(log.n_events, dtype=bool)
    keep[np.unique(pair, return_index=True)[1]] = True
    return only(dataset, keep, "first interaction of each (user, item) pair")


def only(dataset: Dataset, keep: Mask, rule: str) -> Dataset:
    """`dataset` with the interactions where `keep` is True, and a note that names `rule` and counts what went."""
    if not keep.any():
        raise DataError(f"{dataset.name}: no interaction is left by the filter '{rule}': loosen it")
    log, catalog = dataset.interactions, dataset.catalog
    counts = np.bincount(owners(log)[keep], minlength=log.n_users)
    user_stays = counts > 0
    item_stays = np.bincount(log.items[keep], minlength=catalog.n_items + 1) > 0
    item_stays[0] = False
    new_id = np.cumsum(item_stays)
    kept = np.flatnonzero(item_stays) - 1
    smaller = Interactions(
        users=tuple(user for user, stays in zip(log.users, user_stays, strict=True) if stays),
        offsets=np.concatenate([[0], np.cumsum(counts[user_stays])]).astype(np.int64),
        items=new_id[log.items[keep]].astype(np.int64),
        ratings=None if log.ratings is None else log.ratings[keep],
        times=None if log.times is None else log.times[keep],
        columns={name: column.taken(keep) for name, column in log.columns.items()},
    )
    gone = (int((~keep).sum()), log.n_users - len(smaller.users), catalog.n_items - len(kept))
    note = f"{rule}: {gone[0]:,} interactions, {gone[1]:,} users and {gone[2]:,} items were left out"
    return replace(dataset, catalog=_catalog(catalog, kept.tolist()), interactions=smaller, notes=(*dataset.notes, note))


def owners(interactions: Interactions) -> npt.NDArray[np.int64]:
    """(n_events,) the index of the user of each event."""
    return np.repeat(np.arange(interactions.n_users, dtype=np.int64), np.diff(interactions.offsets))


def _catalog(catalog: Catalog, kept: list[int]) -> Catalog:
    return Catalog(
        names=tuple(catalog.names[place] for place in kept),
        titles=tuple(catalog.titles[place] for place in kept),
        attributes={name: tuple(column[place] for place in kept) for name, column in catalog.attributes.items()},
        descriptions=tuple(catalog.descriptions[place] for place in kept) if catalog.descriptions else (),
    )


def _months_before(moment: str, months: int) -> str:
    """The ISO date so many months before the day of `moment`; the last day of a shorter month stands for a day that it lacks.

    >>> _months_before("2023-10-01", 12), _months_before("2023-03-31", 1)
    ('2022-10-01', '2023-02-28')
    """
    day = datetime.fromtimestamp(_seconds(moment, default=0), UTC).date()
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return day.replace(year=year, month=month + 1, day=min(day.day, monthrange(year, month + 1)[1])).isoformat()


def _seconds(moment: str | None, *, default: int) -> int:
    if moment is None:
        return default
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError as error:
        raise ConfigError(f"'{moment}' is no date that can be read: write it as 2019-07-31 or 2019-07-31T18:00") from error
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
