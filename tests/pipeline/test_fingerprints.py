"""A stage's fingerprint covers every setting that the stage reads: a changed one can never be overlooked when a run goes on."""

from pathlib import Path
from typing import Any, cast

import pytest
from tiny import RECIPE

from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.deeprec.stages import STAGES
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.pipeline.stages import fingerprint
from fathom.training.run import Run


class Watched:
    """A recipe that notes which of its settings are read."""

    def __init__(self, recipe: DeepRecRecipe) -> None:
        self._recipe = recipe
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._recipe, name)


@pytest.mark.slow
def test_every_setting_that_a_stage_reads_is_in_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    recipe = DeepRecRecipe.model_validate(RECIPE)
    covered: dict[str, set[str]] = {}
    for stage in STAGES[:-1]:  # the last one prints all settings
        watched = Watched(recipe)
        stage.do(DeepRecWorkshop(cast(DeepRecRecipe, watched), Run(tmp_path / "run")))
        covered[stage.name] = set(stage.settings).union(*(covered[name] for name in stage.needs))
        assert watched.read & set(DeepRecRecipe.model_fields) <= covered[stage.name], stage.name


@pytest.mark.slow
def test_the_first_language_model_is_the_same_whatever_its_fingerprint_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    changed = {"listed": 2.0, "prompt_tokens": 40, "segment_tokens": 5, "trajectory_tokens": 90}
    language = next(stage for stage in STAGES if stage.name == "lm-fit")
    assert {f"protocol.{name}" for name in changed} == set(language.unread)
    above = dict.fromkeys(language.needs, "")
    products, fingerprints = [], []
    for name, protocol in (("one", RECIPE["protocol"]), ("two", {**RECIPE["protocol"], **changed})):  # type: ignore[dict-item]
        recipe = DeepRecRecipe.model_validate({**RECIPE, "protocol": protocol})
        work = DeepRecWorkshop(recipe, Run(tmp_path / name))
        for stage in STAGES:
            if stage.name in ("dataset", "lm-fit"):
                stage.do(work)
        folder = tmp_path / name / "lm-fit"
        products.append({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})
        fingerprints.append(fingerprint(language, recipe, above))
    assert products[0] == products[1]
    assert "tokenizer.json" in products[0]
    assert fingerprints[0] == fingerprints[1]


def test_what_the_language_model_leaves_out_of_its_fingerprint_the_agent_takes_in() -> None:
    warm = next(stage for stage in STAGES if stage.name == "agent-warm")
    above = dict.fromkeys(warm.needs, "")
    one, two = (
        DeepRecRecipe.model_validate({**RECIPE, "protocol": {**RECIPE["protocol"], "segment_tokens": length}})  # type: ignore[dict-item]
        for length in (80, 81)
    )
    assert fingerprint(warm, one, above) != fingerprint(warm, two, above)
