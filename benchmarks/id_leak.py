"""What item numbers tell of the answer, without any model: the rule "the next number" under three numberings of one log.

FATHOM_DATA=<folder of data sets> python benchmarks/id_leak.py amazon-games ml-1m

`whole`: items numbered while whole histories are walked, test item included, as P5's released code does. `training`: the same walk over
training histories, Fathom's scheme 'sequential'. `shuffled`: Fathom's scheme 'random'. The limit beside them is chance, 10 / items.
"""

import argparse

import numpy as np

from fathom.data.sources import read
from fathom.data.splits import SPLITS
from fathom.p5.identifiers import walked
from fathom.p5.leak import next_number_hits
from fathom.pipeline.workshop import data_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    for name in parser.parse_args().names:
        log = read(data_folder(name)).interactions
        n_items, train = int(log.items.max()), SPLITS["leave-one-out"](log).train
        orders = {
            "whole": walked(log, n_items),
            "training": walked(train, n_items),
            "shuffled": np.random.default_rng(0).permutation(n_items) + 1,
        }
        told = ", ".join(f"{kind} {next_number_hits(order, log):.4f}" for kind, order in orders.items())
        print(f"{name}, {log.n_users:,} users, HR@10 of the next numbers: {told}; chance {10 / n_items:.4f}")


if __name__ == "__main__":
    main()
