"""Filters: what stays, what goes, and the note that counts it."""

import numpy as np
import polars as pl
import pytest

from fathom.data.dataset import Dataset
from fathom.data.filters import drop_duplicates, k_core, rating_at_least, rolling_window, short_titles, time_window
from fathom.data.sources import from_frames
from fathom.errors import ConfigError, DataError


def log(*rows: tuple[str, str, float | None, int]) -> Dataset:
    return from_frames(pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row"), repeats=True)


def pairs(dataset: Dataset) -> set[tuple[str, str]]:
    interactions = dataset.interactions
    return {
        (user, dataset.catalog.names[item - 1])
        for place, user in enumerate(interactions.users)
        for item in interactions.history(place).tolist()
    }


def test_k_core_is_repeated_until_nothing_changes() -> None:
    # item c has one user, so it goes; then user w has one item left, so w goes; the square {u, v} x {a, b} stays
    dataset = log(("u", "a", 5, 1), ("u", "b", 5, 2), ("v", "a", 5, 3), ("v", "b", 5, 4), ("w", "a", 5, 5), ("w", "c", 5, 6))
    core = k_core(dataset, users=2, items=2)
    assert pairs(core) == {("u", "a"), ("u", "b"), ("v", "a"), ("v", "b")}
    assert core.interactions.items.tolist() == [1, 2, 1, 2]
    assert core.catalog.names == ("a", "b")
    assert core.notes[-1] == "2-core of users and 2-core of items: 2 interactions, 1 users and 1 items were left out"
    assert k_core(core, users=2, items=2).fingerprint == core.fingerprint
    assert len(dataset.catalog.names) == 3, "the dataset it came from is as it was"


def test_k_core_agrees_with_a_plain_reference() -> None:
    generator = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}", 1.0, time) for time, (user, item) in enumerate(generator.integers(0, 40, size=(400, 2)).tolist())]
    dataset = drop_duplicates(log(*rows))
    left = pairs(dataset)
    while True:
        users, items = [user for user, _ in left], [item for _, item in left]
        still = {(user, item) for user, item in left if users.count(user) >= 6 and items.count(item) >= 5}
        if still == left:
            break
        left = still
    assert left
    assert pairs(k_core(dataset, users=6, items=5)) == left


def test_rating_filter_counts_the_unrated_apart() -> None:
    dataset = log(("u", "a", 5, 1), ("u", "b", 3, 2), ("v", "a", None, 3), ("v", "b", 4, 4))
    liked = rating_at_least(dataset, 4)
    assert pairs(liked) == {("u", "a"), ("v", "b")}
    assert liked.interactions.ratings is not None
    assert liked.interactions.ratings.tolist() == [5, 4]
    assert liked.notes[-1] == (
        "rating of at least 4 (1 of those left out have no rating): 2 interactions, 0 users and 0 items were left out"
    )


def test_time_window_has_its_start_and_not_its_end() -> None:
    # 86,400 seconds a day: days 0, 1, 2, 3 of 1970
    dataset = log(("u", "a", 1, 0), ("u", "b", 1, 86_400), ("v", "a", 1, 172_800), ("v", "b", 1, 259_200))
    window = time_window(dataset, "1970-01-02", "1970-01-04")
    assert pairs(window) == {("u", "b"), ("v", "a")}
    assert window.interactions.times is not None
    assert window.interactions.times.tolist() == [86_400, 172_800]
    assert window.notes[-1].startswith("time from 1970-01-02 and before 1970-01-04: 2 interactions")
    assert pairs(time_window(dataset, None, "1970-01-02")) == {("u", "a")}


def test_a_rolling_window_begins_earlier_until_it_holds_enough_items() -> None:
    day = 86_400
    # 1970-01-11, 1970-04-11, 1970-07-10, 1970-09-18: one new item each.
    dataset = log(("u", "a", 1, 10 * day), ("u", "b", 1, 100 * day), ("v", "c", 1, 190 * day), ("v", "d", 1, 260 * day))
    found = {least: pairs(rolling_window(dataset, end="1970-10-01", months=3, step=3, least_items=least)) for least in (1, 2, 3, 4)}
    assert found[1] == found[2] == {("v", "c"), ("v", "d")}
    assert found[3] == found[1] | {("u", "b")}
    assert found[4] == pairs(dataset)
    assert pairs(rolling_window(dataset, end="1970-10-01", least_items=99)) == pairs(dataset), "no further back than the log goes"
    assert "9 months before 1970-10-01, 4 items" in rolling_window(dataset, end="1970-10-01", months=3, least_items=4).notes[-1]


def test_long_and_empty_titles_go() -> None:
    dataset = log(("u", "a b c", 1, 0), ("u", "ab", 1, 1), ("v", "x", 1, 2))
    assert pairs(short_titles(dataset, 2)) == {("u", "ab")}


def test_drop_duplicates_keeps_the_first() -> None:
    dataset = log(("u", "a", 1, 1), ("u", "b", 2, 2), ("u", "a", 3, 3), ("v", "a", 4, 4))
    once = drop_duplicates(dataset)
    assert once.interactions.ratings is not None
    assert once.interactions.ratings.tolist() == [1, 2, 4]
    assert once.notes[-1].startswith("first interaction of each (user, item) pair: 1 interactions")


def test_filters_that_cannot_be_are_told() -> None:
    dataset = log(("u", "a", 1, 1), ("v", "a", 2, 2))
    bare = from_frames(pl.DataFrame({"user": ["u", "v"], "item": ["a", "b"]}))
    with pytest.raises(DataError, match="no interaction is left by the filter 'rating of at least 9'"):
        rating_at_least(dataset, 9)
    with pytest.raises(DataError, match="frame has no ratings"):
        rating_at_least(bare, 1)
    with pytest.raises(DataError, match="knows only the order of its interactions"):
        time_window(bare, "1970-01-01")
    with pytest.raises(ConfigError, match="'last week' is no date that can be read"):
        time_window(dataset, "last week")
    with pytest.raises(ConfigError, match="the start has to be before the end"):
        time_window(dataset, "1980-01-01", "1970-01-01")
    with pytest.raises(DataError, match="has no times, so no window"):
        rolling_window(bare, end="1970-01-01")
    with pytest.raises(ConfigError, match="a window of 0 months in steps of 3"):
        rolling_window(dataset, end="1970-01-01", months=0)
    with pytest.raises(ConfigError, match="titles of at most 0 words"):
        short_titles(dataset, 0)
    with pytest.raises(ConfigError, match="write numbers of 0 or more"):
        k_core(dataset, -1, 5)
