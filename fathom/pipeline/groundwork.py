"""Where every run begins: its data, and the sequential recommender beside which everything stands."""

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console

from fathom.data.dataset import Dataset
from fathom.data.filters import k_core, rating_at_least, rolling_window, short_titles
from fathom.data.sessions import sessions
from fathom.data.sources import read
from fathom.data.world import build_world
from fathom.items.text import item_texts
from fathom.language.builtin import build
from fathom.language.policy import LocalPolicy, Precision
from fathom.language.tokenizer import train_tokenizer
from fathom.pipeline.recipe import LanguageSettings, SessionSettings, SourceSettings
from fathom.pipeline.stages import Stage
from fathom.pipeline.workshop import LanguageWorkshop, Workshop, data_folder
from fathom.records import Floats
from fathom.training.pretrain import pretrain
from fathom.training.sequential import train_sasrec

DATA = ("world", "source", "sessions")
ASKED = (*DATA, "split", "valid_users", "seed", "hold_out")
"""The fields of a recipe that say what is learned from and what is asked."""


def make_dataset(work: Workshop) -> None:
    """The built-in world, or the source after its filters; says how the split cuts it."""
    world, source, cut = work.recipe.world, work.recipe.source, work.recipe.sessions
    if world is not None:
        built = build_world(world)
        if cut is None:  # the oracle knows whole histories
            built.oracle.save(work.folder("oracle"))
        (built.dataset if cut is None else in_sessions(built.dataset, cut)).save(work.folder("dataset"))
    elif source is not None:
        from_source(source, cut).save(work.folder("dataset"))
    console, split = Console(), work.split
    console.print(f"  {work.dataset.summary()}", highlight=False)
    unseen = np.mean([work.counts[case.target] == 0 for case in split.test]) if split.test else 0.0
    parts = f"{split.train.n_events:,} events to learn from, {len(split.valid):,} validation and {len(split.test):,} test cases"
    console.print(f"  {split.rule}: {parts}; {unseen:.1%} of the test targets are never learned from", highlight=False)


def in_sessions(dataset: Dataset, cut: SessionSettings) -> Dataset:
    """Every session as a user of its own."""
    return sessions(dataset, gap=cut.gap, repeats=cut.repeats, longest=cut.longest, shortest=cut.shortest)


def from_source(source: SourceSettings, cut: SessionSettings | None = None) -> Dataset:
    """What the recipe names, after its filters."""
    found = read(data_folder(source.name), priced=source.priced, repeats=source.repeats, reviews=source.reviews)
    return filtered(found, source, cut)


def filtered(dataset: Dataset, source: SourceSettings, cut: SessionSettings | None = None) -> Dataset:
    """What is left of `dataset` after rating, core of the whole log, titles, window, sessions, core of what is left, in this order."""
    window = source.window
    if source.least_rating:
        dataset = rating_at_least(dataset, source.least_rating)
    if window is not None and window.core:
        dataset = k_core(dataset, window.core, window.core)
    if source.title_words:
        dataset = short_titles(dataset, source.title_words)
    if window is not None:
        dataset = rolling_window(dataset, end=str(window.end), months=window.months, step=window.step, least_items=window.least_items)
    if cut is not None:
        dataset = in_sessions(dataset, cut)
    return k_core(dataset, source.core, source.core) if source.core else dataset


def fit_sasrec(work: LanguageWorkshop) -> None:
    """The sequential recommender beside which everything stands, on whole training histories."""
    model = train_sasrec(
        work.split.train, work.valid_cases, n_items=work.catalog.n_items, settings=work.recipe.sasrec, run=work.run, stage="sasrec"
    )
    work.keep(model, "sasrec")


def first_policy(
    work: Workshop, recipe: LanguageSettings, corpus: Callable[[], list[str]], markers: tuple[str, ...], *, vectors: Callable[[], Floats]
) -> LocalPolicy:
    """The built-in model from random weights, its tokenizer trained on `corpus()`, or the model from outside that `recipe` names.

    `vectors()` (n_items + 1, d) of the items' texts may become the built-in one's.
    """
    if recipe.model == "builtin":
        tokenizer = train_tokenizer(corpus(), recipe.builtin.vocabulary, markers=markers)
        seed, titles = work.recipe.seed, work.catalog.titles
        return build(recipe.builtin, tokenizer, seed=seed, titles=titles, vectors=vectors()[1:], device=work.device)
    # On an accelerator, large models from outside compute in bfloat16, when they talk and when they learn.
    precision: Precision = "bfloat16" if work.device.type == "cuda" else "float32"
    return LocalPolicy.load(recipe.model, device=work.device, precision=precision, lora=recipe.lora or None)


def read_histories(
    work: Workshop, policy: LocalPolicy, recipe: LanguageSettings, histories: Sequence[Sequence[str]], *, stage: str
) -> None:
    """Pretrain the model on the catalogue's texts and on histories, each given by its events as they are read, and keep it."""
    pretrain(
        policy,
        histories,
        texts=item_texts(work.catalog),
        text_share=recipe.texts,
        windows=recipe.windows,
        settings=recipe.pretrain,
        run=work.run,
        stage=stage,
    )
    work.keep(policy, stage)


DATASET = Stage("dataset", "interactions and catalogue", (), (*DATA, "split"), make_dataset, leaves=("dataset", "oracle"), alone=True)
SASREC = Stage("sasrec", "the sequential baseline", ("dataset",), (*ASKED, "sasrec"), fit_sasrec)
