"""Histories become rectangles of ids: the one place that decides where `PAD` stands."""

from collections.abc import Iterator, Sequence

import numpy as np

from fathom.errors import ConfigError
from fathom.records import PAD, Interactions, Ints


def pad_left(histories: Sequence[Sequence[int]], length: int) -> Ints:
    """(B, length) ids, the newest in the last column: `PAD` stands before a short history, a long one loses its oldest.

    >>> pad_left([[7, 8], [1, 2, 3, 4]], 3).tolist()
    [[0, 7, 8], [2, 3, 4]]
    """
    _checked(length)
    rows = np.full((len(histories), length), PAD, dtype=np.int64)
    for row, history in zip(rows, histories, strict=True):
        recent = history[-length:]
        row[length - len(recent) :] = recent
    return rows


def pad_right(histories: Sequence[Sequence[int]], length: int) -> Ints:
    """(B, length) ids, the oldest kept one in the first column: `PAD` stands after a short history, a long one loses its oldest.

    >>> pad_right([[7, 8], [1, 2, 3, 4]], 3).tolist()
    [[7, 8, 0], [2, 3, 4]]
    """
    _checked(length)
    rows = np.full((len(histories), length), PAD, dtype=np.int64)
    for row, history in zip(rows, histories, strict=True):
        recent = history[-length:]
        row[: len(recent)] = recent
    return rows


def windows(interactions: Interactions, length: int) -> Ints:
    """(W, length + 1) ids: columns 0..length-1 are what is read, columns 1..length what must be said; padded on the left.

    Every event but a user's first, before which there is nothing to read, is said exactly once. A long history becomes
    several windows that share one event, cut from its end, so the newest `length` events always stand together in one.
    Users with fewer than two events give no window. W is ceil((n - 1) / length) summed over users; their order is kept.
    """
    _checked(length)
    said = np.maximum(np.diff(interactions.offsets) - 1, 0)
    counts = -(-said // length)
    users = np.repeat(np.arange(interactions.n_users), counts)
    nth_from_end = np.repeat(np.cumsum(counts), counts) - np.arange(len(users)) - 1
    last = interactions.offsets[1:][users] - 1 - nth_from_end * length
    at = last[:, None] - np.arange(length, -1, -1)
    inside = at >= interactions.offsets[users][:, None]
    if not len(users):
        return np.empty((0, length + 1), dtype=np.int64)
    return np.where(inside, interactions.items[np.maximum(at, 0)], PAD)


def shuffled(count: int, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """The numbers 0..count-1, each exactly once, in an order drawn from `rng`, `size` at a time; the last batch may be smaller."""
    _checked(size)
    order = rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def _checked(length: int) -> None:
    """Refuse a length that no row can have."""
    if length < 1:
        raise ConfigError(f"a length of {length} leaves no room for an item: write 1 or more")
