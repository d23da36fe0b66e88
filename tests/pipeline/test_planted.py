"""A planted world has a row that says who could do without ratings, and no oracle is ever the best model."""

from pathlib import Path

import pytest
from rich.console import Console

from fathom.data.world import WorldSettings
from fathom.errors import ConfigError
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.deeprec.stages import STAGES
from fathom.pipeline.deeprec.table import DeepRecTable
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.pipeline.judge import judge, summarise
from fathom.pipeline.stages import perform
from fathom.reports.tables import readme_table
from fathom.training.run import Run


def made(folder: Path, *, planted: bool) -> DeepRecWorkshop:
    """A run folder with its world alone."""
    recipe = DeepRecRecipe(name="control", world=WorldSettings(films=200, users=400, planted=planted))
    work = DeepRecWorkshop(recipe, Run(folder))
    perform(STAGES, work, recipe, Run(folder), until="dataset", console=Console(quiet=True))
    return work


def test_the_oracle_without_ratings_stands_beside_the_oracle(tmp_path: Path) -> None:
    work = made(tmp_path, planted=True)
    judge(DeepRecTable(work), models=("popularity", "oracle", "oracle-without-ratings"))
    results = summarise(DeepRecTable(work), command="test")
    assert [row.model for row in results.rows] == ["popularity", "oracle-without-ratings", "oracle"]
    popular, blind, seeing = (row.metrics["ndcg@10"] for row in results.rows)
    assert popular < blind < seeing, "the planted preference shows in ratings alone, and is worth something"
    assert "**" in next(line for line in readme_table(results).splitlines() if "popularity" in line), "the best that is a model"


def test_a_world_without_a_planted_preference_has_one_oracle(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="oracle-without-ratings: the run has no such row"):
        judge(DeepRecTable(made(tmp_path, planted=False)), models=("oracle-without-ratings",))
