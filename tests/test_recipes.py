"""A recipe's mistakes are told with file, line and the nearest key; what is right survives a round trip."""

from pathlib import Path

import pytest
from pydantic import Field

from fathom.errors import ConfigError
from fathom.recipes import dump, load, load_one_of
from fathom.settings import Settings


class Inner(Settings):
    samples: int = Field(default=4, ge=2)
    """How many."""
    rounds: int = 1
    """How often."""


class Outer(Settings):
    name: str
    """What it is called."""
    training: Inner = Inner()
    """How it is trained."""
    other: Inner | None = None
    """Another one, if any."""


class Longer(Outer):
    kind: str = "outer"
    """Which of them it is."""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ntraining:\n  sample: 4\n", "recipe.yaml line 3: unknown setting 'training.sample'; did you mean 'samples'?"),
        ("name: a\nother:\n  sample: 4\n", "recipe.yaml line 3: unknown setting 'other.sample'; did you mean 'samples'?"),
        ("name: a\ntraining:\n  samples: 1\n", "line 3: training.samples: Input should be greater than or equal to 2 (given: 1)"),
        ("training:\n  samples: 4\n", "the setting 'name' is missing"),
        ("name: a\nname: b\n", "line 2: 'name' is set a second time, first on line 1"),
        ("- a\n", "a recipe is a mapping"),
        ("name: [\n", "not valid YAML"),
        ("", "a recipe is a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text), Outer)
    assert said in str(error.value)


class Preset(Settings):
    training: Inner = Inner(samples=9, rounds=3)
    """How it is trained."""


class Deeper(Settings):
    preset: Preset = Preset(training=Inner(rounds=5))
    """A preset of its own."""


def test_what_is_written_is_laid_over_the_default_of_its_field() -> None:
    assert Preset.model_validate({"training": {"rounds": 7}}).training == Inner(samples=9, rounds=7)
    assert Preset.model_validate({"training": Inner()}).training == Inner(), "settings that are given whole are taken whole"
    assert Deeper.model_validate({"preset": {"training": {"samples": 2}}}).preset.training == Inner(samples=2, rounds=5)
    assert Deeper.model_validate(Deeper().model_dump()) == Deeper()


def test_a_missing_recipe_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    written(tmp_path, "name: a\n")
    with pytest.raises(ConfigError, match=r"no such recipe; did you mean '.*recipe.yaml'"):
        load(tmp_path / "recipes.yaml", Outer)


def test_overrides_reach_nested_settings_and_are_never_evaluated(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\n")
    settings = load(path, Outer, overrides=["training.samples=9", "name=__import__('os')"])
    assert settings.training.samples == 9
    assert settings.name == "__import__('os')"


@pytest.mark.parametrize("override", ["samples", "=3", "a..b=1", "name.x=1"])
def test_an_override_that_cannot_be_is_told(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load(written(tmp_path, "name: a\n"), Outer, overrides=[override])


def test_an_override_of_what_an_anchor_shares_changes_one_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\ntraining: &shared {samples: 6}\nother: *shared\n")
    found = load(path, Outer, overrides=["other.samples=9"])
    assert found.other is not None
    assert (found.training.samples, found.other.samples) == (6, 9)


def test_dump_and_load_round_trip(tmp_path: Path) -> None:
    settings = Outer(name="é: #", training=Inner(samples=7))
    assert load(written(tmp_path, dump(settings)), Outer) == settings


def test_a_recipe_may_name_its_kind_and_a_wrong_name_is_told(tmp_path: Path) -> None:
    kinds: dict[str, type[Outer]] = {"outer": Outer, "longer": Longer}
    assert type(load_one_of(written(tmp_path, "name: a\n"), kinds, key="kind")) is Outer
    longer = written(tmp_path, "name: a\nkind: longer\n")
    assert type(load_one_of(longer, kinds, key="kind")) is Longer
    with pytest.raises(ConfigError, match="line 2: kind is 'lnger'; did you mean 'longer'"):
        load_one_of(written(tmp_path, "name: a\nkind: lnger\n"), kinds, key="kind")
    with pytest.raises(ConfigError, match="--set kind=autre: kind is 'autre'"):
        load_one_of(longer, kinds, key="kind", overrides=["kind=autre"])
