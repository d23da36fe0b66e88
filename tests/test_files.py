"""A file is written whole or not at all; what a killed process left of one is removed."""

from pathlib import Path

import pytest

from fathom.errors import DataError
from fathom.files import folder_written_aside, read_json, remove_unfinished, write_json, written_aside


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with written_aside(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert {other.name: other.read_text() for other in tmp_path.iterdir()} == {"a.txt": "old"}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for word in ("old", "new"):
        with folder_written_aside(tmp_path / "model") as aside:
            (aside / f"{word}.txt").write_text(word)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new.txt"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.part").write_text("a name that only looks alike")
    for leftover in (tmp_path / ".model.x1.part", tmp_path / "model" / ".deep.x2.part", tmp_path / ".model.x3.old"):
        leftover.mkdir()
        (leftover / "weights").write_text("half")
    (tmp_path / ".results.json.x4.part").write_text("{")
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "weights.part"]


def test_numbers_that_are_none_are_refused_and_broken_files_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text('{"x": 1,\n}')
    with pytest.raises(DataError, match=r"b\.json: not valid JSON .*line 2"):
        read_json(tmp_path / "b.json")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
