"""`fathom chat`: a conversation from a pipe, kept in a file and gone on with."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from worlds import Scripted, film_catalog

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


def test_who_puts_the_list_in_order_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = talked(folder, "a comedy\n")
    last = plain.partition("5. ")[2].partition(" Comedy")[0]
    monkeypatch.setattr("fathom.pipeline.chat.policy_named", lambda name: Scripted([f"1. {last}"]))
    assert f"1. {last}" in talked(folder, "a comedy\n", "--llm", "http://127.0.0.1:9/v1#m")


def test_what_cannot_be_is_told(folder: Path, tmp_path: Path) -> None:
    for name, said in (
        ("gpt", "write lm:FOLDER, or"),
        ("http://x/v1", r"which model\? Write http://x/v1#MODEL"),
        ("lm:none", "no such folder"),
    ):
        with pytest.raises(ConfigError, match=said):
            talked(folder, "", "--llm", name)
    with pytest.raises(ConfigError, match=r"--user an: the data set has no such user; did you mean 'ann'\?"):
        talked(folder, "", "--user", "an")
    with pytest.raises(DataError, match="is not a dataset"):
        talked(tmp_path, "")
