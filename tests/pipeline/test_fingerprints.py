"""A stage's fingerprint covers every setting that the stage reads: a changed one can never be overlooked when a run goes on."""

from pathlib import Path
from typing import Any, cast

import pytest
from tiny import RECIPE

from fathom.pipeline.deeprec import STAGES
from fathom.pipeline.recipe import Recipe
from fathom.pipeline.workshop import Workshop
from fathom.training.run import Run


class Watched:
    """A recipe that notes which of its settings are read."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._recipe, name)


@pytest.mark.slow
def test_every_setting_that_a_stage_reads_is_in_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    recipe = Recipe.model_validate(RECIPE)
    covered: dict[str, set[str]] = {}
    for stage in STAGES[:-1]:  # the last one prints all settings
        watched = Watched(recipe)
        stage.do(Workshop(cast(Recipe, watched), Run(tmp_path / "run")))
        covered[stage.name] = set(stage.settings).union(*(covered[name] for name in stage.needs))
        assert watched.read & set(Recipe.model_fields) <= covered[stage.name], stage.name
