"""A log cut along time into windows: what is learned before one is asked in it (Transformers4Rec, RecSys 2021, section 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from fathom.data.splits import cases_at, first_events, known_times
from fathom.errors import ConfigError, DataError
from fathom.records import Case, Interactions, Split

HOUR = 3600

Mode = Literal["retrain", "incremental"]


@dataclass(frozen=True, slots=True, eq=False)
class TimeWindow:
    """A stretch of time whose sessions are asked for their last items."""

    begins: int
    """Seconds since 1970."""
    learned: npt.NDArray[np.bool_]
    """(n_users,) whose events are learned from before it; all of these have ended by then."""
    valid: tuple[Case, ...]
    test: tuple[Case, ...]

    @property
    def name(self) -> str:
        """When it begins, in UTC: '2019-04-03' or '2019-04-03 06:00'."""
        return f"{datetime.fromtimestamp(self.begins, UTC):%Y-%m-%d %H:%M}".removesuffix(" 00:00")

    def train(self, interactions: Interactions) -> Interactions:
        """The same users, those with their events who are learned from."""
        return first_events(interactions, np.where(self.learned, np.diff(interactions.offsets), 0))


def time_windows(
    interactions: Interactions,
    *,
    hours: float,
    mode: Mode = "retrain",
    span: int = 0,
    most: int = 0,
    least: int = 1,
    valid_share: float = 0.5,
    seed: int = 42,
) -> tuple[TimeWindow, ...]:
    """The windows that ask something, the oldest first.

    Windows of `hours` begin at whole multiples of that since 1970. A session (a user) is learned from in the window of its last event and
    asked in that of its first, for its last item, by the rest of it: whatever is learned from has happened before the window that asks.
    `retrain` learns everything before the window, or of the `span` windows before it; `incremental` what has ended since the beginning of
    the window that asked before. A window in which fewer than `least` sessions could be asked does not ask: its figure would count as much
    as any other's. Of those that do, the `most` latest ask, where that is not 0. `valid_share` of each window's sessions, drawn by `seed`,
    are validation cases. A log without times, or in which no window asks, is a `DataError`.
    """
    if hours <= 0 or span < 0 or most < 0 or least < 1 or not 0 <= valid_share < 1:
        given = f"hours {hours:g}, span {span}, most {most}, least {least}, valid_share {valid_share:g}"
        raise ConfigError(f"{given}: hours must be above 0, span and most not below, least 1 or more, valid_share from 0 to below 1")
    if mode == "incremental" and span:
        raise ConfigError(f"span {span} says how many windows are learned anew, but 'incremental' learns each once: leave one of them out")
    lengths = np.diff(interactions.offsets)
    size = max(1, round(hours * HOUR))
    some = np.flatnonzero(lengths > 0)
    windows = known_times(interactions) // size
    begins, ends = (np.full(len(lengths), -1, dtype=np.int64) for _ in range(2))
    begins[some] = windows[interactions.offsets[:-1][some]]
    ends[some] = windows[interactions.offsets[1:][some] - 1]
    earliest = int(ends[some].min())
    starts, sessions = np.unique(begins[(lengths > 1) & (begins > earliest)], return_counts=True)
    if not len(starts):
        raise DataError(f"no session begins in a window of {hours:g} hours before which another one has ended: write shorter windows")
    asked = starts[sessions >= least].tolist()
    if not asked:
        many = f"in no window of {hours:g} hours {least} sessions of two events or more begin, the most are {sessions.max()}"
        raise DataError(f"{many}: write longer windows, or a smaller 'least'")
    rng = np.random.default_rng(seed)
    found, before = [], earliest
    for window in asked[-most:]:
        oldest = before if mode == "incremental" else window - span if span else earliest
        held = np.flatnonzero((lengths > 1) & (begins == window))
        valid = np.sort(rng.permutation(held)[: int(len(held) * valid_share)])
        parts = [cases_at(interactions, users, interactions.offsets[1:][users] - 1) for users in (valid, np.setdiff1d(held, valid))]
        found.append(TimeWindow(window * size, (lengths > 0) & (ends >= oldest) & (ends < window), parts[0], parts[1]))
        before = window
    return tuple(found)


def together(windows: Sequence[TimeWindow], interactions: Interactions) -> Split:
    """All windows as one split: their cases one after the other, and everything that is learned from before the last of them."""
    learned = np.logical_or.reduce([window.learned for window in windows])
    return Split(
        train=first_events(interactions, np.where(learned, np.diff(interactions.offsets), 0)),
        valid=tuple(case for window in windows for case in window.valid),
        test=tuple(case for window in windows for case in window.test),
        rule=f"{len(windows)} time windows",
        leaks="Nothing that happens in a window is learned from before the window asks, but the catalogue itself may hold items that did "
        "not exist yet.",
    )
