"""Two processes on the CPU (gloo) make the same first update as one: same episodes, same advantages over the whole batch, same gradient."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from fathom.training.run import Run

SCRIPT = Path(__file__).with_name("first_update.py")
PATIENCE = 300.0
"""Seconds until processes that do not end fail the test."""


def saved(folder: Path, *, processes: int) -> dict[str, torch.Tensor]:
    """The weights that `SCRIPT` ended with: of the model, and of matrices that Muon moved."""
    found = load_file(folder / "weights.safetensors")
    assert int(found["processes"]) == processes
    return found


@pytest.mark.slow
def test_two_processes_make_the_same_first_update_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    runpy.run_path(str(SCRIPT))["main"](tmp_path / "one")
    one, two = saved(tmp_path / "one", processes=1), saved(tmp_path / "two", processes=2)
    # Adam's first step is learning_rate in every direction, whatever the gradient's size: rounding moves only directions near zero.
    for model in ("weights", "reasoner", "matcher"):
        assert (two[model] - one[model]).abs().mean() < 1e-6, model
        assert_close(two[model], one[model], rtol=0, atol=2e-4)
    assert torch.equal(two["muon"], one["muon"]), "each process orthogonalises its share of the matrices, and the step is the same"
    assert two["added"].tolist() == [3.0] * 7 + [30.0] * 9
    assert one["added"].tolist() == [1.0] * 7 + [10.0] * 9
    for name in ("loss", "gradient_norm", "reward", "rank", "written_tokens"):
        single, shared = (
            [line[f"recpo/{name}"] for line in Run(tmp_path / folder / "run").metrics("recpo") if f"recpo/{name}" in line]
            for folder in ("one", "two")
        )
        assert len(single) == 1
        assert single == pytest.approx(shared, rel=1e-4), name
    single, shared = (list(Run(tmp_path / name / "run").metrics("match")) for name in ("one", "two"))
    assert len(single) == len(shared) == 4
    for alone, together in zip(single, shared, strict=True):
        for name in ("loss", "gradient_norm"):
            assert alone[f"match/{name}"] == pytest.approx(together[f"match/{name}"], rel=1e-4), name
    (alone,), (together,) = (Run(tmp_path / name / "run").metrics("rl") for name in ("one", "two"))
    for name in ("reward/total", "reward_spread", "heldout/characters", "written_tokens", "groups_that_differ"):
        assert alone[f"rl/{name}"] == pytest.approx(together[f"rl/{name}"], abs=1e-6), name
    for name in ("entropy", "gradient_norm", "kl"):
        assert alone[f"rl/{name}"] == pytest.approx(together[f"rl/{name}"], abs=1e-4), name
