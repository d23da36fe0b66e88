"""What every named model promises, on sequences whose law is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import CATALOG, N_ITEMS, walks

from fathom.errors import ConfigError, ModelError
from fathom.metrics import ndcg, ranks_of
from fathom.models.model import AnyModel, TrainingData
from fathom.models.registry import MODELS
from fathom.records import PAD, Case, cases_of
from fathom.training.run import Run

NETWORK: dict[str, Any] = {
    "model": {"width": 32, "length": 16, "dropout": 0.1},
    "fit": {"epochs": 30, "batch_size": 16, "learning_rate": 0.003, "average": 0.9},
}
ROWS: dict[str, Any] = {"width": 32, "length": 16, "input_dropout": 0.0, "fit": NETWORK["fit"] | {"epochs": 25, "learning_rate": 0.006}}
SMALL: dict[str, dict[str, Any]] = {
    "prod2vec": {"width": 16, "fit": {"epochs": 20, "batch_size": 512, "learning_rate": 0.02}},
    "gru4rec": {"width": 32, "negatives": 20, "fit": {"epochs": 30, "batch_size": 16, "learning_rate": 0.01, "precision": "float32"}},
    "attrec": {"width": 32, "fit": {"epochs": 40, "batch_size": 256, "learning_rate": 0.01}},
    "afm": {"width": 16, "fit": {"epochs": 20, "batch_size": 128, "learning_rate": 0.01}},
    "ssept": {"width": 16, "length": 16, "dropout": 0.1, "item_replaced": 0.05, "fit": NETWORK["fit"]},
    "narm": {"width": 32, "length": 16, "fit": NETWORK["fit"]},
    "bert4rec": ROWS | {"fit": ROWS["fit"] | {"epochs": 60}},  # it meets rows that go on behind the mask far more often than such as end
    **dict.fromkeys(("xlnet-clm", "xlnet-mlm", "xlnet-plm"), ROWS),
    "xlnet-rtd": ROWS | {"fit": ROWS["fit"] | {"epochs": 50}},  # two tasks share its weights
    "sasrec": NETWORK,
    "gsasrec": NETWORK | {"negatives": 8, "fit": NETWORK["fit"] | {"epochs": 60}},  # it begins slowly
    "sasrec-text": NETWORK | {"encoder": "hashing", "experts": 2},
    "sasrec+": NETWORK,
}
"""Model -> settings that fit a world of 60 items; the others take their defaults."""
TWICE = {name: 2.0 for name in MODELS if name != "popularity"}
"""Model -> how many times popularity's NDCG@10 it must have."""

LOG, ASKED = walks()
every_model = pytest.mark.parametrize("kind", MODELS)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AnyModel]:
    return {kind: fit(kind, tmp_path_factory.mktemp(kind)) for kind in MODELS}


def fit(kind: str, folder: Path, *, short: bool = False) -> AnyModel:
    model, given = MODELS[kind], SMALL.get(kind, {})
    if short and model.by_gradients:
        given = given | {"fit": given["fit"] | {"epochs": 2}}
    settings = model.settings_type().model_validate(given)
    return model.fit(TrainingData(LOG, (), CATALOG, Run(folder), kind), settings)


def quality(model: AnyModel) -> float:
    ranking = model.recommend(ASKED, 10)
    return float(ndcg(ranks_of(ranking, np.array([case.target for case in ASKED])), 10).mean())


@every_model
def test_it_finds_the_law_that_popularity_does_not_see(kind: str, fitted: dict[str, AnyModel]) -> None:
    assert quality(fitted[kind]) >= TWICE.get(kind, 1.0) * quality(fitted["popularity"])


@every_model
def test_saving_and_loading_changes_nothing(kind: str, fitted: dict[str, AnyModel], tmp_path: Path) -> None:
    fitted[kind].save(tmp_path / kind)
    mine, theirs = (model.recommend(ASKED[:40], 10) for model in (fitted[kind], MODELS[kind].load(tmp_path / kind)))
    assert np.array_equal(mine.items, theirs.items)
    assert np.array_equal(mine.scores, theirs.scores)
    other = next(name for name in MODELS if name != kind)
    with pytest.raises(ModelError, match=f"expected a saved model of kind '{other}', found "):
        MODELS[other].load(tmp_path / kind)


@every_model
def test_the_same_seed_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fit(kind, tmp_path / f"run {name}", short=True).save(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


@every_model
def test_batch_mates_change_nothing(kind: str, fitted: dict[str, AnyModel]) -> None:
    together = fitted[kind].score(ASKED[:9])
    alone = [fitted[kind].score([case])[0] for case in ASKED[:9]]
    assert all(np.allclose(row, one, rtol=1e-5, atol=1e-6) for row, one in zip(together[:, 1:], [one[1:] for one in alone], strict=True))
    assert together.shape == (9, N_ITEMS + 1)
    assert bool(together[:, PAD].isneginf().all())
    assert bool(together[:, 1:].isfinite().all())


@every_model
def test_seen_items_and_the_padding_never_come_back(kind: str, fitted: dict[str, AnyModel]) -> None:
    ranking = fitted[kind].recommend(ASKED[:20], N_ITEMS)
    for row, case in zip(ranking.items, ASKED, strict=False):
        assert sorted(row[: N_ITEMS - len(case.history)].tolist()) == sorted(set(range(1, N_ITEMS + 1)) - set(case.history))
        assert set(row[N_ITEMS - len(case.history) :].tolist()) <= {PAD}
    again = fitted[kind].recommend(ASKED[:3], N_ITEMS, exclude_history=False)
    assert all(sorted(row.tolist()) == list(range(1, N_ITEMS + 1)) for row in again.items)


@every_model
def test_somebody_new_is_known_by_the_history_alone(kind: str, fitted: dict[str, AnyModel]) -> None:
    [red, blue] = fitted[kind].score(cases_of([(1, 2, 3), (11, 12, 13)]))
    if kind != "popularity":
        assert float(red[4:11].mean()) > float(red[14:21].mean())
        assert float(blue[14:21].mean()) > float(blue[4:11].mean())
    ranking = fitted[kind].recommend(cases_of([()]), 5)
    assert (ranking.items > 0).all(), "nobody is left without a list"


@every_model
@pytest.mark.parametrize("item", [0, N_ITEMS + 1])
def test_an_item_that_nobody_knows_is_refused(kind: str, fitted: dict[str, AnyModel], item: int) -> None:
    if kind == "popularity":
        pytest.skip("it reads no history")
    with pytest.raises(ConfigError, match=f"a history names item {item}, but the model knows the items 1 to {N_ITEMS}"):
        fitted[kind].recommend([Case(-1, (3, item), PAD)], 5)


@pytest.mark.parametrize("kind", [name for name, model in MODELS.items() if model.goes_on])
def test_it_learns_a_further_log_and_stays_what_it_was(kind: str, tmp_path: Path) -> None:
    before = fit(kind, tmp_path / "before", short=True)
    told = before.score(ASKED[:5])
    data = TrainingData(walks(60, seed=5)[0], (), CATALOG, Run(tmp_path / "on"), kind)
    after = before.continued(data)
    assert not np.array_equal(after.score(ASKED[:5]).numpy(), told.numpy())
    assert np.array_equal(before.score(ASKED[:5]).numpy(), told.numpy())
    again = before.continued(TrainingData(data.interactions, (), CATALOG, Run(tmp_path / "again"), kind))
    assert np.array_equal(after.score(ASKED[:5]).numpy(), again.score(ASKED[:5]).numpy())


def test_who_cannot_learn_further_says_so(fitted: dict[str, AnyModel], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ease cannot learn a further log without the ones before it"):
        fitted["ease"].continued(TrainingData(LOG, (), CATALOG, Run(tmp_path), "ease"))
