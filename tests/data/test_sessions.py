"""Sessions by hand."""

import numpy as np
import pytest

from fathom.data.dataset import Dataset
from fathom.data.sessions import Repeats, sessions
from fathom.errors import ConfigError, DataError
from fathom.records import Catalog, Interactions

MINUTE = 60


def dataset(times: list[int] | None = None) -> Dataset:
    # u: a a b b a | c c | d;   v: b c d e f
    items = [1, 1, 2, 2, 1, 3, 3, 4, 2, 3, 4, 5, 6]
    at = [0, 1, 2, 3, 4, 50, 51, 200, 0, 30, 60, 90, 120]
    log = Interactions(("u", "v"), np.array([0, 8, 13]), np.array(items), times=np.array(times or at) * MINUTE)
    return Dataset("made", Catalog(tuple("abcdef"), tuple("ABCDEF")), log)


def found(**settings: object) -> dict[str, list[str]]:
    made = sessions(dataset(), **settings)  # type: ignore[arg-type]
    log, names = made.interactions, made.catalog.names
    return {name: [names[item - 1] for item in log.history(user)] for user, name in enumerate(log.users)}


@pytest.mark.parametrize(
    ("repeats", "expected"),
    [
        ("keep", {"u#1": list("aabba"), "u#2": list("cc"), "v#1": list("bcdef")}),
        ("collapse", {"u#1": list("aba"), "v#1": list("bcdef")}),
        ("drop", {"u#1": list("ab"), "v#1": list("bcdef")}),
    ],
)
def test_a_pause_ends_a_session_and_repeats_go_as_asked(repeats: Repeats, expected: dict[str, list[str]]) -> None:
    assert found(repeats=repeats) == expected


def test_sessions_are_shortened_to_their_first_events_after_repeats_are_out() -> None:
    assert found(repeats="collapse", longest=2) == {"u#1": list("ab"), "v#1": list("bc")}
    assert found(repeats="drop", longest=4, shortest=1) == {"u#1": list("ab"), "u#2": ["c"], "u#3": ["d"], "v#1": list("bcde")}
    assert found(gap=29.0, shortest=1, repeats="drop")["v#5"] == ["f"]


def test_sessions_have_twenty_events_at_most_unless_more_are_wanted() -> None:
    log = Interactions(("u",), np.array([0, 30]), np.arange(1, 31), times=np.arange(30) * MINUTE)
    long = Dataset("long", Catalog(tuple(map(str, range(30))), tuple(map(str, range(30)))), log)
    assert sessions(long).interactions.items.tolist() == list(range(1, 21))
    assert sessions(long, longest=25).interactions.n_events == 25


def test_every_event_is_kept_or_counted() -> None:
    made = sessions(dataset())
    assert made.interactions.n_events == 8
    assert any("4 sessions by gaps of 30 minutes" in note and "5 interactions" in note for note in made.notes)


def test_what_cannot_be_cut_is_told() -> None:
    with pytest.raises(DataError, match="does not know the time of every interaction"):
        sessions(dataset(times=[-1] * 13))
    with pytest.raises(ConfigError, match="sessions of 5 to 3 events"):
        sessions(dataset(), longest=3, shortest=5)
