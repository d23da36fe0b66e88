"""`fathom index`: an approximate index of a model's items, and what it misses."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from fathom.contracts import Recommender
from fathom.errors import ConfigError
from fathom.items.approximate import Approximate
from fathom.items.search import search
from fathom.models.model import ProductModel
from fathom.models.registry import model_of
from fathom.pipeline.judge import need
from fathom.pipeline.methods import opened, table_of
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.workshop import sampled
from fathom.records import Case, Ranking

FILE = "index.usearch"
ASKED = 1000
"""Test cases by which recall is measured."""

AnyProducts = ProductModel[Any]


class Indexed(Recommender):
    """A model asked through its index."""

    def __init__(self, model: AnyProducts, index: Approximate) -> None:
        self._model, self._index = model, index

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items that the index finds."""
        people, _ = self._model.sides(cases)
        return self._index.search(people, k, exclude=[case.history if exclude_history else () for case in cases])


def index_folder(folder: Path, *, model: str, k: int, breadth: int) -> None:
    """Build the index of the row `model`, keep it beside the model, and print how much of the exact lists it finds and how fast."""
    work, ranker = _products(folder, model)
    cases = sampled(work.test_cases, ASKED, seed=work.recipe.seed)
    people, items = ranker.sides(cases)
    exclude = [case.history for case in cases]
    began = time.perf_counter()
    index = Approximate.build(items, breadth=breadth)
    built = time.perf_counter() - began
    began = time.perf_counter()
    search(people, items, k, exclude=exclude)
    exact = time.perf_counter() - began
    began = time.perf_counter()
    index.search(people, k, exclude=exclude)
    quick = time.perf_counter() - began
    recall = index.recall(people, k, exclude=exclude)
    index.save(work.folder(model) / FILE)
    told = f"{len(items) - 1:,} items in {built:.1f} s; of the exact {k} best of {len(cases):,} test cases it finds [bold]{recall:.2%}[/]"
    speed = f"{1000 * quick / len(cases):.2f} ms a user, exactly {1000 * exact / len(cases):.2f} ms"
    Console().print(f"{work.folder(model) / FILE}: {told}; {speed}", highlight=False)
    Console().print(f"ask it:  fathom recommend {folder} --model {model} --approximate --history ...", highlight=False)


def indexed(folder: Path, model: str) -> Indexed:
    """The row `model` of the run, asked through the index that `index_folder` has left."""
    work, ranker = _products(folder, model)
    return Indexed(ranker, Approximate.load(work.folder(model) / FILE, ranker.sides([])[1]))


def _products(folder: Path, model: str) -> tuple[SequentialWorkshop, AnyProducts]:
    work = opened(folder)
    if not isinstance(work, SequentialWorkshop) or work.windows:
        raise ConfigError(f"{folder}: only the models of a run of named models (method: sequential, no windows) can be indexed")
    need(table_of(work), model)
    able = [name for name in work.recipe.models.names if issubclass(model_of(name), ProductModel)]
    if model not in able:
        raise ConfigError(
            f"--model {model}: it does not rank by products, so there is nothing to index; these do: {', '.join(able) or 'none'}"
        )
    return work, cast(AnyProducts, work.model(model))
