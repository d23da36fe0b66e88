"""`fathom chat`: a conversation from a pipe, kept in a file and gone on with."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from worlds import film_catalog

from fathom.cli import app
from fathom.conversation.state import load
from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, DataError
from fathom.records import Interactions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = Interactions(("ann", "bob"), np.array([0, 3, 5]), np.array([17, 18, 19, 1, 2]))
    Dataset("films", film_catalog(40), log).save(tmp_path / "films")
    return tmp_path / "films"


def talked(folder: Path, said: str, *options: str) -> str:
    told = CliRunner().invoke(app, ["chat", str(folder), "--encoder", "hashing", *options], input=said, catch_exceptions=False)
    assert told.exit_code == 0
    return " ".join(told.stdout.split())


def test_what_is_typed_is_answered_and_kept(folder: Path, tmp_path: Path) -> None:
    talk = tmp_path / "talk.json"
    first = talked(folder, "hello\n\na comedy from the 90s\n", "--transcript", str(talk))
    assert "What are you in the mood for?" in first
    assert "1. Tom & Jerry" in first or "1. 10 Things I Hate About You" in first
    assert "Comedy, from 1992" in first
    assert [turn.said for turn in load(talk).turns] == ["hello", "a comedy from the 90s"]
    second = talked(folder, "undo\n", "--transcript", str(talk))
    assert "I took that back." in second
    assert len(load(talk).turns) == 1


def test_who_is_known_is_not_asked(folder: Path) -> None:
    assert "You may like:" in talked(folder, "hm\n", "--user", "bob")


def test_what_cannot_be_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--user an: the data set has no such user; did you mean 'ann'\?"):
        talked(folder, "", "--user", "an")
    with pytest.raises(DataError, match="is not a dataset"):
        talked(tmp_path, "")
