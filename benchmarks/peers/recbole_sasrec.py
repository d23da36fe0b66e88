"""RecBole's SASRec, as its users call it, in an environment of its own; says one JSON line after each epoch and at the end of its time.

Called by benchmarks/peers.py, which explains what is compared; --help says how by hand. RecBole 1.2.1 does not start as it is installed
on Python 3.11: its quick start asks for a version of ray that does not exist there, and its settings for names that NumPy has dropped.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import spoken

for name, kind in {"bool": bool, "int": int, "float": float, "object": object, "long": int, "float_": np.float64}.items():
    if name not in np.__dict__:
        setattr(np, name, kind)  # 1. names that NumPy has dropped

import torch  # noqa: E402
from recbole.config import Config  # noqa: E402 (not by recbole.quick_start, which imports ray)
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402


def main() -> None:
    """Train epoch by epoch until the goal is reached or the time is over."""
    given = spoken.asked(__doc__)
    events, asked = pd.read_csv(given.train), pd.read_csv(given.asked)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes logs wherever it is
        (Path(folder) / "log").mkdir()
        named = events.rename(columns={"user": "user_id:token", "item": "item_id:token", "time": "timestamp:float"})
        named.to_csv(Path(folder) / "log" / "log.inter", sep="\t", index=False)
        config = Config(
            model="SASRec",
            dataset="log",
            config_dict={
                "data_path": folder,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "MAX_ITEM_LIST_LENGTH": 200,
                "hidden_size": 64,
                "inner_size": 256,
                "n_layers": 2,
                "n_heads": 2,
                "loss_type": "CE",
                "train_neg_sample_args": None,
                "train_batch_size": 2048,
                "learning_rate": 1e-3,
                "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": "user", "mode": "full"},
                "show_progress": False,
                "use_gpu": False,
            },
        )
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        model = SASRec(config, train.dataset).to(config["device"])
        trainer = Trainer(config, model)
        sequences = {user: rows["item"].tolist() for user, rows in events.sort_values("time", kind="stable").groupby("user")}
        ids = {item: dataset.token2id("item_id", str(item)) for item in events["item"].unique()}
        spent, epoch = 0.0, 0
        while spent < given.seconds:
            start = time.perf_counter()
            trainer._train_epoch(until(train, start + given.seconds - spent), epoch)
            spent, epoch = spent + time.perf_counter() - start, epoch + 1
            start = time.perf_counter()
            ndcg = judged(model, sequences, ids, asked)
            ranking = time.perf_counter() - start
            spoken.told(spent, ndcg, people=len(asked), ranking=ranking)
            if ndcg >= given.goal:
                return


def until(batches: Iterable[Interaction], end: float) -> Iterator[Interaction]:
    """The batches that begin before that time: one epoch may take longer than all that is given."""
    for batch in batches:
        if time.perf_counter() >= end:
            return
        yield batch


@torch.no_grad()
def judged(model: SASRec, sequences: dict[object, list[object]], ids: dict[object, int], asked: pd.DataFrame) -> float:
    """NDCG@10 over the whole catalogue, what was taken left out."""
    model.eval()
    gained = 0.0
    for start in range(0, len(asked), 256):
        some = asked.iloc[start : start + 256]
        histories = [[ids[item] for item in sequences[user]] for user in some["user"]]
        rows = torch.zeros(len(some), 200, dtype=torch.long)
        for row, history in zip(rows, histories, strict=True):
            latest = history[-200:]
            row[: len(latest)] = torch.tensor(latest)
        lengths = torch.tensor([min(len(history), 200) for history in histories])
        scores = model.full_sort_predict(Interaction({model.ITEM_SEQ: rows, model.ITEM_SEQ_LEN: lengths}))
        scores[:, 0] = -torch.inf
        for row, history in zip(scores, histories, strict=True):
            row[history] = -torch.inf
        best = scores.topk(10, dim=1).indices
        wanted = torch.tensor([ids.get(target, 0) for target in some["target"]])  # nobody finds what was never learned
        hits = (best == wanted[:, None]).nonzero()
        gained += float((1 / torch.log2(hits[:, 1] + 2.0)).sum())
    return gained / len(asked)


if __name__ == "__main__":
    main()
