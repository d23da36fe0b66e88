"""kill -9 in the middle of a stage, then the same command again: the same numbers and the same weights as without it."""

import json
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import start
from safetensors.torch import load_file

from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Results, read

RECIPE = """\
name: tiny
world: {films: 50, users: 24, events: 9}
valid_users: 4
test_users: 8
encoder: hashing
hold_out: {share: 0.4, most: 4}
sasrec:
  model: {width: 16, length: 16}
  fit: {epochs: 1, batch_size: 8}
retriever:
  model: {width: 16, length: 16}
  fit: {epochs: 1, batch_size: 8}
  texts_per_item: 2
retriever_refit: {epochs: 1, batch_size: 8}
language:
  builtin: {parameters: 2.0e+6, vocabulary: 900, context: 256}
  windows: {row: 64}
  pretrain: {epochs: 2, batch_size: 8, learning_rate: 2.0e-3, average: 0.9, checkpoint_seconds: 0}
  refit: {epochs: 1, batch_size: 8}
protocol:
  {answer_length: 3, history_length: 4, items_per_call: 5, max_calls: 3, segment_tokens: 40, trajectory_tokens: 220, prompt_tokens: 60}
traces: {missed: 1.0, hindsight: 0.3, calls: [0, 0, 1]}
imitate:
  histories: 0.0
  fit: {epochs: 5, batch_size: 2, learning_rate: 4.0e-3, validate_every: 5, optimizer: muon}
rewards: {answer_length: 3, gate: none}
stage1: {steps: 3, prompts: 2, samples: 6, micro_batch: 12, learning_rate: 1.0e-4, preflight: warn}
stage2: {steps: 1, prompts: 2, samples: 6, micro_batch: 12, learning_rate: 1.0e-4, preflight: warn}
"""
"""A small recipe whose reinforcement learning still moves the weights: episodes fail, so rewards have no gate, and traces ask much."""

PATIENCE = 300.0
"""Seconds after which a run that did not reach the moment of its death fails the test."""


def started(recipe: Path, folder: Path) -> ForkServerProcess:
    """The command, running."""
    words = ["run", str(recipe), "--out", str(folder)]
    return start(words, environment={"FATHOM_CACHE": str(recipe.parent / "cache")}, said=recipe.with_suffix(".said"))


def finish(recipe: Path, folder: Path) -> None:
    process = started(recipe, folder)
    process.join(2 * PATIENCE)
    assert process.exitcode == 0, recipe.with_suffix(".said").read_text()


def kill_in(stage: str, recipe: Path, folder: Path, *, when: Callable[[], bool]) -> None:
    """Run until `when` holds and end the process by the signal that no process can answer; it must have been inside `stage`."""
    process = started(recipe, folder)
    try:
        deadline = time.monotonic() + PATIENCE
        while not when():
            assert process.is_alive(), "the run was over before it could be killed"
            assert time.monotonic() < deadline, f"stage '{stage}' was not reached"
            time.sleep(0.005)
    finally:
        process.kill()
        process.join()
    assert not json.loads((folder / "stages.json").read_text())[stage]["done"], f"stage '{stage}' was over already"


def logged(folder: Path) -> list[dict[str, object]]:
    """The log without what a clock says."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []
    return [{name: value for name, value in line.items() if not name.endswith("seconds")} for line in lines]


def steps_of(stage: str, folder: Path) -> int:
    return sum(line["stage"] == stage for line in logged(folder))


def numbers(results: Results) -> object:
    """The rows without what a clock or the system says, and the comparisons."""
    rows = [row.model_dump(exclude={"seconds", "peak_mb"}) for row in results.rows]
    for row in rows:
        row["metrics"] = {name: value for name, value in row["metrics"].items() if "seconds" not in name}
    return rows, [told.model_dump() for told in results.comparisons]


def weights(folder: Path, stage: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / stage).glob("*.safetensors"))}


def last_written(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    """What a training had come to: its weights, the best ones, the moments of its optimiser."""
    return load_file(folder / "checkpoints" / f"{stage}.safetensors")


@pytest.mark.slow
def test_a_run_killed_three_times_ends_as_one_that_never_was(tmp_path: Path) -> None:
    recipe, whole, killed = tmp_path / "tiny.yaml", tmp_path / "whole", tmp_path / "killed"
    recipe.write_text(RECIPE)
    finish(recipe, whole)
    kill_in("lm-fit", recipe, killed, when=lambda: steps_of("lm-fit", killed) >= 4)
    kill_in("agent-stage1", recipe, killed, when=lambda: steps_of("agent-stage1", killed) >= 2)
    judged = killed / "ranks" / "retriever.parquet"
    kill_in("results", recipe, killed, when=judged.exists)
    first = judged.stat().st_mtime_ns
    few = killed / "ranks" / "popularity.parquet"
    Evaluation.load(few).subset(np.arange(2)).save(few)  # as if two users had been asked since: to be judged again
    finish(recipe, killed)
    assert judged.stat().st_mtime_ns == first, "a row that was judged is not judged again"
    assert logged(killed) == logged(whole)
    assert numbers(read(killed / "results.json")) == numbers(read(whole / "results.json"))
    assert weights(killed, "agent") == weights(whole, "agent")
    for stage in ("lm-fit", "agent-stage1", "agent-stage2"):
        one, other = last_written(killed, stage), last_written(whole, stage)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items()), stage
    start, reached = load_file(whole / "agent-warm" / "model.safetensors"), last_written(whole, "agent-stage1")
    moved = [name for name, tensor in start.items() if not torch.equal(tensor, reached[f"weights/{name}"])]
    assert moved, "the weights moved, or nothing was compared"
    assert not list(killed.rglob("*.part")), "nothing half written is left behind"
