"""RecTools' SASRec, as its users call it: runs in an environment of its own, says one JSON line after each epoch.

Called by benchmarks/peers.py, which explains what is compared; --help says how by hand.
"""

import time
import warnings

import numpy as np
import pandas as pd
import spoken
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.sasrec import SASRecModel

warnings.filterwarnings("ignore")


def main() -> None:
    """Train epoch by epoch until the goal is reached or the time is over."""
    given = spoken.asked(__doc__)
    events, asked = pd.read_csv(given.train), pd.read_csv(given.asked)
    events = events.rename(columns={"user": Columns.User, "item": Columns.Item, "time": Columns.Datetime})
    events[Columns.Weight] = 1
    events[Columns.Datetime] = pd.to_datetime(events[Columns.Datetime], unit="s")
    dataset = Dataset.construct(events)
    model = SASRecModel(
        n_factors=64,
        n_blocks=2,
        n_heads=2,
        session_max_len=200,
        dropout_rate=0.1,
        loss="softmax",
        lr=1e-3,
        batch_size=128,
        item_net_block_types=(IdEmbeddingsItemNet,),
    )
    targets = dict(zip(asked["user"], asked["target"], strict=True))
    spent = 0.0
    while spent < given.seconds:
        start = time.perf_counter()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        spent += time.perf_counter() - start
        start = time.perf_counter()
        found = model.recommend(users=asked["user"].to_numpy(), dataset=dataset, k=10, filter_viewed=True)
        ranking = time.perf_counter() - start
        hits = found[found[Columns.Item] == found[Columns.User].map(targets)]
        ndcg = float((1 / np.log2(hits[Columns.Rank] + 1)).sum()) / len(asked)
        spoken.told(spent, ndcg, people=len(asked), ranking=ranking)
        if ndcg >= given.goal:
            return


if __name__ == "__main__":
    main()
