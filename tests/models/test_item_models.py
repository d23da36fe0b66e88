"""Popularity, item-kNN and EASE against numbers worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fathom.errors import DataError
from fathom.models.ease import EASE, EASESettings
from fathom.models.item_knn import ItemKNN, ItemKNNSettings
from fathom.models.model import TrainingData, taste
from fathom.models.popularity import DAY, Popularity, PopularitySettings
from fathom.records import Catalog, Interactions, cases_of
from fathom.training.run import Run

CATALOG = Catalog(("a", "b", "c", "d"), ("A", "B", "C", "D"))


def data(tmp_path: Path, *histories: list[int], times: list[int] | None = None) -> TrainingData:
    log = Interactions(
        users=tuple(map(str, range(len(histories)))),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        items=np.array([item for history in histories for item in history], dtype=np.int64),
        times=None if times is None else np.array(times, dtype=np.int64),
    )
    return TrainingData(log, (), CATALOG, Run(tmp_path), "fit")


def test_what_was_taken_long_ago_counts_less(tmp_path: Path) -> None:
    given = data(tmp_path, [1, 2], [2, 3], times=[0, 10 * DAY, 20 * DAY, 30 * DAY])
    assert Popularity.fit(given, PopularitySettings()).score(cases_of([()]))[0, 1:].tolist() == [1, 2, 1, 0]
    faded = Popularity.fit(given, PopularitySettings(half_life=10.0)).score(cases_of([()]))[0, 1:]
    assert faded.tolist() == pytest.approx([1 / 8, 1 / 4 + 1 / 2, 1, 0])
    with pytest.raises(DataError, match="asks for the time of every interaction"):
        Popularity.fit(data(tmp_path, [1, 2]), PopularitySettings(half_life=1.0))


def test_similarities_are_shrunk_cosines_of_who_took_them(tmp_path: Path) -> None:
    # a: users 0, 1, 2; b: 0, 1; c: 1 (twice); d: 2. Common: ab 2, ac 1, ad 1, bc 1.
    given = data(tmp_path, [1, 2], [1, 2, 3, 3], [4, 1])
    model = ItemKNN.fit(given, ItemKNNSettings(shrink=1.0, decay=0.5))
    ab, ac, ad, bc = 2 / (math.sqrt(6) + 1), 1 / (math.sqrt(3) + 1), 1 / (math.sqrt(3) + 1), 1 / (math.sqrt(2) + 1)
    [row] = model.score(cases_of([(1, 2)])).tolist()
    assert row[1:] == pytest.approx([ab, 0.5 * ab, 0.5 * ac + bc, 0.5 * ad])
    nearest = ItemKNN.fit(given, ItemKNNSettings(shrink=1.0, neighbours=1))
    assert nearest.score(cases_of([(1,)]))[0, 1:].tolist() == pytest.approx([0, ab, 0, 0])


def test_ease_is_the_ridge_regression_of_each_item_on_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    histories = [sorted(rng.choice(4, size=rng.integers(1, 4), replace=False) + 1) for _ in range(30)]
    model = EASE.fit(data(tmp_path, *[list(map(int, history)) for history in histories]), EASESettings(regularisation=2.0))
    held = np.zeros((30, 4))
    for row, history in enumerate(histories):
        held[row, np.array(history) - 1] = 1
    for item in range(4):
        others = [other for other in range(4) if other != item]
        x = held[:, others]
        expected = np.linalg.solve(x.T @ x + 2.0 * np.eye(3), x.T @ held[:, item])
        assert model.tensors["weights"][others, item].numpy() == pytest.approx(expected, abs=1e-5)
        assert float(model.tensors["weights"][item, item]) == 0.0
    assert torch.allclose(model.score(cases_of([(1, 3)]))[0, 1:], model.tensors["weights"][[0, 2]].sum(0), atol=1e-6)


def test_a_history_weighs_its_latest_events_most_and_each_item_once() -> None:
    [row] = taste(cases_of([(1, 2, 1, 3)]), 4, decay=0.5).toarray().tolist()
    assert row == [0, 0.5, 0.25, 1.0, 0]
    assert taste(cases_of([(1, 2, 3)]), 4, latest=2).toarray().tolist() == [[0, 0, 1, 1, 0]]
