"""Seconds to NDCG@10 0.17 on MovieLens-1M, users ranked a second and memory: Fathom beside plain torch, RecTools and RecBole, in one run.

python benchmarks/peers.py                               all four, each for at most an hour of training
python benchmarks/peers.py --users 2999 --seconds 600    half of MovieLens-1M, ten minutes each
python benchmarks/peers.py --only fathom rectools        some of them

RecTools and RecBole come from the package index into environments of their own, below --folder, the first time; `plain` is what one writes
with torch alone (benchmarks/peers/plain_sasrec.py). All train SASRec of width 64 with two layers and two heads over at most 200 events, by
the full softmax, on the same log: everybody's history without the last two events. All rank the whole catalogue, seen items excluded, for
everybody's last but one event. Seconds are of training alone, by two threads or processes as the peer comes. Who does not get there in its
time has a lower bound, and it is said to be one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import torch

from fathom.contracts import Recommender
from fathom.data.filters import k_core
from fathom.data.sources import read
from fathom.data.splits import leave_one_out
from fathom.evaluation.cost import peak_megabytes
from fathom.metrics import ndcg, ranks_of
from fathom.pipeline.workshop import data_folder
from fathom.records import Case, Interactions, Split
from fathom.training.run import Run
from fathom.training.sequential import SASRecTraining, train_sasrec

TORCH = f"torch=={torch.__version__.partition('+')[0]}"
"""The same for everybody."""
PEERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "plain": ((), ()),
    "rectools": (("rectools[torch]==0.19.0", TORCH), ()),
    "recbole": (
        (TORCH, "numpy<2", "scipy", "pandas<3", "tqdm", "colorlog==4.7.2", "colorama==0.4.4", "scikit-learn", "pyyaml")
        + ("tensorboard", "thop", "tabulate", "plotly", "texttable", "psutil"),
        ("recbole==1.2.1",),
    ),
}
"""Peer -> what is installed, and what without what it needs: RecBole pins a ray that Python 3.11 does not have. Nothing: Fathom's own."""


def environment(name: str, folder: Path) -> Path:
    """The interpreter of the peer's environment, made if it is not there."""
    if not any(PEERS[name]):
        return Path(sys.executable)
    python = folder / name / "bin" / "python"
    if not (folder / name / "ready").is_file():
        print(f"installing {name} into {folder / name}", flush=True)
        venv.create(folder / name, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        needed, alone = PEERS[name]
        subprocess.run([*pip, *needed], check=True)
        if alone:
            subprocess.run([*pip, "--no-deps", *alone], check=True)
        (folder / name / "ready").touch()
    return python


def log_of(users: int) -> tuple[Split, Interactions, int]:
    """MovieLens-1M's split, the first so many users of it."""
    dataset = k_core(read(data_folder("ml-1m")), 5, 5)
    split = leave_one_out(dataset.interactions)
    train = split.train
    if users and users < train.n_users:
        stop = int(train.offsets[users])
        train = Interactions(train.users[:users], train.offsets[: users + 1], train.items[:stop])
    return split, train, dataset.catalog.n_items


def fathom(split: Split, train: Interactions, n_items: int, *, goal: float, seconds: float, folder: Path) -> list[dict[str, float]]:
    """Fathom's own, as `recipes/sequential-ml1m.yaml` has it."""
    asked = tuple(case for case in split.valid if case.user < train.n_users)
    told: list[dict[str, float]] = []
    spent, begun, judging = 0.0, time.perf_counter(), 0.0

    class Done(Exception):
        """The goal is reached, or the time is over."""

    def judge(model: Recommender, cases: Sequence[Case]) -> dict[str, float]:
        nonlocal spent, judging
        start = time.perf_counter()
        ranking = model.recommend(cases, 10)
        took = time.perf_counter() - start
        found = float(ndcg(ranks_of(ranking, np.array([case.target for case in cases])), 10).mean())
        judging += time.perf_counter() - start
        spent = time.perf_counter() - begun - judging
        told.append({"seconds": spent, "ndcg": found, "users_per_second": len(asked) / took, "peak_gb": peak_megabytes() / 1024})
        print("  fathom", {name: round(value, 4) for name, value in told[-1].items()}, flush=True)
        if found >= goal or spent > seconds:
            raise Done
        return {"ndcg@10": found}

    settings = SASRecTraining.model_validate(
        {
            "model": {"dropout": 0.1},
            "fit": {"epochs": 10, "batch_size": 16, "learning_rate": 0.01, "optimizer": "muon", "average": 0.99, "validate_every": 1},
        }
    )
    with suppress(Done):
        train_sasrec(train, asked, n_items=n_items, settings=settings, run=Run(folder), judge=judge)
    return told


def peer(name: str, files: tuple[Path, Path], *, goal: float, seconds: float, folder: Path) -> list[dict[str, float]]:
    """What a peer says of itself after each epoch."""
    script = Path(__file__).parent / "peers" / f"{name}_sasrec.py"
    command = [str(environment(name, folder)), str(script), *map(str, files), "--goal", str(goal), "--seconds", str(seconds)]
    told, complaints = [], files[0].with_name(f"{name}.stderr")
    with complaints.open("w") as sink, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("{"):
                told.append(json.loads(line))
                print(f"  {name}", {key: round(value, 4) for key, value in told[-1].items()}, flush=True)
    if run.returncode or not told:
        sys.exit(f"{name} ended with {run.returncode}:\n{complaints.read_text()[-2000:]}")
    return told


def main() -> None:
    """Print one line for each, and how many times as long the peers need."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goal", type=float, default=0.17)
    parser.add_argument("--users", type=int, default=0, help="The first so many; 0: all.")
    parser.add_argument("--seconds", type=float, default=3600, help="Of training, for each.")
    parser.add_argument("--only", nargs="+", choices=["fathom", *PEERS], default=["fathom", *PEERS])
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "fathom-peers", help="Where the peers' environments are.")
    given = parser.parse_args()
    split, train, n_items = log_of(given.users)
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        owners = np.repeat(np.arange(train.n_users), np.diff(train.offsets))
        places = np.arange(train.n_events) - np.repeat(train.offsets[:-1], np.diff(train.offsets))
        pl.DataFrame({"user": owners, "item": train.items, "time": places}).write_csv(folder / "train.csv")
        asked = [(case.user, case.target) for case in split.valid if case.user < train.n_users]
        pl.DataFrame(asked, schema=["user", "target"], orient="row").write_csv(folder / "asked.csv")
        print(f"{train.n_users:,} users, {train.n_events:,} events, {len(asked):,} asked, NDCG@10 {given.goal:g} wanted", flush=True)
        for one in given.only:
            limits = {"goal": given.goal, "seconds": given.seconds}
            if one == "fathom":
                found[one] = fathom(split, train, n_items, **limits, folder=folder / "run")
            else:
                found[one] = peer(one, (folder / "train.csv", folder / "asked.csv"), **limits, folder=given.folder)
    fastest = {one: max(told["users_per_second"] for told in lines) for one, lines in found.items()}
    for one, lines in found.items():
        last = lines[-1]
        parts = [f"{one:9} NDCG@10 {last['ndcg']:.4f} after {last['seconds']:,.0f} s"]
        if "fathom" in found:
            parts.append(f"{last['seconds'] / found['fathom'][-1]['seconds']:.1f} times as long")
        if last["ndcg"] < given.goal:
            parts.append("not there yet: a lower bound")
        print(", ".join([*parts, f"{fastest[one]:,.0f} users ranked a second", f"{last['peak_gb']:.2f} GB"]))


if __name__ == "__main__":
    main()
