"""What only the order of two events tells: networks learn it, neighbours among sessions cannot see it."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from planted import CATALOG

from fathom.metrics import ndcg, ranks_of
from fathom.models.model import TrainingData
from fathom.models.registry import MODELS
from fathom.records import Case, Interactions
from fathom.training.run import Run

MARGIN = 1.15
"""Above V-SkNN, which knows of every pair both items that may follow, and not which."""


@cache
def pairs(sessions: int = 1500, seed: int = 0) -> tuple[Interactions, tuple[Case, ...]]:
    """Sessions of one shelf: two of its first five items a, b, and then item 5 + (a - b) mod 5; the log without a fifth of the ends."""
    rng = np.random.default_rng(seed)
    shelves = rng.integers(0, 6, size=sessions)
    first = rng.integers(0, 5, size=sessions)
    second = (first + rng.integers(1, 5, size=sessions)) % 5
    items = 1 + 10 * shelves[:, None] + np.stack([first, second, 5 + (first - second) % 5], axis=1)
    asked = np.arange(sessions) % 5 == 0
    kept = np.where(asked[:, None] & (np.arange(3) == 2), 0, items)
    offsets = np.concatenate([[0], np.cumsum((kept > 0).sum(axis=1))]).astype(np.int64)
    log = Interactions(tuple(map(str, range(sessions))), offsets, kept[kept > 0].astype(np.int64))
    cases = tuple(Case(int(user), tuple(items[user, :2].tolist()), int(items[user, 2])) for user in np.flatnonzero(asked))
    return log, cases


def quality(kind: str, folder: Path, **given: object) -> float:
    log, cases = pairs()
    settings = MODELS[kind].settings_type().model_validate(given)
    model = MODELS[kind].fit(TrainingData(log, (), CATALOG, Run(folder), kind), settings)
    return float(ndcg(ranks_of(model.recommend(cases, 10), np.array([case.target for case in cases])), 10).mean())


@pytest.mark.parametrize("kind", ["xlnet-clm", "xlnet-mlm", "xlnet-rtd"])
def test_order_is_learned(kind: str, tmp_path: Path) -> None:
    fit = {"epochs": 40, "batch_size": 64, "learning_rate": 0.01, "average": 0.9, "precision": "float32"}
    given = {"width": 32, "length": 8, "dropout": 0.0, "input_dropout": 0.0, "next_item": {"smoothing": 0.0}, "fit": fit}
    given |= {"share": 0.34} if kind != "xlnet-clm" else {}
    neighbours = quality("vsknn", tmp_path / "vsknn")
    assert neighbours > 2 * quality("popularity", tmp_path / "popularity")
    found = quality(kind, tmp_path / kind, **given)
    assert found > MARGIN * neighbours
