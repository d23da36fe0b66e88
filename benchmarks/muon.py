"""Muon's step in the type that the hardware computes in, against torch's, which is always in bfloat16: the same matrices, in one run.

python benchmarks/muon.py                          the matrices of a built-in model of 3M parameters
python benchmarks/muon.py --parameters 10e6
"""

import argparse
import time

import torch
from torch import Tensor

from fathom.language.builtin import shape_of, tiny
from fathom.language.tokenizer import train_tokenizer
from fathom.training.muon import Muon
from fathom.training.optimizers import optimizers_of
from fathom.training.supervised import computes_in_bfloat16


def best_seconds(optimizer: torch.optim.Optimizer, repeats: int) -> float:
    """Seconds of the fastest of `repeats` steps, after one that warms up."""
    optimizer.step()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, default=3e6)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    width, layers = shape_of(given.parameters, 8192)
    model = tiny(train_tokenizer(["one line\n"] * 9, 300, markers=[]), width=width, layers=layers, context=64, seed=0)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    products = torch.bfloat16 if computes_in_bfloat16("auto", torch.device("cpu")) else torch.float32
    ours = next(
        optimizer
        for optimizer in optimizers_of(model, "muon", learning_rate=1e-3, weight_decay=0.1, products=products)
        if isinstance(optimizer, Muon)
    )
    matrices: list[Tensor] = ours.param_groups[0]["params"]
    theirs = torch.optim.Muon(matrices, lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    mine, peer = best_seconds(ours, given.repeats), best_seconds(theirs, given.repeats)
    print(f"{len(matrices)} matrices of {layers} layers of width {width}; {torch.get_num_threads()} threads")
    print(f"a step: ours in {products} {1000 * mine:.0f} ms   torch's in bfloat16 {1000 * peer:.0f} ms   ratio {peer / mine:.1f}")


if __name__ == "__main__":
    main()
