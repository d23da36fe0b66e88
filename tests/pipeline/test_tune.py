"""Settings are searched by validation cases alone, within a budget, and a search goes on where it was stopped."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from fathom.cli import app
from fathom.errors import ConfigError, MissingExtraError
from fathom.models.registry import MODELS
from fathom.models.searching import Range
from fathom.pipeline.methods import recipe_at
from fathom.pipeline.sequential import tune
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.tune import tune_file
from fathom.training.run import Run

RECIPE: dict[str, Any] = {
    "method": "sequential",
    "name": "tiny",
    "world": {"films": 60, "users": 40, "events": 12},
    "valid_users": 0,
    "models": {"popularity": None, "item-knn": {"neighbours": 1, "decay": 0.1}, "sasrec+": {"fit": {"epochs": 1, "batch_size": 8}}},
}


def recipe(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    return path


class Clock:
    """A quarter of a minute goes by whenever it is looked at."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 15
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "time", Clock())


def trials(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / name / "trials.json").read_text())["trials"]
    return found


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "time", Clock())
        words = ["tune", str(recipe(folder)), "--minutes", "2", "--out", str(folder / "out"), "--model", "item-knn"]
        told = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "tiny: 40 validation cases" in told.stdout
    return folder


def test_the_first_trial_is_the_recipe_and_the_best_one_becomes_a_recipe(tuned: Path) -> None:
    tried = trials(tuned / "out", "item-knn")
    assert len(tried) == 8  # of fifteen seconds each
    assert tried[0]["settings"] == {}
    best = max(tried, key=lambda trial: trial["value"])
    assert best["value"] > tried[0]["value"]  # one neighbour is too few
    made = recipe_at(tuned / "out" / "tuned.yaml")
    assert isinstance(made, SequentialRecipe)
    settings = made.models.settings_of("item-knn")
    assert settings is not None
    assert settings.model_dump() | best["settings"] == settings.model_dump()
    assert made.models.settings_of("sasrec+") == recipe_at(recipe(tuned)).models.settings_of("sasrec+")  # type: ignore[attr-defined]
    heading = (tuned / "out" / "tuned.yaml").read_text().splitlines()
    assert heading[0].startswith("# tiny.yaml, tuned by  fathom")
    assert "2 minutes a model by ndcg@10 on validation cases" in heading[1]


def test_a_search_that_was_stopped_tries_what_it_would_have_tried(tuned: Path, tmp_path: Path) -> None:
    for minutes in (0.5, 1.0, 2.0):
        tune_file(recipe(tmp_path), minutes=minutes, models=["item-knn"], out=tmp_path / "out", overrides=(), command="fathom tune")
    assert trials(tmp_path / "out", "item-knn") == trials(tuned / "out", "item-knn")
    with pytest.raises(ConfigError, match="these trials were made with another recipe"):
        tune_file(recipe(tmp_path), minutes=1, models=["item-knn"], out=tmp_path / "out", overrides=["seed=1"], command="fathom tune")


def test_what_is_tried_follows_from_the_recipe_s_own_settings_too_and_from_the_model(tmp_path: Path) -> None:
    made = recipe_at(
        recipe(tmp_path, models={"item-knn": {"neighbours": 40, "shrink": 2.0, "decay": 0.6}, "item-knn_b": {"neighbours": 5}})
    )
    assert isinstance(made, SequentialRecipe)
    work = tune.SequentialWorkshop(made, Run(tmp_path / "out"))
    searches = {name: tune.Search(work, name, users=0) for name in made.models.names}
    own = {"neighbours": 40, "shrink": 2.0, "decay": 0.6}
    assert searches["item-knn"]._own_params() == own
    nothing = {"settings": {}, "value": 0.1, "seconds": 1.0, "curve": {}}
    for search in searches.values():
        search.trials = [nothing, {"settings": own | {"decay": 0.9}, "value": 0.2, "seconds": 1.0, "curve": {}}]
    tried = {name: search._next() for name, search in searches.items()}
    assert tried["item-knn"] != tried["item-knn_b"], "another model, another draw"
    before = tried["item-knn"]
    searches["item-knn"].trials[0] = nothing | {"value": 0.9}
    assert searches["item-knn"]._next() != before, "how good the recipe's own are counts"
    searches["item-knn_b"].trials[0] = nothing | {"value": 0.9}
    assert searches["item-knn_b"]._next() == tried["item-knn_b"], "they lie outside of what is searched: five neighbours are too few"


def test_networks_are_tuned_too_and_what_has_nothing_to_search_is_tried_once(tmp_path: Path) -> None:
    tune_file(recipe(tmp_path), minutes=0.5, models=[], out=tmp_path / "out", overrides=(), command="fathom tune")
    assert len(trials(tmp_path / "out", "popularity")) == 1
    tried = trials(tmp_path / "out", "sasrec+")
    assert len(tried) == 2
    assert set(tried[1]["settings"]) == set(MODELS["sasrec+"].searched)
    assert not list((tmp_path / "out" / "checkpoints").glob("*"))


def test_what_is_not_installed_is_told_before_anything_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="optuna"):
        tune_file(recipe(tmp_path), minutes=1, models=[], out=tmp_path / "out", overrides=(), command="", processes=2)
    assert not (tmp_path / "out").exists()


def test_a_trial_that_falls_behind_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "EARLIER", 1)
    monkeypatch.setattr(tune, "median", lambda _: 1.0)
    fit = {"epochs": 3, "batch_size": 8, "validate_every": 1}
    models = {"sasrec+": {"fit": fit}}
    tune_file(recipe(tmp_path, models=models), minutes=1, models=[], out=tmp_path / "out", overrides=(), command="")
    first, *others = trials(tmp_path / "out", "sasrec+")
    assert (first["stopped"], list(first["curve"])) == (False, ["1", "2", "3"])
    assert len(others) > 1
    for trial in others:
        assert (trial["stopped"], list(trial["curve"])) == (True, ["1"])
        assert trial["value"] == trial["curve"]["1"]


def test_half_of_those_before_must_be_better_at_the_same_epoch(tmp_path: Path) -> None:
    before = [{"2": 0.1, "4": 0.5}, {"2": 0.2}, {"2": 0.3}]
    run = tune._Watched(tmp_path, before)
    run.log("a", 1, {"ndcg@10": 0.2, "epoch": 2})
    run.log("a", 2, {"ndcg@10": 0.0, "epoch": 4})
    run.log("a", 3, {"loss": 0.0, "epoch": 2})
    with pytest.raises(tune._Behind):
        run.log("a", 4, {"ndcg@10": 0.19, "epoch": 2})
    assert len(run.metrics("a")) == 4, "what stopped it is written down"


def test_models_are_searched_side_by_side_with_the_same_results(tmp_path: Path) -> None:
    fit = {"epochs": 2, "batch_size": 8, "validate_every": 1, "precision": "float32"}
    models = {"item-knn": {"neighbours": 9}, "popularity": None, "sasrec+": {"model": {"width": 16}, "fit": fit}}
    path = recipe(tmp_path, models=models)
    for processes in (1, 2):
        out = tmp_path / str(processes)
        tune_file(path, minutes=0, models=[], out=out, overrides=(), command="", processes=processes)
        for name in models:
            [trial] = trials(out, name)
            assert trial["value"] == pytest.approx(trials(tmp_path / "1", name)[0]["value"])
            assert list(trial["curve"]) == (["1", "2"] if name == "sasrec+" else [])
        assert (out / "tuned.yaml").is_file()


def test_trials_learn_from_as_many_people_as_asked_for_and_from_those_first_who_are_judged(tmp_path: Path) -> None:
    path = recipe(tmp_path, valid_users=10)
    for users, kept in ((0, 40), (15, 15), (4, 4), (90, 40)):
        tune_file(path, minutes=0, models=["popularity"], out=tmp_path / str(users), overrides=(), command="", users=users)
        made = recipe_at(tmp_path / str(users) / "recipe.yaml")
        assert isinstance(made, SequentialRecipe)
        work = tune.SequentialWorkshop(made, Run(tmp_path / str(users)))
        sizes = np.diff(tune.Search(work, "popularity", users=users)._log().offsets)
        asked = [case.user for case in work.valid_cases]
        assert int((sizes > 0).sum()) == kept
        assert int((sizes[asked] > 0).sum()) == min(kept, 10)
    with pytest.raises(ConfigError, match="these trials were made with another recipe"):
        tune_file(path, minutes=0, models=["popularity"], out=tmp_path / "15", overrides=(), command="", users=16)


@pytest.mark.parametrize("kind", MODELS)
def test_the_ends_of_what_is_searched_are_settings_of_the_model(kind: str) -> None:
    for end in (0, -1):
        values: dict[str, Any] = {}
        for name, what in MODELS[kind].searched.items():
            tune._put(values, {name: (what.low, what.high)[end] if isinstance(what, Range) else what[end]})
        assert MODELS[kind].settings_type().model_validate(values)
    with pytest.raises(ValidationError):
        MODELS[kind].settings_type().model_validate({"nothing": 1})


@pytest.mark.parametrize(
    ("given", "models", "said"),
    [
        ({"windows": {}, "models": {"popularity": None}}, [], "what is learned again and again is not tuned"),
        ({}, ["sasrek+"], r"--model sasrek\+: the recipe has no such model; did you mean 'sasrec\+'\?"),
    ],
)
def test_what_cannot_be_tuned_is_told(given: dict[str, object], models: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        tune_file(recipe(tmp_path, **given), minutes=1, models=models, out=tmp_path / "out", overrides=(), command="")
    assert not (tmp_path / "out").exists()
