"""Windows of time: nothing of a window or later is learned from before it asks."""

import numpy as np
import pytest

from fathom.data.time_windows import HOUR, TimeWindow, time_windows, together
from fathom.errors import ConfigError, DataError
from fathom.records import Interactions


def log(*sessions: list[float]) -> Interactions:
    """Sessions whose events happen at these hours; each event takes an item of its own, in the order of the log."""
    times = np.array([round(hour * HOUR) for session in sessions for hour in session], dtype=np.int64)
    return Interactions(
        users=tuple(f"s{number}" for number in range(len(sessions))),
        offsets=np.cumsum([0, *map(len, sessions)]).astype(np.int64),
        items=np.arange(1, len(times) + 1, dtype=np.int64),
        times=times,
    )


def busy(seed: int = 0, sessions: int = 300) -> Interactions:
    """Sessions of one to five events over ten days, some of which cross midnight."""
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.uniform(0, 240, size=sessions))
    return log(*[[float(start + 0.7 * event) for event in range(rng.integers(1, 6))] for start in starts])


def asked(window: TimeWindow) -> list[tuple[tuple[int, ...], int]]:
    return [(case.history, case.target) for case in (*window.valid, *window.test)]


def test_windows_worked_by_hand() -> None:
    # Days: the first session lies in day 0, the second crosses into day 1, the third and fourth lie in day 1, the fifth in day 3.
    made = log([1, 2], [23, 25], [30, 31, 32], [40], [73, 74])
    first, second = time_windows(made, hours=24, valid_share=0.0)
    assert (first.name, second.name) == ("1970-01-02", "1970-01-04")
    assert first.train(made).items.tolist() == [1, 2]  # what crosses has not ended
    assert asked(first) == [((5, 6), 7)]  # one event asks nothing
    assert second.train(made).items.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert asked(second) == [((9,), 10)]
    new, newer = time_windows(made, hours=24, mode="incremental", valid_share=0.0)
    assert (new.train(made).items.tolist(), newer.train(made).items.tolist()) == ([1, 2], [3, 4, 5, 6, 7, 8])
    [latest] = time_windows(made, hours=24, span=2, most=1, valid_share=0.0)
    assert latest.train(made).items.tolist() == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("hours", [6.0, 24.0, 31.5])
@pytest.mark.parametrize("given", [{}, {"mode": "incremental"}, {"span": 2}, {"most": 3}])
def test_no_row_of_a_window_or_later_is_learned_from_before_it(hours: float, given: dict[str, object]) -> None:
    made = busy()
    assert made.times is not None
    windows = time_windows(made, hours=hours, **given)  # type: ignore[arg-type]
    assert len(windows) >= 3
    for window in windows:
        train = window.train(made)
        assert train.n_events > 0 or given == {"mode": "incremental"}
        assert bool((made.times[train.items - 1] < window.begins).all())  # an event's item is its row
        for case in (*window.valid, *window.test):
            assert min(case.times) >= window.begins
            assert not set(train.items) & {*case.history, case.target}


def test_what_is_learned_piece_by_piece_is_what_is_learned_at_once() -> None:
    made = busy(1)
    anew, further = (time_windows(made, hours=12, mode=mode) for mode in ("retrain", "incremental"))  # type: ignore[arg-type]
    seen: set[int] = set()
    for whole, part in zip(anew, further, strict=True):
        items = set(part.train(made).items.tolist())
        assert not items & seen  # each event is learned once
        seen |= items
        assert seen == set(whole.train(made).items.tolist())
        assert asked(whole) == asked(part)


def test_halves_are_drawn_by_the_seed() -> None:
    made = busy(2)
    one, same, other = (time_windows(made, hours=24, seed=seed) for seed in (1, 1, 2))
    assert [asked(window) for window in one] == [asked(window) for window in same] != [asked(window) for window in other]
    for window in one:
        users = [case.user for case in (*window.valid, *window.test)]
        assert len(window.valid) == len(users) // 2
        assert len(set(users)) == len(users)


@pytest.mark.parametrize("mode", ["retrain", "incremental"])
def test_a_window_with_few_sessions_does_not_ask_and_is_learned_from_all_the_same(mode: str) -> None:
    made = busy(4)
    every = time_windows(made, hours=12, mode=mode, valid_share=0.0)  # type: ignore[arg-type]
    sizes = [len(window.test) for window in every]
    least = sorted(sizes)[len(sizes) // 2]
    some = time_windows(made, hours=12, mode=mode, valid_share=0.0, least=least)  # type: ignore[arg-type]
    assert min(sizes) < least
    assert [window.begins for window in some] == [window.begins for window, size in zip(every, sizes, strict=True) if size >= least]
    learned, known = (np.logical_or.reduce([one.learned for one in part if one.begins <= some[-1].begins]) for part in (some, every))
    assert (learned == known).all()
    [latest] = time_windows(made, hours=12, most=1, least=least)
    assert latest.begins == some[-1].begins


def test_all_windows_together_are_one_split() -> None:
    made = busy(3)
    windows = time_windows(made, hours=24)
    whole = together(windows, made)
    assert len(whole.test) == sum(len(window.test) for window in windows)
    assert whole.train.items.tolist() == windows[-1].train(made).items.tolist()
    assert whole.rule == f"{len(windows)} time windows"
    assert [case.user for case in together(time_windows(made, hours=24, mode="incremental"), made).test] == [c.user for c in whole.test]


def test_what_cannot_be_cut_is_told() -> None:
    with pytest.raises(DataError, match="no session begins in a window of 24 hours before which another one has ended"):
        time_windows(log([1, 2], [3, 4]), hours=24)
    with pytest.raises(DataError, match="needs times, and this log has none"):
        time_windows(Interactions(("u",), np.array([0, 1]), np.array([1])), hours=24)
    with pytest.raises(ConfigError, match="'incremental' learns each once"):
        time_windows(busy(), hours=24, mode="incremental", span=3)
    with pytest.raises(ConfigError, match="hours must be above 0"):
        time_windows(busy(), hours=0)
    with pytest.raises(ConfigError, match=r"least 0, .*least 1 or more"):
        time_windows(busy(), hours=24, least=0)
    with pytest.raises(DataError, match=r"in no window of 24 hours 1000 .*the most are \d+: write longer windows"):
        time_windows(busy(), hours=24, least=1000)
