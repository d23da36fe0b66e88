"""A catalogue of a million items on two cores: how long a training step and a ranking take, and how much memory.

python benchmarks/million.py                       1M items, 60 steps, 1,000 users ranked
python benchmarks/million.py --items 100000 --steps 20
python benchmarks/million.py --rank 100000         rank all of so many users: minutes

`sasrec+` with drawn rivals (4,096 a batch). The step stands beside the same step over a thousandth of the items, which is what the network
alone costs: the difference is what the catalogue costs. Ranking stands beside the bare matrix product of the same numbers.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fathom.evaluation.cost import peak_megabytes
from fathom.items.search import search
from fathom.recommenders.sasrec import SASRec, SASRecSettings
from fathom.recommenders.sequence import BATCH
from fathom.records import Interactions
from fathom.training.run import Run, noise_from
from fathom.training.sampled import SampledTraining, fit_sampled
from fathom.training.sequential import SequenceFit

EVENTS, ROWS = 20, 64


def log_of(items: int, users: int, rng: np.random.Generator) -> Interactions:
    """Histories of twenty items, popular ones more often; nobody's taste is like another's, which costs no time."""
    ranks = np.floor(np.exp(rng.random(users * EVENTS) * np.log(items))).astype(np.int64)
    order = rng.permutation(items) + 1
    offsets = np.arange(0, users * EVENTS + 1, EVENTS, dtype=np.int64)
    return Interactions(tuple(map(str, range(users))), offsets, order[np.minimum(ranks, items - 1)])


def trained(items: int, steps: int, folder: Path) -> tuple[SASRec, float]:
    """A model after so many steps, and seconds a step."""
    settings = SampledTraining(
        model=SASRecSettings(length=50),
        fit=SequenceFit(epochs=1, batch_size=ROWS, checkpoint_seconds=1e9),
        loss="sampled_softmax",
        negatives=min(4096, items),
        drawn_for="batch",
    )
    with noise_from(0):
        model = SASRec(items, settings.model)
    log = log_of(items, steps * ROWS * settings.model.length // EVENTS, np.random.default_rng(0))
    run = Run(folder)
    fit_sampled(model, log, (), settings=settings, run=run, stage="million")
    seconds = [line["million/seconds"] for line in run.metrics("million")]
    few = min(5, len(seconds) - 1)  # the first ones warm up
    return model, (seconds[-1] - seconds[few]) / (len(seconds) - 1 - few)


def main() -> None:
    """Print seconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rank", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _, small = trained(max(given.items // 1000, 100), given.steps, Path(folder) / "small")
        model, large = trained(given.items, given.steps, Path(folder) / "large")
    positions = ROWS * 50
    print(f"{given.items:,} items x {model.width}, {positions:,} events a step, 4,096 rivals, {torch.get_num_threads()} threads")
    print(f"training step {large:.3f} s   over a thousandth of the items {small:.3f} s   ratio {large / small:.2f}")
    histories = [tuple(row) for row in np.random.default_rng(1).integers(1, given.items + 1, size=(given.rank, EVENTS)).tolist()]
    model.eval()
    with torch.inference_mode():
        states, table = model.users(histories[:BATCH]), model.items.weight.detach()
        start = time.perf_counter()
        for at in range(0, given.rank, BATCH):
            some = histories[at : at + BATCH]
            search(model.users(some), table, 100, exclude=some)
        ranking = time.perf_counter() - start
        product = torch.empty(len(states), len(table))
        start = time.perf_counter()
        for _ in range(3):
            torch.mm(states, table.T, out=product)
        bare = (time.perf_counter() - start) / 3 / len(states) * given.rank
    speed = f"{ranking:.1f} s, {given.rank / ranking:.0f} users a second"
    print(f"top 100 of {given.rank:,} users {speed}   products {bare:.1f} s   ratio {ranking / bare:.2f}")
    print(f"largest memory {peak_megabytes() / 1024:.2f} GB")


if __name__ == "__main__":
    main()
