"""What every named model promises, on sequences whose law is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupting import Cut, cut_off
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
    "text": {"encoder": "hashing"},
    "gru4rec": {"width": 32, "negatives": 20, "fit": {"epochs": 30, "batch_size": 16, "learning_rate": 0.01, "precision": "float32"}},
    "attrec": {"width": 32, "fit": {"epochs": 40, "batch_size": 256, "learning_rate": 0.01}},
    "afm": {"width": 16, "fit": {"epochs": 20, "batch_size": 128, "learning_rate": 0.01}},
    "ssept": {"width": 16, "length": 16, "dropout": 0.1, "item_replaced": 0.05, "fit": NETWORK["fit"]},
    "narm": {"width": 32, "length": 16, "fit": NETWORK["fit"]},
    "bert4rec": ROWS | {"fit": ROWS["fit"] | {"epochs": 60}},  # it meets rows that go on behind the mask far more often than such as end
    **dict.fromkeys(("xlnet-clm", "xlnet-mlm", "xlnet-plm"), ROWS),
    "xlnet-rtd": ROWS | {"fit": ROWS["fit"] | {"epochs": 50}},  # two tasks share its weights
    "transformers4rec": ROWS
    | {"block": "electra", "objective": "rtd", "tied": False, "generator_width": 16, "fit": ROWS["fit"] | {"epochs": 60}},
    "sasrec": NETWORK,
    "gsasrec": NETWORK | {"negatives": 8, "fit": NETWORK["fit"] | {"epochs": 60}},  # it begins slowly
    "sasrec-text": NETWORK | {"encoder": "hashing", "experts": 2},
    "sasrec+": NETWORK,
}
"""Model -> settings that fit a world of 60 items; the others take their defaults."""
TWICE = {name: 2.0 for name in MODELS if name != "popularity"}
"""Model -> how many times popularity's NDCG@10 it must have."""

LOG, ASKED = walks()


@pytest.fixture(scope="module", params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of the module: so that all promises of one model are asked one after the other, of one fitted model."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def fitted(kind: str, tmp_path_factory: pytest.TempPathFactory) -> AnyModel:
    return fit(kind, Run(tmp_path_factory.mktemp("fitted")))


def fit(kind: str, run: Run, *, short: bool = False) -> AnyModel:
    model, given = MODELS[kind], SMALL.get(kind, {})
    if short and model.by_gradients:
        given = given | {"fit": given["fit"] | {"epochs": 2, "checkpoint_seconds": 0}}
    settings = model.settings_type().model_validate(given)
    return model.fit(TrainingData(LOG, (), CATALOG, run, kind), settings)


def quality(model: AnyModel) -> float:
    ranking = model.recommend(ASKED, 10)
    return float(ndcg(ranks_of(ranking, np.array([case.target for case in ASKED])), 10).mean())


def test_it_finds_the_law_that_the_floor_does_not_see(kind: str, fitted: AnyModel, tmp_path: Path) -> None:
    assert quality(fitted) >= TWICE.get(kind, 1.0) * quality(fit("popularity", Run(tmp_path / "floor")))


def test_saving_and_loading_changes_nothing(kind: str, fitted: AnyModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / kind)
    assert {path.suffix for path in (tmp_path / kind).iterdir()} <= {".json", ".safetensors", ".npz"}, "nothing that is run when it is read"
    mine, theirs = (model.recommend(ASKED[:40], 10) for model in (fitted, MODELS[kind].load(tmp_path / kind)))
    assert np.array_equal(mine.items, theirs.items)
    assert np.array_equal(mine.scores, theirs.scores)
    other = next(name for name in MODELS if name != kind)
    with pytest.raises(ModelError, match=f"expected a saved model of kind '{other}', found "):
        MODELS[other].load(tmp_path / kind)


def test_the_same_seed_gives_the_same_bytes_also_where_it_was_killed(kind: str, tmp_path: Path) -> None:
    fit(kind, Run(tmp_path / "whole"), short=True).save(tmp_path / "one")
    if MODELS[kind].by_gradients:
        with pytest.raises(Cut):
            fit(kind, cut_off(tmp_path / "killed", at=4), short=True)
    fit(kind, Run(tmp_path / "killed"), short=True).save(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_batch_mates_change_nothing_however_long_they_are(fitted: AnyModel) -> None:
    asked = [replace(case, history=case.history[: 1 + place]) for place, case in enumerate(ASKED[:8])]
    together = fitted.score(asked)
    alone = [fitted.score([case])[0] for case in asked]
    assert all(np.allclose(row, one, rtol=1e-5, atol=1e-6) for row, one in zip(together[:, 1:], [one[1:] for one in alone], strict=True))
    assert together.shape == (8, N_ITEMS + 1)
    assert bool(together[:, PAD].isneginf().all())
    assert bool(together[:, 1:].isfinite().all())


def test_seen_items_and_the_padding_never_come_back(fitted: AnyModel) -> None:
    ranking = fitted.recommend(ASKED[:20], N_ITEMS)
    for row, case in zip(ranking.items, ASKED, strict=False):
        assert sorted(row[: N_ITEMS - len(case.history)].tolist()) == sorted(set(range(1, N_ITEMS + 1)) - set(case.history))
        assert set(row[N_ITEMS - len(case.history) :].tolist()) <= {PAD}
    again = fitted.recommend(ASKED[:3], N_ITEMS, exclude_history=False)
    assert all(sorted(row.tolist()) == list(range(1, N_ITEMS + 1)) for row in again.items)


def test_somebody_new_is_known_by_the_history_alone(kind: str, fitted: AnyModel) -> None:
    [red, blue] = fitted.score(cases_of([(1, 2, 3), (11, 12, 13)]))
    if kind != "popularity":
        assert float(red[4:11].mean()) > float(red[14:21].mean())
        assert float(blue[14:21].mean()) > float(blue[4:11].mean())
    ranking = fitted.recommend(cases_of([()]), 5)
    assert (ranking.items > 0).all(), "nobody is left without a list"


@pytest.mark.parametrize("item", [0, N_ITEMS + 1])
def test_an_item_that_nobody_knows_is_refused(kind: str, fitted: AnyModel, item: int) -> None:
    if kind == "popularity":
        pytest.skip("it reads no history")
    with pytest.raises(ConfigError, match=f"a history names item {item}, but the model knows the items 1 to {N_ITEMS}"):
        fitted.recommend([Case(-1, (3, item), PAD)], 5)


def test_it_learns_a_further_log_and_stays_what_it_was_or_says_that_it_cannot(kind: str, tmp_path: Path) -> None:
    before = fit(kind, Run(tmp_path / "before"), short=True)
    data = TrainingData(walks(60, seed=5)[0], (), CATALOG, Run(tmp_path / "on"), kind)
    if not before.goes_on:
        with pytest.raises(ConfigError, match=f"{kind} cannot learn a further log without the ones before it"):
            before.continued(data)
        return
    told = before.score(ASKED[:5])
    after = before.continued(data)
    assert not np.array_equal(after.score(ASKED[:5]).numpy(), told.numpy())
    assert np.array_equal(before.score(ASKED[:5]).numpy(), told.numpy())
