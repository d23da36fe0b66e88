"""BM25, ALS, BPR and Prod2Vec against their formulas, and against what a reader would expect of them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CATALOG, N_ITEMS, walks

from fathom.models.bm25 import BM25, BM25Settings
from fathom.models.factors import ALS, BPR, ALSSettings, BPRSettings
from fathom.models.model import TrainingData
from fathom.models.prod2vec import Prod2Vec, Prod2VecSettings, _pairs
from fathom.models.text import Text, TextSettings
from fathom.records import Case, Catalog, Interactions, cases_of
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

LOG, CASES = walks()


def data(tmp_path: Path, log: Interactions = LOG, catalog: Catalog = CATALOG) -> TrainingData:
    return TrainingData(log, (), catalog, Run(tmp_path), "fit")


def test_bm25_is_the_formula_of_its_paper(tmp_path: Path) -> None:
    catalog = Catalog(("a", "b", "c"), ("red river", "red red valley night", "blue night"))
    settings = BM25Settings(saturation=1.5, normalisation=0.5, decay=0.5)
    [row] = BM25.fit(data(tmp_path, catalog=catalog), settings).score(cases_of([(3, 1)])).tolist()

    def worth(found: int, holders: int, words: int) -> float:
        rare = math.log(1 + (3 - holders + 0.5) / (holders + 0.5))
        return rare * found / (found + 1.5 * (0.5 + 0.5 * words / (8 / 3)))

    # The query is red river, and half as much blue night.
    expected = [
        worth(1, 2, 2) + worth(1, 1, 2),
        worth(2, 2, 4) + 0.5 * worth(1, 2, 4),
        0.5 * (worth(1, 1, 2) + worth(1, 2, 2)),
    ]
    assert row[1:] == pytest.approx(expected, rel=1e-5)


def test_bm25_reads_single_digits_and_letters(tmp_path: Path) -> None:
    catalog = Catalog(("a", "b", "c"), ("Halo 2", "Halo 3", "Portal 2"))
    [row] = BM25.fit(data(tmp_path, catalog=catalog), BM25Settings()).score(cases_of([(1,)])).tolist()
    assert row[3] > 0
    assert row[1] > row[2] >= row[3]


def test_als_places_everybody_by_the_least_squares_of_the_history(tmp_path: Path) -> None:
    settings = ALSSettings(factors=8, confidence=5.0, regularisation=0.1)
    model = ALS.fit(data(tmp_path), settings)
    items = model.tensors["items"].double().numpy()
    [row] = model.score(cases_of([(3, 7, 3)])).numpy()
    held = np.zeros(N_ITEMS + 1)
    held[[3, 7]] = 1
    trust = np.where(held > 0, 5.0, 1.0)
    person = np.linalg.solve(items.T @ (trust[:, None] * items) + 0.1 * np.eye(8), items.T @ (trust * held))
    assert row[1:] == pytest.approx((items @ person)[1:], abs=1e-5)


def test_bpr_places_a_stranger_where_the_objective_is_flat(tmp_path: Path) -> None:
    model = BPR.fit(data(tmp_path), BPRSettings(factors=8, epochs=30))
    items = model.tensors["items"].double()
    own, mean = items[[11, 12, 15]], items[1:].mean(dim=0)
    person = model._placed(own, mean)[:-1].requires_grad_()
    apart = own - mean
    held_back = 0.01 * 3 / 2 * (person**2).sum()
    (torch.nn.functional.logsigmoid(apart[:, :-1] @ person + apart[:, -1]).sum() - held_back).backward()
    assert person.grad is not None
    assert person.grad.abs().max() < 1e-6
    known, stranger = model.score([CASES[0]]), model.score(cases_of([CASES[0].history]))
    assert float(torch.corrcoef(torch.cat([known, stranger])[:, 1:])[0, 1]) > 0.5, "a stranger is placed where the log has its double"


def test_bpr_ranks_for_who_is_known_by_the_products_that_were_learned(tmp_path: Path) -> None:
    model = BPR.fit(data(tmp_path), BPRSettings(factors=8, epochs=5))
    [row] = model.score([CASES[0]])
    products = model.tensors["items"].double() @ model.tensors["people"].double()[CASES[0].user]
    assert torch.allclose(row[1:], products[1:].float(), atol=1e-6)


def test_pairs_are_near_each_other_in_one_history_and_attributes_join_them() -> None:
    log = Interactions(("u", "v"), np.array([0, 3, 5]), np.array([1, 2, 3, 4, 1]))
    near = {tuple(pair) for pair in _pairs(log, np.empty((0, 2), dtype=np.int64), window=1).tolist()}
    assert near == {(1, 2), (2, 1), (2, 3), (3, 2), (4, 1), (1, 4)}
    assert {(1, 3), (3, 1)} <= {tuple(pair) for pair in _pairs(log, np.empty((0, 2), dtype=np.int64), window=2).tolist()}
    described = np.array([[1, 10], [3, 11]])
    more = {tuple(pair) for pair in _pairs(log, described, window=1).tolist()} - near
    # Each with its own attribute, both ways; an item's attribute with what came next, and what came before with it.
    assert more == {(1, 10), (10, 1), (3, 11), (11, 3), (10, 2), (2, 11), (4, 10)}
    both = {tuple(pair) for pair in _pairs(log, np.array([[1, 10], [2, 12], [3, 11]]), window=1).tolist()}
    assert {(10, 12), (12, 11)} <= both, "and an item's attribute with that of the next one"


def test_neighbours_in_histories_are_neighbours_and_a_cold_item_is_found_by_its_attributes(tmp_path: Path) -> None:
    kept = LOG.items != 5
    counts = np.add.reduceat(kept, LOG.offsets[:-1])
    without = Interactions(LOG.users, np.concatenate([[0], np.cumsum(counts)]), LOG.items[kept])
    fit = FitSettings(epochs=20, batch_size=512, learning_rate=0.02, precision="float32")
    model = Prod2Vec.fit(data(tmp_path, without), Prod2VecSettings(width=16, attributes=0.5, fit=fit))
    likeness = model.tensors["vectors"] @ model.tensors["vectors"].T
    others = [item for item in range(1, 11) if item not in (2, 5)]
    assert float(likeness[2, others].mean()) > 0.3 + float(likeness[2, 11:].mean())
    assert int(likeness[5, 1:].argsort(descending=True)[1]) + 1 <= 10, "item 5, which nobody took, stands on its shelf"
    weak = Prod2Vec.fit(data(tmp_path / "weak", without), Prod2VecSettings(width=16, attributes=1e-6, fit=fit))
    assert not torch.allclose(weak.tensors["vectors"], model.tensors["vectors"], atol=1e-3), "attributes weigh as much as they are given"
    plain = Prod2Vec.fit(data(tmp_path / "plain", without), Prod2VecSettings(width=16, fit=fit))
    assert float(plain.tensors["vectors"][5].norm()) == 0.0
    assert plain.score([Case(-1, (2,), 0)])[0, 5] == 0.0


def test_a_person_and_an_item_that_the_log_does_not_know_are_strangers(tmp_path: Path) -> None:
    log = Interactions(("a", "b", "c"), np.array([0, 3, 3, 6]), np.array([1, 2, 3, 2, 3, 4]))
    model = BPR.fit(data(tmp_path, log), BPRSettings(factors=4, epochs=20))
    [absent, nobody] = model.score([Case(1, (1, 2), 0), Case(-1, (1, 2), 0)])
    assert torch.equal(absent, nobody)
    assert float(absent[10]) == float(absent[1:].min())


def test_text_ranks_items_that_nobody_has_taken_as_soon_as_they_are_there(tmp_path: Path) -> None:
    model = Text.fit(data(tmp_path), TextSettings(encoder="hashing", weighting="last"))
    new = Catalog(("n1", "n2"), ("Red thing 3", "Something quite different"), {"colour": (("red",), ("mauve",))})
    before = model.score(cases_of([(4,)]))
    assert list(model.add_items(new)) == [N_ITEMS + 1, N_ITEMS + 2]
    ranking = model.recommend(cases_of([(4,)]), 3)
    assert ranking.items[0, 0] == N_ITEMS + 1, "it is called as item 4 is"
    assert torch.equal(model.score(cases_of([(4,)]))[:, : N_ITEMS + 1], before)
    model.save(tmp_path / "text")
    assert Text.load(tmp_path / "text").recommend(cases_of([(4,)]), 3).items.tolist() == ranking.items.tolist()
