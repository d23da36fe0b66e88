"""The stage in which the language model learns, before it is asked."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from fathom.items.text import item_texts
from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.groundwork import DATA, first_policy, read_histories
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import whole_histories
from fathom.records import Case, Catalog

Lines: TypeAlias = Callable[[Case, Catalog], Sequence[str]]
"""How the events of a history are read, a string each."""


def titles_of(case: Case, catalog: Catalog) -> Sequence[str]:
    """A title a line."""
    return [f"{catalog.title(item)}\n" for item in case.history]


def fit_language_model(work: AskingWorkshop, *, lines: Lines) -> None:
    """The built-in model from random weights, or one from outside: catalogue text and the training histories."""
    settings = work.recipe.language
    assert settings is not None
    titles = work.catalog.titles
    policy = first_policy(work, settings, lambda: [*titles, *item_texts(work.catalog)], (), vectors=lambda: work.vectors)
    histories = [lines(case, work.catalog) for case in whole_histories(work.split.train)]
    read_histories(work, policy, settings, histories, stage="lm")


def language_stages(recipe: AskingRecipe, *, lines: Lines = titles_of) -> Sequence[Stage[Any]]:
    """The one stage of a language model that is here; none of an endpoint."""
    if recipe.language is None:
        return []
    settings = (*DATA, "split", "seed", "language", "encoder")
    return [Stage("lm", "the language model reads", ("dataset",), settings, partial(fit_language_model, lines=lines))]
