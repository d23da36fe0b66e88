"""A whole run by two processes on the CPU (gloo) ends with the numbers of the same run by one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fathom.evaluation.results import read
from fathom.training.run import Run

FIT = {"epochs": 1, "batch_size": 4, "precision": "float32"}
STEP = {"steps": 1, "prompts": 2, "samples": 4, "micro_batch": 2, "learning_rate": 1e-5, "preflight": "warn"}
RECIPE = {
    "name": "tiny",
    "world": {"films": 60, "users": 24, "events": 8},
    "valid_users": 4,
    "test_users": 6,
    "encoder": "hashing",
    "hold_out": {"share": 0.3, "most": 3},
    "sasrec": {"model": {"width": 16, "length": 16}, "fit": FIT},
    "retriever": {"model": {"width": 16, "length": 16}, "fit": FIT},
    "retriever_refit": FIT,
    "language": {
        "builtin": {"parameters": 3e6, "vocabulary": 600, "context": 512},
        "windows": {"row": 128, "rows_at_once": 2},
        "pretrain": FIT,
        "refit": FIT,
    },
    "protocol": {
        "history_length": 5,
        "items_per_call": 12,
        "max_calls": 2,
        "segment_tokens": 80,
        "trajectory_tokens": 500,
        "prompt_tokens": 150,
    },
    "traces": {"most": 16, "missed": 1.0},
    "imitate": {"fit": FIT},
    "stage1": STEP,
    "stage2": STEP,
}


def run(folder: Path, launcher: list[str]) -> str:
    """What was said while the recipe ran in `folder`."""
    folder.mkdir()
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FATHOM_CACHE": str(folder / "cache")}
    command = [sys.executable, *launcher, "-m", "fathom.cli", "run", str(recipe), "--out", str(folder / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_end_with_the_numbers_of_one(tmp_path: Path) -> None:
    run(tmp_path / "one", [])
    said = run(tmp_path / "two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])
    assert said.count("8/10 agent-stage1") == 1, "one process speaks"
    one, two = Run(tmp_path / "one" / "run"), Run(tmp_path / "two" / "run")
    for stage in ("sasrec", "retriever-fit", "retriever", "lm-fit", "lm", "agent-warm", "agent-stage1", "agent-stage2"):
        alone, together = one.metrics(stage), two.metrics(stage)
        assert len(alone) == len(together), stage
        for left, right in zip(alone, together, strict=True):
            assert left.keys() == right.keys()
            names = [name for name in left if not name.endswith("seconds")]
            assert [left[name] for name in names] == pytest.approx([right[name] for name in names], rel=2e-3, abs=1e-4), stage
    tables = [{row.model: row.metrics["ndcg@10"] for row in read(made.folder / "results.json").rows} for made in (one, two)]
    assert tables[0] == pytest.approx(tables[1], abs=1e-6)
