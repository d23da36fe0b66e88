"""A whole run by two processes on the CPU (gloo) ends with the numbers of the same run by one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from forked import start
from threadpoolctl import threadpool_info, threadpool_limits
from tiny import RECIPE
from typer.testing import CliRunner

from fathom.cli import app
from fathom.errors import ConfigError
from fathom.evaluation.results import read
from fathom.pipeline.launch import helped
from fathom.training.run import Run

PATIENCE = 120.0
"""Seconds until a test gives up."""


def command(folder: Path, *options: str) -> list[str]:
    """The command that runs the recipe in `folder`."""
    folder.mkdir()
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return [sys.executable, "-m", "fathom.cli", "run", str(recipe), "--out", str(folder / "run"), *options]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "FATHOM_CACHE": str(folder / "cache")}


def run(folder: Path, *options: str) -> str:
    """What was said while the recipe ran in `folder`."""
    done = subprocess.run(command(folder, *options), env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def running(folder: Path) -> list[int]:
    """The processes that work in `folder`."""
    found = subprocess.run(["pgrep", "-f", str(folder / "run")], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
def test_two_processes_end_with_the_numbers_of_one(tmp_path: Path) -> None:
    words = command(tmp_path / "one")[3:]
    alone = start(words, environment=environment(tmp_path / "one"), said=tmp_path / "said")
    said = run(tmp_path / "two", "--processes", "2")
    alone.join()
    assert alone.exitcode == 0, (tmp_path / "said").read_text()
    assert said.count("8/11 agent-stage1") == 1, "one process speaks"
    one, two = Run(tmp_path / "one" / "run"), Run(tmp_path / "two" / "run")
    for stage in ("sasrec", "retriever-fit", "retriever", "lm-fit", "lm", "agent-warm", "agent-stage1", "agent-stage2", "agent"):
        alone, together = one.metrics(stage), two.metrics(stage)
        assert len(alone) == len(together), stage
        for left, right in zip(alone, together, strict=True):
            assert left.keys() == right.keys()
            names = [name for name in left if not name.endswith("seconds")]
            assert [left[name] for name in names] == pytest.approx([right[name] for name in names], rel=2e-3, abs=1e-4), stage
    tables = [{row.model: row.metrics["ndcg@10"] for row in read(made.folder / "results.json").rows} for made in (one, two)]
    assert tables[0] == pytest.approx(tables[1], abs=1e-6)


@pytest.mark.slow
def test_who_helps_ends_with_a_killed_run_and_a_failed_helper_ends_the_run(tmp_path: Path) -> None:
    for victim in ("main", "helper"):
        folder = tmp_path / victim
        process = subprocess.Popen(
            command(folder, "--processes", "2"), env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_until(lambda folder=folder: (folder / "run" / "metrics.jsonl").exists() and len(running(folder)) == 2)
        (helper,) = set(running(folder)) - {process.pid}
        os.kill(process.pid if victim == "main" else helper, signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE)
        wait_until(lambda folder=folder: not running(folder))
        assert ("a further process of this run was killed by signal 9" in said) == (victim == "helper")
        assert "Traceback" not in said


def test_more_processes_than_cores_are_refused(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, command(tmp_path / "many", "--processes", "4096")[3:])
    assert isinstance(told.exception, ConfigError)
    assert "write " in str(told.exception)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def test_processes_without_an_accelerator_each_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 1)
    with pytest.raises(ConfigError, match="this machine has 1; write 1"), helped(2):
        pass


def test_every_library_computes_with_the_threads_of_the_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy counts its threads at import, long before the launcher: with more of them than the others have it rounds otherwise."""

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info()}

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    monkeypatch.setattr("fathom.pipeline.launch._start", lambda rank: subprocess.Popen([sys.executable, "-c", ""]))
    with threadpool_limits(3):
        with helped(2):
            assert threads() == {2}
        assert threads() == {3}


@pytest.mark.parametrize("alone", ["core", "accelerator", "launcher"])
def test_one_process_where_a_second_would_not_pay(monkeypatch: pytest.MonkeyPatch, alone: str) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 1 if alone == "core" else 8)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: alone == "accelerator")
    if alone == "launcher":
        monkeypatch.setenv("WORLD_SIZE", "4")
    before = dict(os.environ)
    with helped(0):
        assert dict(os.environ) == before, "nobody else was started"
