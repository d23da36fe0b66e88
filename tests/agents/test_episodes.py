"""Episodes come back from their file as they went in; a broken file is told."""

import gzip
import math
from pathlib import Path

import pytest

from fathom.agents.episodes import load_episodes, save_episodes
from fathom.errors import DataError
from fathom.records import Case, Ending, Episode, Tape, Turn

EPISODE = Episode(
    case=Case(user=3, history=(1, 2), target=5, ratings=(4.0, 3.5), times=(-1, 7)),
    turns=(Turn("hm", "é; drama", (4, 5)), Turn("", "again", ())),
    conclusion="so",
    lines=("1. A", "2. ?"),
    answer=(4, None),
    scored=(5, 4),
    faults=("F9",),
    ending=Ending.ANSWERED,
    text="hm ...",
    tape=Tape(tokens=(1, 2, 3), sampled=(False, True, True), logprobs=(0.0, -0.5, -1e-7), prompt=1),
    seconds=0.25,
)


def test_episodes_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl.gz"
    save_episodes(path, [EPISODE, EPISODE])
    assert load_episodes(path) == [EPISODE, EPISODE]
    first = path.read_bytes()
    save_episodes(path, [EPISODE, EPISODE])
    assert path.read_bytes() == first


def test_a_missing_rating_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl.gz"
    case = Case(user=3, history=(1,), target=5, ratings=(math.nan,))
    save_episodes(path, [Episode(case, (), "", (), (), (), (), Ending.UNREADABLE, "")])
    assert math.isnan(load_episodes(path)[0].case.ratings[0])


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl.gz"
    path.write_bytes(gzip.compress(b'[{"case": 1}]\n'))
    with pytest.raises(DataError, match="line 1: not an episode"):
        load_episodes(path)
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="not a whole compressed file"):
        load_episodes(path)
    with pytest.raises(DataError, match="no such file"):
        load_episodes(tmp_path / "other")
