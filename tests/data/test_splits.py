"""What a split promises: nothing asked is learned from, nothing is lost, nothing reaches back."""

import time
from dataclasses import replace

import numpy as np
import pytest

from fathom.data.splits import SPLITS, global_events, global_time, hold_out, leave_one_out
from fathom.errors import ConfigError, DataError
from fathom.records import EventColumn, Interactions


def log(*histories: list[int], times: list[int] | None = None) -> Interactions:
    """Interactions of the given histories; ratings are the items halved, times count up unless given."""
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    return Interactions(
        users=tuple(f"u{number}" for number in range(len(histories))),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        items=items,
        ratings=(items / 2).astype(np.float32),
        times=np.arange(len(items), dtype=np.int64) if times is None else np.array(times, dtype=np.int64),
    )


def random_log(*, users: int, most: int, seed: int) -> Interactions:
    """A log without repeats within a user: `users` histories of 0..most items, each user at random times of one year."""
    rng = np.random.default_rng(seed)
    histories = [rng.permutation(np.arange(1, 4 * most))[: rng.integers(0, most + 1)].tolist() for _ in range(users)]
    times = [time for history in histories for time in np.sort(rng.integers(0, 31_536_000, size=len(history))).tolist()]
    parts = [part for history in histories for part in np.sort(rng.integers(1, 4, size=len(history))).tolist()]
    column = EventColumn(np.array(parts, dtype=np.float32), ("train", "valid", "test"))
    return replace(log(*histories, times=times), columns={"part": column})


def test_leave_one_out_asks_the_last_two_events() -> None:
    split = leave_one_out(log([1, 2, 3, 4], [5, 6], [7, 8, 9]))
    assert split.train.items.tolist() == [1, 2, 5, 6, 7]
    assert split.train.offsets.tolist() == [0, 2, 4, 5]
    assert [(case.user, case.history, case.target) for case in split.valid] == [(0, (1, 2), 3), (2, (7,), 8)]
    assert [(case.user, case.history, case.target) for case in split.test] == [(0, (1, 2, 3), 4), (2, (7, 8), 9)]


def test_cases_carry_the_ratings_and_times_of_their_history_only() -> None:
    case = leave_one_out(log([1, 2, 3, 4])).test[0]
    assert case.ratings == (0.5, 1.0, 1.5)
    assert case.times == (0, 1, 2)


def test_short_users_stay_in_train_and_are_counted() -> None:
    split = leave_one_out(log([1, 2], [3], [4, 5, 6], []))
    assert split.train.items.tolist() == [1, 2, 3, 4]
    assert "3 users with fewer than three events" in split.leaks


def test_max_history_keeps_the_newest_events() -> None:
    case = leave_one_out(log([1, 2, 3, 4, 5]), max_history=2).test[0]
    assert case.history == (3, 4)
    assert case.ratings == (1.5, 2.0)


def test_a_whole_window_is_relevant_where_that_is_asked_for() -> None:
    made = log([1, 2, 3, 4, 5], [6, 7], times=[0, 1, 8, 9, 10, 2, 3])
    next_alone, whole = (global_time(made, valid_share=2 / 7, test_share=1 / 7, whole=whole) for whole in (False, True))
    assert whole.train.items.tolist() == next_alone.train.items.tolist() == [1, 2, 6, 7]
    assert [(case.target, case.later) for case in (*whole.valid, *whole.test)] == [(3, (4,)), (5, ())]
    assert all(case.later == () for case in (*next_alone.valid, *next_alone.test))


@pytest.mark.parametrize("name", SPLITS)
def test_no_asked_event_is_learned_from(name: str) -> None:
    interactions = random_log(users=200, most=12, seed=3)
    split = SPLITS[name](interactions)
    assert split.valid
    assert split.test
    for case in (*split.valid, *split.test):
        learned = split.train.history(case.user).tolist()
        assert case.target not in learned, "the target is not learned from"
        assert case.target not in case.history, "the target is not in its own history"
        assert list(case.history[: len(learned)]) == learned, "the history goes on from what was learned"


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_says_what_it_leaks(name: str) -> None:
    assert SPLITS[name](random_log(users=20, most=9, seed=1)).leaks.endswith(".")


def test_global_time_learns_nothing_from_after_the_cut() -> None:
    # Ten events: the test window starts at the event of index 8 (time 80), validation at index 6 (time 60).
    interactions = log([1, 2, 3, 4, 5], [6, 7, 8], [9, 10], times=[0, 10, 60, 70, 90, 20, 30, 40, 50, 80])
    split = global_time(interactions, valid_share=0.2, test_share=0.2)
    assert split.train.items.tolist() == [1, 2, 6, 7, 8, 9]
    assert [(case.user, case.history, case.target) for case in split.valid] == [(0, (1, 2), 3)]
    assert [(case.user, case.history, case.target) for case in split.test] == [(0, (1, 2, 3, 4), 5), (2, (9,), 10)]


def test_events_of_one_moment_stand_on_one_side_of_the_cut() -> None:
    split = global_time(log([1, 2, 3], [4, 5, 6], times=[0, 5, 5, 0, 5, 9]), valid_share=0.34, test_share=0.2)
    assert split.train.items.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("times", "message"),
    [([0, -1, 2], "1 of 3 are missing"), ([2, 1, 0], "not in the order of their times"), ([], "this log has none")],
)
def test_a_split_by_time_says_what_is_wrong_with_the_times(times: list[int], message: str) -> None:
    interactions = log([1, 2, 3] if times else [], times=times)
    with pytest.raises(DataError, match=message):
        global_time(interactions)


@pytest.mark.parametrize(("valid", "test"), [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5)])
def test_shares_that_leave_nothing_are_refused(valid: float, test: float) -> None:
    with pytest.raises(ConfigError, match="their sum below 1"):
        global_time(log([1, 2, 3]), valid_share=valid, test_share=test)


def test_global_events_asks_every_event_but_a_first_in_the_order_of_time() -> None:
    # Questions by time: 2@10, 7@30, 8@40, 3@60, 4@70, 5@90, 10@95: of seven the last two are test cases, the two before them validation.
    interactions = log([1, 2, 3, 4, 5], [6, 7, 8], [9, 10], [11], times=[0, 10, 60, 70, 90, 20, 30, 40, 50, 95, 65])
    split = global_events(interactions, valid_share=0.29, test_share=0.28)
    assert split.train.items.tolist() == [1, 2, 6, 7, 8, 9], "9 stands before the first cut, 11 behind it"
    assert [(case.user, case.history, case.target) for case in split.valid] == [(0, (1, 2), 3), (0, (1, 2, 3), 4)]
    assert [(case.user, case.history, case.target) for case in split.test] == [(0, (1, 2, 3, 4), 5), (2, (9,), 10)]


def test_global_events_cuts_at_exact_shares() -> None:
    for seed in range(20):
        interactions = random_log(users=60, most=9, seed=seed)
        questions = sum(max(0, length - 1) for length in np.diff(interactions.offsets).tolist())
        split = global_events(interactions)
        asked = sum(max(0, length - 1) for length in np.diff(split.train.offsets).tolist())
        first, second = questions * 8 // 10, questions * 9 // 10
        assert (asked, len(split.valid), len(split.test)) == (first, second - first, questions - second)
        latest = max(case.times[-1] for case in split.valid)
        assert latest <= max(case.times[-1] for case in split.test)


def test_too_few_events_for_three_parts_are_told() -> None:
    with pytest.raises(DataError, match="2 events follow another of their user: too few"):
        global_events(log([1, 2, 3]))


def test_hold_out_takes_the_end_of_each_history() -> None:
    fit, episodes = hold_out(log([1, 2, 3, 4, 5, 6], list(range(11, 31)), [40, 41]), share=0.1, most=8, keep=5)
    assert fit.items.tolist() == [1, 2, 3, 4, 5, *range(11, 29), 40, 41]
    assert [(case.user, len(case.history), case.target) for case in episodes] == [(0, 5, 6), (1, 18, 29), (1, 19, 30)]
    assert episodes[2].history == tuple(range(11, 30)), "the history holds the held-out events before it"


def test_hold_out_takes_at_most_the_most_and_keeps_enough() -> None:
    fit, episodes = hold_out(log(list(range(1, 101)), list(range(1, 8))), share=0.5, most=8, keep=6)
    assert np.diff(fit.offsets).tolist() == [92, 6]
    assert len(episodes) == 9


def test_held_out_targets_are_not_in_the_fit_part_of_their_user() -> None:
    train = leave_one_out(random_log(users=200, most=40, seed=5)).train
    fit, episodes = hold_out(train)
    for case in episodes:
        assert case.target not in fit.history(case.user)
    assert fit.n_events + len(episodes) == train.n_events, "nothing is lost"


def test_hold_out_refuses_shares_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"share 1\.5"):
        hold_out(log([1, 2]), share=1.5)


def test_max_history_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_history is 0"):
        leave_one_out(log([1, 2, 3]), max_history=0)


def test_a_million_events_are_split_in_seconds() -> None:
    rng = np.random.default_rng(0)
    offsets = np.linspace(0, 1_000_000, 6_041).astype(np.int64)
    interactions = Interactions(
        users=tuple(map(str, range(6_040))),
        offsets=offsets,
        items=rng.integers(1, 3_707, size=1_000_000),
        ratings=np.ones(1_000_000, dtype=np.float32),
        times=None,
    )
    start = time.perf_counter()
    split = leave_one_out(interactions)
    assert len(split.test) == 6_040
    assert time.perf_counter() - start < 10, "about one second on an idle core"
