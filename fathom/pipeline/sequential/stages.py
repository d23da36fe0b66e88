"""A stage for each model that the recipe names, and one that asks all of them."""

from collections.abc import Sequence
from functools import partial

from fathom.models.model import TrainingData
from fathom.models.registry import MODELS
from fathom.pipeline.groundwork import DATA, DATASET
from fathom.pipeline.judge import judge_all
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.table import SequentialTable
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.stages import Stage


def fit_model(work: SequentialWorkshop, *, kind: str) -> None:
    """Fit one model to the training part."""
    settings = work.recipe.models.settings_of(kind)
    data = TrainingData(work.split.train, work.valid_cases, work.catalog, work.run, kind)
    work.keep(MODELS[kind].fit(data, settings), kind)


def judge_models(work: SequentialWorkshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge_all(SequentialTable(work), command=work.command)


def stages_of(recipe: SequentialRecipe) -> Sequence[Stage[SequentialWorkshop]]:
    """The stages in order: data, models in the order of the table, results."""
    names = recipe.models.names
    fits = [
        Stage(
            name,
            MODELS[name].about,
            ("dataset",),
            (*DATA, "split", "valid_users", "seed", f"models.{name}"),
            partial(fit_model, kind=name),
            alone=not MODELS[name].by_gradients,
        )
        for name in names
    ]
    results = Stage("results", "every model is asked the same test cases", names, ("test_users",), judge_models, leaves=("ranks", "guests"))
    return [DATASET, *fits, results]
