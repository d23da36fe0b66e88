"""The stage in which the language model learns, before it is asked."""

from collections.abc import Sequence
from typing import Any

from fathom.items.text import item_texts
from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.groundwork import DATA, first_policy, read_histories
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import whole_histories


def fit_language_model(work: AskingWorkshop) -> None:
    """The built-in model from random weights, or one from outside: catalogue text and the training histories."""
    settings = work.recipe.language
    assert settings is not None
    titles = work.catalog.titles
    policy = first_policy(work, settings, lambda: [*titles, *item_texts(work.catalog)], (), vectors=lambda: work.vectors)
    histories = [[f"{titles[item - 1]}\n" for item in case.history] for case in whole_histories(work.split.train)]
    read_histories(work, policy, settings, histories, stage="lm")


def language_stages(recipe: AskingRecipe) -> Sequence[Stage[Any]]:
    """The one stage of a language model that is here; none of an endpoint."""
    settings = (*DATA, "split", "seed", "language", "encoder")
    return [Stage("lm", "the language model reads", ("dataset",), settings, fit_language_model)] if recipe.language is not None else []
