"""A tracker shows what metrics.jsonl holds, also after an interrupted attempt, and needs no network."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from fathom.errors import MissingExtraError
from fathom.files import Json
from fathom.training.run import Run
from fathom.training.trackers import PROJECT, TrackerName, Trackio, tracker_for


class Board:
    """Remembers what it shows."""

    hint = "look here"

    def __init__(self) -> None:
        self.shown: list[Mapping[str, Json]] = []

    def restart(self, lines: Iterable[Mapping[str, Json]]) -> None:
        self.shown = list(lines)

    def add(self, line: Mapping[str, Json]) -> None:
        self.shown.append(line)

    def close(self) -> None:
        """Nothing to close."""


def interrupted(folder: Path, tracker_of_second: Board | None = None) -> Run:
    """Three steps, of which the checkpoint knows two, then an attempt that goes on from there."""
    run = Run(folder)
    for step in (1, 2, 3):
        run.log("lm", step, {"loss": 10.0 - step, "norm": float("nan")})
    run.checkpoint("lm").save(2, {}, None)
    again = Run(folder, tracker=tracker_of_second)
    again.checkpoint("lm").load()
    again.log("lm", 3, {"loss": 7.5})
    return again


def test_a_tracker_shows_the_log_and_nothing_of_an_abandoned_attempt(tmp_path: Path) -> None:
    board = Board()
    run = interrupted(tmp_path, board)
    assert board.shown == run.log_lines()
    assert [line["lm/loss"] for line in board.shown] == [9.0, 8.0, 7.5]


def test_a_stage_that_begins_anew_leaves_the_screen(tmp_path: Path) -> None:
    board = Board()
    run = interrupted(tmp_path, board)
    run.log("other", 1, {"loss": 1.0})
    run.forget_after("lm", -1)
    assert [line["stage"] for line in board.shown] == ["other"]


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_a_package_that_is_not_there_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: TrackerName
) -> None:
    for module in ("tensorboard", "torch.utils.tensorboard", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{name}', which is not installed: run  pip install 'fathom-rec\[trackers\]'"):
        tracker_for(name, tmp_path)


def test_tensorboard_reads_the_curves_from_the_run_folder(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    interrupted(tmp_path)
    for _ in range(2):  # the second time it is all written anew, not once more
        tracker = tracker_for("tensorboard", tmp_path)
        Run(tmp_path, tracker=tracker).log("other", 1, {"loss": 1.0})
        tracker.close()
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(point.step, point.value) for point in found.Scalars("lm/loss")] == [(1, 9.0), (2, 8.0), (3, 7.5)]
    assert found.Tags()["scalars"] == ["lm/loss", "other/loss"]


def test_trackio_keeps_the_curves_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    interrupted(tmp_path / "run")
    for _ in range(2):
        tracker = Trackio(tmp_path / "run")
        Run(tmp_path / "run", tracker=tracker)
        tracker.close()
    found = sqlite_storage.SQLiteStorage.get_logs(PROJECT, tracker.name)
    assert [(line["step"], line["lm/loss"]) for line in found] == [(1, 9.0), (2, 8.0), (3, 7.5)]
