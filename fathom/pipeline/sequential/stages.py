"""A stage for each model that the recipe names, and one that asks all of them."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from fathom.models.model import AnyModel, TrainingData
from fathom.models.registry import model_of
from fathom.pipeline.groundwork import DATA, DATASET
from fathom.pipeline.judge import judge_all
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.table import SequentialTable
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.stages import Stage
from fathom.settings import Settings
from fathom.training.processes import processes
from fathom.training.run import progress


def fit_model(work: SequentialWorkshop, *, kind: str) -> None:
    """Fit one model to the training part, or again and again to what there is before each window."""
    settings = work.recipe.models.settings_of(kind)
    if work.windows:
        fit_along(work, kind, settings)
    else:
        data = TrainingData(work.split.train, work.valid_cases, work.catalog, work.run, kind)
        work.keep(model_of(kind).fit(data, settings), kind)


def fit_along(work: SequentialWorkshop, kind: str, settings: Settings | None) -> None:
    """One model for each window, the one before it continued where learning is incremental; those that are there already stay.

    Its own window's validation cases choose nothing: they lie in its future. Where nothing new has ended, the model stays what it was.
    """
    asked = work.recipe.windows
    assert asked is not None
    before: AnyModel | None = None
    there = [work.folder(work.part(kind, number)).is_dir() for number in range(len(work.windows))]
    processes().wait_for_everyone()  # all have looked before the first one is saved
    # What is trained step by step shows a bar for each window.
    with nullcontext(lambda _: None) if model_of(kind).by_gradients else progress(kind, len(there)) as advance:
        for number, window in enumerate(work.windows):
            if there[number]:
                before = work.at(kind, number)
            else:
                data = TrainingData(window.train(work.dataset.interactions), (), work.catalog, work.run, f"{kind}@{number:04}")
                if before is None or asked.mode == "retrain":
                    before = model_of(kind).fit(data, settings)
                elif window.learned.any():
                    before = before.continued(data)
                work.keep(before, work.part(kind, number))
                if processes().is_main_process:
                    work.run.checkpoint(data.stage).clear()  # of many windows they would fill the disk
            advance(1)


def judge_models(work: SequentialWorkshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge_all(SequentialTable(work), command=work.command)


def fits_of(recipe: SequentialRecipe) -> Sequence[Stage[SequentialWorkshop]]:
    """Data, and models in the order of the table."""
    fits = [
        Stage(
            name,
            model_of(name).about,
            ("dataset",),
            (*DATA, "split", "windows", "valid_users", "seed", f"models.{name}"),
            partial(fit_model, kind=name),
            alone=not model_of(name).by_gradients,
        )
        for name in recipe.models.names
    ]
    return [DATASET, *fits]


def stages_of(recipe: SequentialRecipe) -> Sequence[Stage[SequentialWorkshop]]:
    """The stages in order: data, models in the order of the table, results."""
    names = recipe.models.names
    settings = ("test_users", "mixed")
    results = Stage("results", "every model is asked the same test cases", names, settings, judge_models, leaves=("ranks", "guests"))
    return [*fits_of(recipe), results]
