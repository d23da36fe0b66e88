"""Interactions cut into what may be learned from and what is asked; each cut says which leak it leaves open."""

from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from fathom.errors import ConfigError, DataError
from fathom.records import Case, Interactions, Ints, Split

PART = "part"
"""The column of labels that 'given' cuts by."""
PARTS = ("train", "valid", "test")
"""What it says, in the order of time."""
FEWEST = 3
"""Events a user needs for a leave-one-out case: one to learn from, one to validate on, one to test on."""


class SplitRule(Protocol):
    """What every entry of `SPLITS` is."""

    def __call__(self, interactions: Interactions, *, max_history: int | None = None) -> Split:
        """Cut `interactions`; the cases keep their last `max_history` events, or all of them."""
        ...


def leave_one_out(interactions: Interactions, *, max_history: int | None = None) -> Split:
    """Each user's last event is a test target, the one before it a validation target, the rest is learned from.

    Users with fewer than three events stay in train and are asked nothing; `leaks` counts them.
    User indices stay as they are. A test history holds the validation event, as it would in service.
    """
    lengths = np.diff(interactions.offsets)
    asked = np.flatnonzero(lengths >= FEWEST)
    ends = interactions.offsets[1:][asked]
    return Split(
        train=first_events(interactions, np.where(lengths >= FEWEST, lengths - 2, lengths)),
        valid=cases_at(interactions, asked, ends - 2, max_history=max_history),
        test=cases_at(interactions, asked, ends - 1, max_history=max_history),
        rule="leave-one-out",
        leaks="What one user did after another user's test event is in train, so the model may know trends of that user's future"
        f"{_asked_nothing(interactions.n_users - len(asked), 'fewer than three events')}.",
    )


def global_time(
    interactions: Interactions,
    *,
    max_history: int | None = None,
    valid_share: float = 0.1,
    test_share: float = 0.1,
    whole: bool = False,
) -> Split:
    """Everything before one moment is learned from; after it each user is asked for the first event of each window.

    The last `test_share` of all events, by time, is the test window and the `valid_share` before it the validation window.
    Events of equal time never stand on both sides of a cut. A case's history is everything its user did before the window;
    users who did nothing before it are asked nothing. With `whole`, all that a user did in the window is relevant, not the first event
    alone. Without times this is a `DataError`.
    """
    _check_shares(valid_share, test_share)
    times = known_times(interactions)
    in_order = np.sort(times)
    first_valid = in_order[int(len(times) * (1 - valid_share - test_share))]
    first_test = in_order[int(len(times) * (1 - test_share))]
    starts, stops = interactions.offsets[:-1], interactions.offsets[1:]
    before = np.concatenate(([0], np.cumsum(times < first_valid)))
    until = np.concatenate(([0], np.cumsum(times < first_test)))
    learned = before[stops] - before[starts]
    known = until[stops] - until[starts]
    in_valid = np.flatnonzero((learned > 0) & (known > learned))
    in_test = np.flatnonzero((known > 0) & (stops - starts > known))
    newcomers = int(((known == 0) & (stops > starts)).sum())
    return Split(
        train=first_events(interactions, learned),
        valid=cases_at(
            interactions,
            in_valid,
            (starts + learned)[in_valid],
            until=(starts + known)[in_valid] if whole else None,
            max_history=max_history,
        ),
        test=cases_at(interactions, in_test, (starts + known)[in_test], until=stops[in_test] if whole else None, max_history=max_history),
        rule="global-time-whole" if whole else "global-time",
        leaks="Nothing after the first cut is learned from, but the catalogue itself may hold items that did not exist yet then"
        f"{_asked_nothing(newcomers, 'no event before the test window')}.",
    )


def global_events(
    interactions: Interactions, *, max_history: int | None = None, valid_share: float = 0.1, test_share: float = 0.1
) -> Split:
    """Every event but a user's first is a question; the last `test_share` of all questions, by time, are test cases, the `valid_share`
    before them validation cases, and the others are learned from (R²ec's split of Amazon 2023, arXiv:2505.16994).

    A user may be asked several times. Questions of equal time keep the order of the log, so a cut may fall between them. The first event
    of somebody who is asked nothing before the first cut is learned from where it lies before it. Without times this is a `DataError`.
    """
    _check_shares(valid_share, test_share)
    times = known_times(interactions)
    lengths = np.diff(interactions.offsets)
    firsts = interactions.offsets[:-1][lengths > 0]
    question = np.ones(len(times), dtype=bool)
    question[firsts] = False
    in_order = np.flatnonzero(question)
    in_order = in_order[np.argsort(times[in_order], kind="stable")]
    if len(in_order) < 1 / min(valid_share, test_share):
        raise DataError(f"{len(in_order)} events follow another of their user: too few to cut three parts from")
    first_valid, first_test = (int(len(in_order) * share + 1e-9) for share in (1 - valid_share - test_share, 1 - test_share))
    owner = np.repeat(np.arange(interactions.n_users), lengths)
    learned = np.bincount(owner[in_order[:first_valid]], minlength=interactions.n_users)
    early = np.zeros(interactions.n_users, dtype=np.int64)
    early[lengths > 0] = times[firsts] < times[in_order[first_valid]]
    learned = np.where(learned > 0, learned + 1, early)
    valid, test = np.sort(in_order[first_valid:first_test]), np.sort(in_order[first_test:])
    return Split(
        train=first_events(interactions, learned),
        valid=cases_at(interactions, owner[valid], valid, max_history=max_history),
        test=cases_at(interactions, owner[test], test, max_history=max_history),
        rule="global-events",
        leaks="Nothing after the first cut is learned from; later questions about a user show what the earlier ones asked for, and the "
        "catalogue itself may hold items that did not exist yet at the first cut.",
    )


def hold_out(train: Interactions, *, share: float = 0.1, most: int = 8, keep: int = 5) -> tuple[Interactions, tuple[Case, ...]]:
    """The part to fit a retriever on, and one case for each event held out of it, with everything its user did before.

    Of each user's n training events the last max(1, floor(share * n)) are held out, at most `most`, and never so many that
    fewer than `keep` stay; users with `keep` events or fewer give no case. The fit part has the same users as `train`.
    """
    if not 0 < share < 1 or most < 1 or keep < 1:
        raise ConfigError(f"share {share}, most {most}, keep {keep}: share must be between 0 and 1, most and keep at least 1")
    lengths = np.diff(train.offsets)
    wanted = np.minimum(np.maximum((lengths * share).astype(np.int64), 1), most)
    held = np.clip(lengths - keep, 0, wanted)
    users = np.repeat(np.arange(train.n_users), held)
    nth = np.arange(len(users)) - np.repeat(np.cumsum(held) - held, held)
    at = train.offsets[1:][users] - held[users] + nth
    return first_events(train, lengths - held), cases_at(train, users, at)


def _check_shares(valid_share: float, test_share: float) -> None:
    if valid_share <= 0 or test_share <= 0 or valid_share + test_share >= 1:
        raise ConfigError(f"valid_share {valid_share} and test_share {test_share}: both must be above 0 and their sum below 1")


def _asked_nothing(users: int, reason: str) -> str:
    """The end of a `leaks` sentence: how many users gave no case, and why."""
    return f"; {users:,} users with {reason} are asked nothing" if users else ""


def known_times(interactions: Interactions) -> Ints:
    """The times, of which none may be missing or out of order, or a `DataError`."""
    times = interactions.times
    advice = "split by 'leave-one-out', which needs only the order"
    if times is None or not len(times):
        raise DataError(f"a split by time needs times, and this log has none: {advice}")
    if (missing := int((times < 0).sum())) > 0:
        raise DataError(f"a split by time needs every time, and {missing:,} of {len(times):,} are missing: {advice}")
    same_user = np.ones(len(times) - 1, dtype=bool)
    inner = interactions.offsets[1:-1]
    same_user[inner[(inner > 0) & (inner < len(times))] - 1] = False
    if bool((same_user & (np.diff(times) < 0)).any()):
        raise DataError("the events of at least one user are not in the order of their times: sort the log by user and time")
    return times


def first_events(interactions: Interactions, counts: Ints) -> Interactions:
    """The same users, each with their first `counts` events."""
    lengths = np.diff(interactions.offsets)
    place = np.arange(interactions.n_events) - np.repeat(interactions.offsets[:-1], lengths)
    kept = place < np.repeat(counts, lengths)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return Interactions(
        users=interactions.users,
        offsets=offsets,
        items=interactions.items[kept],
        ratings=None if interactions.ratings is None else interactions.ratings[kept],
        times=None if interactions.times is None else interactions.times[kept],
        columns={name: column.taken(kept) for name, column in interactions.columns.items()},
    )


def cases_at(
    interactions: Interactions, users: Ints, at: Ints, *, max_history: int | None = None, until: Ints | None = None
) -> tuple[Case, ...]:
    """One case per user in `users`: the target is event `at` (an index into the log), the history what stands before it.

    What stands between it and the event `until` is relevant beside it.
    """
    if max_history is not None and max_history < 1:
        raise ConfigError(f"max_history is {max_history}: write 1 or more, or leave it out to keep whole histories")
    starts = interactions.offsets[users]
    if max_history is not None:
        starts = np.maximum(starts, at - max_history)
    ends = (at if until is None else until).tolist()
    # Slices of one list are several times faster than converting one small array a case.
    items: list[int] = interactions.items.tolist()
    ratings: list[float] = [] if interactions.ratings is None else interactions.ratings.tolist()
    times: list[int] = [] if interactions.times is None else interactions.times.tolist()
    columns: dict[str, list[float]] = {name: column.values.tolist() for name, column in interactions.columns.items()}
    return tuple(
        Case(
            user=user,
            history=tuple(items[start:stop]),
            target=items[stop],
            ratings=tuple(ratings[start:stop]),
            times=tuple(times[start:stop]),
            later=tuple(items[stop + 1 : end]),
            columns={name: tuple(values[start:stop]) for name, values in columns.items()},
        )
        for user, start, stop, end in zip(users.tolist(), starts.tolist(), at.tolist(), ends, strict=True)
    )


def given(interactions: Interactions, *, max_history: int | None = None) -> Split:
    """As the source says: its column 'part' has 'train', 'valid' or 'test' for each event; any but train is asked for.

    Each user's events of train come first, then those of valid, then those of test, or it is a `DataError`. The column itself is nothing
    that a model may read, and is gone.
    """
    told = interactions.columns.get(PART)
    if told is None or set(told.names) - set(PARTS):
        found = "this log has no such column" if told is None else f"here it says {', '.join(told.names)}"
        raise DataError(f"split 'given' needs a column '{PART}' of labels that says {', '.join(PARTS)} of each event; {found}")
    if (missing := int(np.isnan(told.values).sum())) > 0:
        raise DataError(f"split 'given' needs a '{PART}' of every event, and {missing:,} of {len(told.values):,} are missing")
    order = np.array([0, *(PARTS.index(name) for name in told.names)])[told.values.astype(np.int64)]
    owner = np.repeat(np.arange(interactions.n_users), np.diff(interactions.offsets))
    back = (np.diff(order) < 0) & (np.diff(owner) == 0)
    if bool(back.any()):
        user = interactions.users[owner[1:][back][0]]
        raise DataError(f"user '{user}' has events of {PARTS[0]} behind those that are asked for: nothing may be learned from the future")
    columns = {name: column for name, column in interactions.columns.items() if name != PART}
    plain = replace(interactions, columns=columns)
    asked = [np.flatnonzero(order == part) for part in (1, 2)]
    newcomers = sum(int((at == interactions.offsets[owner[at]]).sum()) for at in asked)
    valid, test = (cases_at(plain, owner[at], at, max_history=max_history) for at in asked)
    return Split(
        train=first_events(plain, np.bincount(owner[order == 0], minlength=interactions.n_users)),
        valid=valid,
        test=test,
        rule="given",
        leaks="Parts are as the source gives them: what leak they leave open is for it to say"
        f"{f'; {newcomers:,} cases have no history' if newcomers else ''}.",
    )


SPLITS: dict[str, SplitRule] = {
    "leave-one-out": leave_one_out,
    "global-time": global_time,
    "global-time-whole": partial(global_time, whole=True),
    "global-events": global_events,
    "given": given,
}
"""The splits a recipe may name."""
