"""Exact top-k against the bare matrix product of the same numbers, in one run: the ratio is what choosing the best costs.

python benchmarks/top_k.py                         1M x 128 items, 256 queries, top 100, 200 ids excluded each
python benchmarks/top_k.py --items 100000 --k 10
"""

import argparse
import time
from collections.abc import Callable

import torch

from fathom.items.search import search


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` runs, after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--exclude", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(given.items + 1, given.width, generator=generator)
    queries = torch.randn(given.queries, given.width, generator=generator)
    exclude = torch.randint(1, given.items + 1, (given.queries, given.exclude), generator=generator).tolist()
    # The bare product writes into memory it already has, so that the ratio does not gain from its page faults.
    product = torch.empty(given.queries, given.items + 1)
    bare = best_seconds(lambda: torch.mm(queries, items.T, out=product), given.repeats)
    exact = best_seconds(lambda: search(queries, items, given.k, exclude=exclude), given.repeats)
    size = f"{given.items:,} x {given.width} items, {given.queries} queries, top {given.k}, {given.exclude} excluded each"
    print(f"{size}, {torch.get_num_threads()} threads")
    print(f"matrix product {bare:.3f} s   exact top-k {exact:.3f} s   ratio {exact / bare:.2f}")


if __name__ == "__main__":
    main()
