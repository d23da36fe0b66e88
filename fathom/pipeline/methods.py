"""The methods that a recipe may name. A new one is a folder beside `deeprec` and a line in `METHODS`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fathom.errors import ConfigError
from fathom.pipeline.conversation import stages as conversation
from fathom.pipeline.conversation.recipe import ConversationRecipe
from fathom.pipeline.conversation.table import ConversationTable
from fathom.pipeline.conversation.workshop import ConversationWorkshop
from fathom.pipeline.deeprec import stages as deeprec
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.deeprec.table import DeepRecTable
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.pipeline.enhanced import stages as enhanced
from fathom.pipeline.enhanced.recipe import EnhancedRecipe
from fathom.pipeline.enhanced.table import EnhancedTable
from fathom.pipeline.enhanced.workshop import EnhancedWorkshop
from fathom.pipeline.next import stages as free
from fathom.pipeline.next.recipe import NextRecipe
from fathom.pipeline.next.table import NextTable
from fathom.pipeline.next.workshop import NextWorkshop
from fathom.pipeline.p5 import stages as p5
from fathom.pipeline.p5.recipe import P5Recipe
from fathom.pipeline.p5.table import P5Table
from fathom.pipeline.p5.workshop import P5Workshop
from fathom.pipeline.r2ec import stages as r2ec
from fathom.pipeline.r2ec.recipe import R2ecRecipe
from fathom.pipeline.r2ec.table import R2ecTable
from fathom.pipeline.r2ec.workshop import R2ecWorkshop
from fathom.pipeline.ranking import stages as ranking
from fathom.pipeline.ranking.recipe import RankingRecipe
from fathom.pipeline.ranking.table import RankingTable
from fathom.pipeline.ranking.workshop import RankingWorkshop
from fathom.pipeline.rating import stages as rating
from fathom.pipeline.rating.recipe import RatingRecipe
from fathom.pipeline.rating.table import RatingTable
from fathom.pipeline.rating.workshop import RatingWorkshop
from fathom.pipeline.recipe import Recipe
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.stages import stages_of
from fathom.pipeline.sequential.table import SequentialTable
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.stages import Stage
from fathom.pipeline.table import Table
from fathom.pipeline.workshop import Workshop
from fathom.recipes import load_one_of
from fathom.training.run import Run


@dataclass(frozen=True, slots=True)
class Method:
    """How a recipe becomes a run."""

    recipe: type[Recipe]
    """What its recipes say."""
    workshop: Callable[..., Workshop]
    """Opens the run's folder: recipe, run, and what was typed as `command`."""
    stages: Callable[[Any], Sequence[Stage[Any]]]
    """Recipe -> what is done, in order."""
    table: Callable[[Any], Table]
    """How the run in a workshop is judged."""
    trains_with: str = ""
    """A module that a late stage imports and that may miss a package: `fathom run` tries it first; whoever only asks a run never does."""


METHODS: Mapping[str, Method] = {
    "deeprec": Method(DeepRecRecipe, DeepRecWorkshop, lambda _: deeprec.STAGES, DeepRecTable, "fathom.training.reinforce"),
    "r2ec": Method(R2ecRecipe, R2ecWorkshop, lambda _: r2ec.STAGES, R2ecTable),
    "sequential": Method(SequentialRecipe, SequentialWorkshop, stages_of, SequentialTable),
    "ranking": Method(RankingRecipe, RankingWorkshop, ranking.stages_of, RankingTable),
    "next": Method(NextRecipe, NextWorkshop, free.stages_of, NextTable),
    "rating": Method(RatingRecipe, RatingWorkshop, rating.stages_of, RatingTable),
    "enhanced": Method(EnhancedRecipe, EnhancedWorkshop, enhanced.stages_of, EnhancedTable),
    "p5": Method(P5Recipe, P5Workshop, p5.stages_of, P5Table),
    "conversation": Method(ConversationRecipe, ConversationWorkshop, conversation.stages_of, ConversationTable),
}
"""Name in the recipe -> method; the first one is meant where a recipe names none."""


def recipe_at(path: Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe written in the file `path`, after `overrides` such as 'stage2.steps=10'."""
    return load_one_of(path, {name: method.recipe for name, method in METHODS.items()}, key="method", overrides=overrides)


def opened(folder: Path) -> Workshop:
    """The workshop of a run folder that exists; a `ConfigError` says what is missing otherwise."""
    if not (folder / "recipe.yaml").is_file():
        raise ConfigError(f"{folder}: not the folder of a run (it has no recipe.yaml); 'fathom run RECIPE --out {folder}' makes one")
    recipe = recipe_at(folder / "recipe.yaml")
    return METHODS[recipe.method].workshop(recipe, Run(folder))


def table_of(work: Workshop) -> Table:
    """How the run in `work` is judged."""
    return METHODS[work.recipe.method].table(work)
