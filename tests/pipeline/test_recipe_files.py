"""Every committed recipe can be read, says what it is, and its stages know what they depend on."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fathom.errors import ConfigError, MissingExtraError
from fathom.models.registry import MODELS
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.methods import METHODS, recipe_at
from fathom.pipeline.run import run_recipe
from fathom.pipeline.stages import Stage
from fathom.pipeline.sweep import SweepSettings
from fathom.pipeline.workshop import some_people
from fathom.recipes import dump, load
from fathom.records import Case

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_reads_and_survives_being_written(path: Path, tmp_path: Path) -> None:
    recipe = recipe_at(path)
    assert recipe.name == path.stem
    again = tmp_path / "again.yaml"
    again.write_text(dump(recipe), encoding="utf-8")
    assert recipe_at(again) == recipe


@pytest.mark.parametrize("path", sorted((RECIPES[0].parent / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sweep_varies_a_recipe_that_exists(path: Path) -> None:
    sweep = load(path, SweepSettings)
    assert len({recipe_at(path.parent / sweep.recipe, overrides=changes).model_dump_json() for changes in sweep.variants.values()}) == len(
        sweep.variants
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_its_command(path: Path) -> None:
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"fathom run recipes/{path.name}" in line for line in head)


@pytest.mark.parametrize(
    ("control", "differs"),
    [
        ("control-shuffled", {"stage1.shuffle_rewards", "stage2.shuffle_rewards"}),
        ("control-planted", {"world.planted", "protocol.history_ratings"}),
    ],
)
def test_a_control_is_the_demo_but_for_what_it_controls(control: str, differs: set[str]) -> None:
    demo, other = (flat(load(RECIPES[0].parent / f"{name}.yaml", DeepRecRecipe).model_dump(mode="json")) for name in ("demo", control))
    found = {key for key in demo.keys() | other.keys() if demo.get(key) != other.get(key)}
    assert found == differs | {"name"}, "write the controls anew:  python scripts/controls.py"


def flat(values: dict[str, object], above: str = "") -> dict[str, object]:
    """Nested settings with dotted names."""
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return found


def stages_of(method: str) -> Sequence[Stage[Any]]:
    """All stages that the method can have."""
    every = {"method": method, "name": "a", "world": {}} | (
        {"models": dict.fromkeys(MODELS)} if method in ("sequential", "ranking", "next", "enhanced", "p5") else {}
    )
    every |= {"language": {}, "asked": {"words": {}}} if method == "ranking" else {}
    every |= {"language": {}, "generated": {"words": {}}} if method == "next" else {}
    every |= {"language": {}, "readers": ["sasrec"]} if method == "enhanced" else {}
    every |= {"language": {}, "asked": {"words": {}}} if method == "rating" else {}
    every |= {"asked": ["direct-5"], "elsewhere": {"name": "other"}, "elsewhere_asked": ["other-domain-2"]} if method == "p5" else {}
    every |= {"world": None, "source": {"name": "dialogues"}, "language": {}} if method == "conversation" else {}
    return METHODS[method].stages(METHODS[method].recipe.model_validate(every))


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_a_recipe_belongs_to_a_stage(method: str) -> None:
    belongs = {name.partition(".")[0] for stage in stages_of(method) for name in stage.settings} | {"method", "name"}
    assert belongs == set(METHODS[method].recipe.model_fields)


@pytest.mark.parametrize("method", METHODS)
def test_stages_need_only_what_comes_before(method: str) -> None:
    done: set[str] = set()
    for stage in stages_of(method):
        assert set(stage.needs) <= done
        done.add(stage.name)


@pytest.mark.parametrize("written", ["2023-10-01", '"2023-10-01"'])
def test_a_day_may_be_written_with_quotes_and_without(tmp_path: Path, written: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: a\nsource: {{name: x, window: {{end: {written}}}}}\n", encoding="utf-8")
    recipe = recipe_at(path)
    assert recipe.source is not None
    assert recipe.source.window is not None
    assert recipe.source.window.end.isoformat() == "2023-10-01"


def test_people_are_taken_whole() -> None:
    cases = [Case(user, tuple(range(1, 2 + step)), 9) for user in range(6) for step in range(1 + user % 3)]
    some = some_people(cases, 5, seed=1)
    assert 0 < len(some) <= 5
    people = {case.user for case in some}
    assert some == tuple(case for case in cases if case.user in people)
    assert some_people(cases, 0, seed=1) == tuple(cases)
    assert some == some_people(cases, 5, seed=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\n", "either 'world' (the built-in one) or 'source'"),
        ("name: a\nworld: {}\nsource: {name: x}\n", "and not both"),
        ("name: a\nworld: {}\nsplit: leave-one-in\n", "did you mean 'leave-one-out'?"),
        ("name: a\nworld: {}\nprotocol: {answer_length: 5}\n", "protocol.answer_length is 5: write the same"),
        ("name: a\nworld: {}\ntraces: {sequels: 0.2}\n", "traces.sequels is 0.2, but protocol.reminded is 0"),
        ("name: a\nworld: {}\ntraces: {hindsight: 0.6, sequels: 0.4}\n", "hindsight is 0.6 and sequels 0.4: together less than 1"),
        ("name: a\nworld: {film: 3}\n", "line 2: unknown setting 'world.film'; did you mean 'films'?"),
    ],
)
def test_a_recipe_that_cannot_be_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(path, DeepRecRecipe)
    assert said in str(error.value)


def test_a_missing_package_is_told_before_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fathom.training.reinforce", "fathom.training.trainer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where it is not installed
    [smoke] = [path for path in RECIPES if path.stem == "smoke"]
    with pytest.raises(MissingExtraError, match=r"'datasets', which is not installed: run  pip install 'fathom-rec\[rl\]'"):
        run_recipe(smoke, out=tmp_path / "run", overrides=(), until="", command="test")
    assert not (tmp_path / "run").exists()
