"""Episodes and reasonings come back from their file as they went in; a broken file is told."""

import gzip
import math
from pathlib import Path

import pytest

from fathom.errors import DataError
from fathom.evaluation.said import load_said, save_said
from fathom.records import Case, Ending, Episode, Reasoning, Tape, Turn

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
    save_said(path, [EPISODE, EPISODE])
    assert load_said(path, Episode) == [EPISODE, EPISODE]
    first = path.read_bytes()
    save_said(path, [EPISODE, EPISODE])
    assert path.read_bytes() == first


def test_reasonings_survive_the_file(tmp_path: Path) -> None:
    reasoning = Reasoning(
        EPISODE.case, "é", Tape(tokens=(1, 2), sampled=(False, True), logprobs=(0.0, -0.5), prompt=1), words=1, forced=True
    )
    save_said(tmp_path / "reasonings.jsonl.gz", [reasoning])
    assert load_said(tmp_path / "reasonings.jsonl.gz", Reasoning) == [reasoning]


def test_a_missing_rating_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl.gz"
    case = Case(user=3, history=(1,), target=5, ratings=(math.nan,))
    save_said(path, [Episode(case, (), "", (), (), (), (), Ending.UNREADABLE, "")])
    assert math.isnan(load_said(path, Episode)[0].case.ratings[0])


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl.gz"
    path.write_bytes(gzip.compress(b'[{"case": 1}]\n'))
    with pytest.raises(DataError, match="line 1: not what Fathom writes there"):
        load_said(path, Episode)
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="not a whole compressed file"):
        load_said(path, Episode)
    with pytest.raises(DataError, match="no such file"):
        load_said(tmp_path / "other", Episode)
