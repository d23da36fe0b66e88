"""Item vectors from texts in SASRec, GRU4Rec, BERT4Rec: as they begin, stay, or are mapped; other items' texts are worse (E8)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import CATALOG, N_ITEMS, walks

from fathom.items.embed import item_vectors
from fathom.items.encoders import HashingEncoder
from fathom.metrics import ndcg, ranks_of
from fathom.models.model import AnyModel, TrainingData
from fathom.models.registry import MODELS
from fathom.recommenders.text_vectors import components, permutation
from fathom.training.run import Run

FIT = {"epochs": 4, "batch_size": 16, "learning_rate": 0.003, "average": 0.9, "precision": "float32"}
SMALL: dict[str, dict[str, Any]] = {
    "sasrec+": {"model": {"width": 32, "length": 16, "dropout": 0.1}, "fit": FIT},
    "gru4rec": {"width": 32, "negatives": 20, "fit": {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, "precision": "float32"}},
    "bert4rec": {"width": 32, "length": 16, "input_dropout": 0.0, "fit": FIT | {"epochs": 12, "learning_rate": 0.006}},
}
LOG, ASKED = walks(users=120)


def fitted(kind: str, folder: Path, **texts: object) -> AnyModel:
    settings = SMALL[kind] | ({"texts": {"encoder": "hashing", **texts}} if texts else {})
    return MODELS[kind].fit(TrainingData(LOG, (), CATALOG, Run(folder), kind), MODELS[kind].settings_type().model_validate(settings))


def quality(model: AnyModel) -> float:
    ranking = model.recommend(ASKED, 10)
    return float(ndcg(ranks_of(ranking, np.array([case.target for case in ASKED])), 10).mean())


@pytest.mark.parametrize("use", ["initial", "frozen", "projected"])
@pytest.mark.parametrize("kind", SMALL)
def test_texts_help_and_others_texts_do_not(kind: str, use: str, tmp_path: Path) -> None:
    true, permuted = (fitted(kind, tmp_path / str(turned), use=use, permuted=turned) for turned in (False, True))
    assert quality(true) > quality(permuted)
    true.save(tmp_path / "saved")
    assert torch.equal(MODELS[kind].load(tmp_path / "saved").score(ASKED[:20]), true.score(ASKED[:20]))


@pytest.mark.parametrize("kind", SMALL)
def test_frozen_vectors_stay_and_initial_ones_do_not(kind: str, tmp_path: Path) -> None:
    vectors = torch.from_numpy(item_vectors(CATALOG, HashingEncoder(), None))[1:]
    begun = components(vectors, 32)
    for use, same in (("frozen", True), ("initial", False)):
        table = fitted(kind, tmp_path / use, use=use).items()[1:, :32]  # type: ignore[attr-defined]
        scaled = table / table.std()
        assert torch.allclose(scaled, begun / begun.std(), atol=1e-4) == same


def test_components_keep_what_tells_texts_apart() -> None:
    vectors = torch.from_numpy(item_vectors(CATALOG, HashingEncoder(), None))[1:]
    found = components(vectors, 8)
    assert found.shape == (N_ITEMS, 8)
    assert torch.allclose(found.T @ found / N_ITEMS, torch.eye(8), atol=1e-4)
    few = components(torch.eye(3)[[0, 1, 2, 0]], 5)
    assert torch.allclose(few[0, :2], few[3, :2], atol=1e-6), "what is the same is the same, as far as there is anything"


def test_the_permutation_is_one_and_the_same_everywhere() -> None:
    order = permutation(60)
    assert sorted(order.tolist()) == list(range(61))
    assert order[0] == 0
    assert (order == permutation(60)).all()
    assert (order[1:] != np.arange(1, 61)).mean() > 0.9
