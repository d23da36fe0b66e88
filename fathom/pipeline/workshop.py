"""What the stages of a run leave in its folder, opened when it is first needed and then kept."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fathom.contracts import TextEncoder
from fathom.data.dataset import Dataset
from fathom.data.splits import SPLITS, hold_out
from fathom.data.titles import TitleIndex
from fathom.data.world_oracle import Oracle
from fathom.errors import DataError, suggestion
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.pipeline.recipe import LanguageRecipe, Recipe
from fathom.recommenders.sasrec import SASRec
from fathom.records import PAD, Case, Catalog, Floats, Interactions, Ints, Split
from fathom.training.run import Run

if TYPE_CHECKING:
    import torch

    from fathom.language.policy import LocalPolicy


class Saves(Protocol):
    """Writes itself into a folder."""

    def save(self, folder: Path) -> None: ...


class Workshop:
    """The run folder's contents as objects: what the runs of all methods have. Nothing here trains; a stage that is not done yet has
    nothing to open."""

    def __init__(self, recipe: Recipe, run: Run, *, command: str = "") -> None:
        self.recipe = recipe
        self.run = run
        self.command = command
        """What was typed; it is written into results.json."""

    def folder(self, stage: str) -> Path:
        """Where the stage called `stage` keeps its products."""
        return self.run.folder / stage

    @cached_property
    def dataset(self) -> Dataset:
        """The data set after its filters."""
        return Dataset.load(self.folder("dataset"))

    @cached_property
    def oracle(self) -> Oracle | None:
        """Who knows the built-in world's own next-item distribution; None for data from outside, and for sessions."""
        known = self.recipe.world is not None and self.recipe.sessions is None
        return Oracle.load(self.folder("oracle")) if known else None

    @property
    def catalog(self) -> Catalog:
        """The items."""
        return self.dataset.catalog

    @cached_property
    def titles(self) -> TitleIndex:
        """Finds items by their exact titles."""
        return TitleIndex(self.catalog)

    @cached_property
    def split(self) -> Split:
        """What may be learned from, and the validation and test cases."""
        return SPLITS[self.recipe.split](self.dataset.interactions)

    @cached_property
    def valid_cases(self) -> tuple[Case, ...]:
        """The validation cases that trainings look at, drawn by the recipe's seed."""
        return sampled(self.split.valid, self.recipe.valid_users, seed=self.recipe.seed)

    @cached_property
    def test_cases(self) -> tuple[Case, ...]:
        """The test cases that every row of the table is asked, drawn by the recipe's seed."""
        return sampled(self.split.test, self.recipe.test_users, seed=self.recipe.seed)

    @cached_property
    def counts(self) -> Ints:
        """(n_items + 1,) how often the training part holds each item."""
        return np.bincount(self.split.train.items, minlength=self.catalog.n_items + 1).astype(np.int64)

    @cached_property
    def device(self) -> "torch.device":
        """Where trainings put their models, hence where language models are opened: this process's accelerator, if there is one."""
        from fathom.training.processes import processes

        device: torch.device = processes().device
        return device

    def keep(self, product: Saves, stage: str) -> None:
        """Save what the stage called `stage` made. Several processes that trained it together all hold the same: the main one saves."""
        from fathom.training.processes import processes

        if processes().is_main_process:
            product.save(self.folder(stage))


class LanguageWorkshop(Workshop):
    """What the runs of language models that recommend have beside that."""

    recipe: LanguageRecipe

    @cached_property
    def encoder(self) -> TextEncoder:
        """Makes vectors of item texts and of preferences."""
        return text_encoder(self.recipe.encoder)

    @cached_property
    def vectors(self) -> Floats:
        """(n_items + 1, d) unit text vectors, row 0 zero."""
        return item_vectors(self.catalog, self.encoder, cache_folder())

    @cached_property
    def _held(self) -> tuple[Interactions, tuple[Case, ...]]:
        settings = self.recipe.hold_out
        return hold_out(self.split.train, share=settings.share, most=settings.most, keep=settings.keep)

    @property
    def fit_part(self) -> Interactions:
        """The training histories without their held-out ends: all that may be known before reinforcement learning."""
        return self._held[0]

    @property
    def episode_cases(self) -> tuple[Case, ...]:
        """Held-out training events: what reinforcement learning and whatever prepares it ask for."""
        return self._held[1]

    @cached_property
    def sasrec(self) -> SASRec:
        """The sequential recommender beside which everything stands."""
        return SASRec.load(self.folder("sasrec"))

    def policy(self, stage: str) -> "LocalPolicy":
        """The language model as the stage called `stage` left it."""
        from fathom.language.policy import LocalPolicy

        return LocalPolicy.load(self.folder(stage), device=self.device)


def whole_histories(interactions: Interactions) -> tuple[Case, ...]:
    """Each user's whole history as a case that asks for nothing."""
    bounds = zip(interactions.offsets[:-1].tolist(), interactions.offsets[1:].tolist(), strict=True)
    items = interactions.items.tolist()
    ratings = [] if interactions.ratings is None else interactions.ratings.tolist()
    times = [] if interactions.times is None else interactions.times.tolist()
    columns = {name: column.values.tolist() for name, column in interactions.columns.items()}
    return tuple(
        Case(
            user,
            tuple(items[start:stop]),
            PAD,
            ratings=tuple(ratings[start:stop]),
            times=tuple(times[start:stop]),
            columns={name: tuple(values[start:stop]) for name, values in columns.items()},
        )
        for user, (start, stop) in enumerate(bounds)
    )


def in_two(cases: Sequence[Case], share: float, *, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases of two disjoint groups of people, drawn by `seed`; the second group is `share` of them."""
    people = np.unique([case.user for case in cases])
    order = np.random.default_rng(seed).permutation(people)
    second = set(order[: int(len(order) * share)].tolist())
    return tuple(case for case in cases if case.user not in second), tuple(case for case in cases if case.user in second)


def some_people(cases: Sequence[Case], most: int, *, seed: int) -> tuple[Case, ...]:
    """All cases of people drawn by `seed`, in their order: as many people as have at most `most` cases together; everybody's for 0.

    Whole people, so that it is known what followed a case.
    """
    counts: dict[int, int] = {}
    for case in cases:
        counts[case.user] = counts.get(case.user, 0) + 1
    people = np.fromiter(counts, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(people).tolist()
    together = np.cumsum([counts[user] for user in order])
    kept = set(order if not most else order[: int(np.searchsorted(together, most, side="right"))])
    return tuple(case for case in cases if case.user in kept)


def sampled(cases: tuple[Case, ...], count: int, *, seed: int) -> tuple[Case, ...]:
    """`count` of the cases, drawn without replacement by `seed` and kept in their order; all of them for 0 or too few."""
    if not count or count >= len(cases):
        return cases
    chosen = np.sort(np.random.default_rng(seed).choice(len(cases), size=count, replace=False))
    return tuple(cases[index] for index in chosen)


def data_folder(name: str) -> Path:
    """The folder of the data set `name`: a path as it stands, or one below FATHOM_DATA (or `data`)."""
    below = Path(os.environ.get("FATHOM_DATA", "data"))
    places = [Path(name), below / name]
    for place in places:
        if place.exists():
            return place
    raise DataError(
        f"the data set '{name}' is neither at {places[0]} nor at {places[1]} (FATHOM_DATA names the folder that holds data sets, "
        f"'fathom data get {name}' would download one){suggestion(name, [place.name for place in below.glob('*/')])}"
    )
