"""Named models are fitted, a language model is made ready, and everybody is asked what comes next."""

from collections.abc import Sequence
from typing import Any

from fathom.pipeline.asking.stages import language_stages
from fathom.pipeline.judge import judge_all
from fathom.pipeline.next.recipe import NextRecipe
from fathom.pipeline.next.table import NextTable
from fathom.pipeline.next.workshop import NextWorkshop
from fathom.pipeline.sequential.stages import fits_of
from fathom.pipeline.stages import Stage


def judge_everybody(work: NextWorkshop) -> None:
    """Everybody is asked for the best of the whole catalogue."""
    judge_all(NextTable(work), command=work.command)


def stages_of(recipe: NextRecipe) -> Sequence[Stage[Any]]:
    """Data and named models as for sequences; then the language model and the results."""
    speaking = language_stages(recipe)
    needs = (*recipe.models.names, *(stage.name for stage in speaking))
    settings = ("test_users", "mixed", "generated", "filled_by", "alike", "catalogue", "endpoint")
    results = Stage("results", "everybody names what comes next", needs, settings, judge_everybody, leaves=("ranks", "guests", "asked"))
    return [*fits_of(recipe), *speaking, results]
