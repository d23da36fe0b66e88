"""A language model is made ready, and everybody foretells the same ratings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from rich.console import Console

from fathom.pipeline.asking.stages import language_stages
from fathom.pipeline.groundwork import DATASET, make_dataset
from fathom.pipeline.judge import judge_all
from fathom.pipeline.rating.recipe import RatingRecipe
from fathom.pipeline.rating.table import RatingTable
from fathom.pipeline.rating.workshop import RatingWorkshop
from fathom.pipeline.stages import Stage
from fathom.prompting.prompts import Words, prompts_of
from fathom.prompting.rate import event_of
from fathom.recommenders.raters import rated
from fathom.records import Case, Catalog


def rated_lines(case: Case, catalog: Catalog) -> Sequence[str]:
    """A title and what it was given, as the compact prompts write them: so the built-in model learns to read and to rate."""
    prompts = prompts_of("rating-compact", "rating")
    items, ratings = rated(case)
    pairs = zip(items.tolist(), ratings.tolist(), strict=True)
    return [f"{event_of(prompts, Words(), catalog.title(item), rating)}\n" for item, rating in pairs]


def make_rated_dataset(work: RatingWorkshop) -> None:
    """As for every method; a log without ratings is refused before anything is learned from it."""
    make_dataset(work)
    Console().print(f"  {len(work.given):,} of {len(work.split.test):,} test events were rated", highlight=False)


def judge_raters(work: RatingWorkshop) -> None:
    """Everybody foretells the same ratings."""
    judge_all(RatingTable(work), command=work.command)


def stages_of(recipe: RatingRecipe) -> Sequence[Stage[Any]]:
    """Data, the language model, results."""
    speaking = language_stages(recipe, lines=rated_lines)
    settings = ("seed", "valid_users", "test_users", "asked", "endpoint", "liked")
    needs = ("dataset", *(stage.name for stage in speaking))
    leaves = ("ratings", "asked", "ranks", "guests")
    dataset: Stage[Any] = replace(cast(Stage[Any], DATASET), do=make_rated_dataset)
    return [dataset, *speaking, Stage("results", "everybody foretells the same ratings", needs, settings, judge_raters, leaves=leaves)]
