"""What a batch promises: nothing is lost, nothing is doubled, `PAD` stands where it says."""

from itertools import pairwise

import numpy as np
import pytest

from fathom.data.batches import pad_left, pad_right, shuffled, windows
from fathom.errors import ConfigError
from fathom.records import PAD, Interactions


def log(*histories: list[int]) -> Interactions:
    """Interactions of the given histories."""
    return Interactions(
        users=tuple(map(str, range(len(histories)))),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        items=np.array([item for history in histories for item in history], dtype=np.int64),
    )


def test_padding_keeps_the_newest_events_on_either_side() -> None:
    histories = [[], [1], [1, 2, 3], [1, 2, 3, 4]]
    assert pad_left(histories, 3).tolist() == [[0, 0, 0], [0, 0, 1], [1, 2, 3], [2, 3, 4]]
    assert pad_right(histories, 3).tolist() == [[0, 0, 0], [1, 0, 0], [1, 2, 3], [2, 3, 4]]
    assert pad_left(histories, 3).dtype == np.int64


def test_windows_are_cut_from_the_end() -> None:
    assert windows(log([1, 2, 3, 4, 5], [6], [], [7, 8]), 3).tolist() == [[0, 0, 1, 2], [2, 3, 4, 5], [0, 0, 7, 8]]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 50])
def test_every_event_but_a_users_first_is_said_exactly_once(length: int) -> None:
    rng = np.random.default_rng(length)
    # Every event has an id of its own, so that "said" can be counted.
    lengths = rng.integers(0, 20, size=30)
    edges = np.cumsum([0, *lengths])
    interactions = log(*[list(range(start + 1, stop + 1)) for start, stop in pairwise(edges.tolist())])
    read, said = windows(interactions, length)[:, :-1], windows(interactions, length)[:, 1:]
    firsts = {int(interactions.history(user)[0]) for user in range(30) if len(interactions.history(user))}
    assert sorted(said[(said != PAD) & (read != PAD)].tolist()) == sorted(set(interactions.items.tolist()) - firsts)
    both = (said != PAD) & (read != PAD)
    assert (said[both] == read[both] + 1).all(), "what is said follows what is read, within one user"


def test_a_log_without_pairs_gives_no_window() -> None:
    assert windows(log([1], []), 4).shape == (0, 5)


def test_shuffling_takes_everything_once_and_obeys_its_generator() -> None:
    first = [batch.tolist() for batch in shuffled(10, 4, np.random.default_rng(1))]
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(number for batch in first for number in batch) == list(range(10))
    assert first == [batch.tolist() for batch in shuffled(10, 4, np.random.default_rng(1))]


@pytest.mark.parametrize("pad", [pad_left, pad_right])
def test_a_length_of_zero_is_refused(pad: object) -> None:
    assert callable(pad)
    with pytest.raises(ConfigError, match="a length of 0"):
        pad([[1]], 0)
