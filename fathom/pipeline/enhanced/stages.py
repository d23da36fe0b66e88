"""A language model writes about items and people; models are fitted, some of them to data that hold what was written."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from fathom.models.model import TrainingData
from fathom.models.registry import model_of
from fathom.pipeline.asking.stages import language_stages
from fathom.pipeline.enhanced.recipe import EnhancedRecipe
from fathom.pipeline.enhanced.table import EnhancedTable
from fathom.pipeline.enhanced.workshop import ITEMS, PEOPLE, EnhancedWorkshop
from fathom.pipeline.groundwork import DATA
from fathom.pipeline.judge import judge_all
from fathom.pipeline.sequential.stages import fits_of
from fathom.pipeline.stages import Stage
from fathom.prompting.describe import Described, Describer


def write_texts(work: EnhancedWorkshop) -> None:
    """What every item is, and, where histories are to be made longer, what the people of short ones like."""

    def describer() -> Describer:
        return Describer(work.who_is_asked, work.catalog, work.recipe.writing)

    items = list(range(1, work.catalog.n_items + 1))
    told = [*(work.ask(ITEMS, items, Described, f"{len(items):,} summaries", lambda: describer().items) or [])]
    if work.short:
        told += work.ask(PEOPLE, work.short, Described, f"{len(work.short):,} people of few events", lambda: describer().people) or []
    if told:
        unreadable, tokens = (sum(one.tally[kind] for one in told) for kind in ("unreadable", "written"))
        words = f"{len(told):,} answers, {unreadable / len(told):.1%} of them unreadable, {tokens:,} tokens written"
        Console().print(f"  {words}; for example: {next((one.text for one in told if one.text), 'nothing')[:100]}", highlight=False)


def fit_reader(work: EnhancedWorkshop, *, name: str) -> None:
    """Fit one model to the training part as readers see it."""
    data = TrainingData(work.read_log, tuple(work.read_valid), work.read_catalog, work.run, name)
    work.keep(model_of(name).fit(data, work.recipe.models.settings_of(name)), name)


def judge_readers(work: EnhancedWorkshop) -> None:
    """Ask every model the same test cases, print the table, write the page."""
    judge_all(EnhancedTable(work), command=work.command)


def stages_of(recipe: EnhancedRecipe) -> Sequence[Stage[Any]]:
    """Data, the language model, what it writes, models, results."""
    dataset, *fits = fits_of(recipe)
    speaking = language_stages(recipe)
    needs = ("dataset", *(stage.name for stage in speaking))
    settings = (*DATA, "split", "writing", "pseudo", "endpoint")
    written = Stage("written", "a language model says what items are and people like", needs, settings, write_texts, leaves=("asked",))
    readers = [
        replace(
            fit,
            needs=("dataset", "written"),
            settings=(*fit.settings, "readers", "shuffled", "encoder"),
            do=partial(fit_reader, name=fit.name),
        )
        if fit.name in recipe.readers
        else fit
        for fit in fits
    ]
    results = Stage(
        "results",
        "every model is asked the same test cases",
        recipe.models.names,
        ("test_users", "mixed"),
        judge_readers,
        leaves=("ranks", "guests"),
    )
    return [dataset, *speaking, written, *readers, results]
