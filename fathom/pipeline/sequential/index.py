"""`fathom index`: an approximate index of a model's items, and what it misses."""

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from fathom.contracts import Recommender
from fathom.errors import ConfigError
from fathom.items.approximate import Approximate, as_vectors
from fathom.items.near import Graph, Qdrant
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


def index_folder(folder: Path, *, model: str, k: int, breadth: int, at: str = "") -> None:
    """Build the index of the row `model` and print how much of the exact lists it finds and how fast.

    It is kept beside the model, or with `at` in Qdrant there.
    """
    work, ranker = _products(folder, model)
    cases = sampled(work.test_cases, ASKED, seed=work.recipe.seed)
    people, items = ranker.sides(cases)
    exclude = [case.history for case in cases]
    began = time.perf_counter()
    if at:
        place = f"{at}, collection {collection_of(folder, model)}"
        index = Approximate(items, Qdrant.build(at, collection_of(folder, model), as_vectors(items), work.catalog, breadth=breadth))
    else:
        path = work.folder(model) / FILE
        graph = Graph.build(as_vectors(items), breadth=breadth)
        graph.save(path)
        place, index = str(path), Approximate(items, graph)
    built = time.perf_counter() - began
    began = time.perf_counter()
    search(people, items, k, exclude=exclude)
    exact = time.perf_counter() - began
    began = time.perf_counter()
    index.search(people, k, exclude=exclude)
    quick = time.perf_counter() - began
    recall = index.recall(people, k, exclude=exclude)
    told = f"{len(items) - 1:,} items in {built:.1f} s; of the exact {k} best of {len(cases):,} test cases it finds [bold]{recall:.2%}[/]"
    speed = f"{1000 * quick / len(cases):.2f} ms a user, exactly {1000 * exact / len(cases):.2f} ms"
    Console().print(f"{place}: {told}; {speed}", highlight=False, soft_wrap=True)
    asked = f"fathom recommend {folder} --model {model} --approximate{f' --at {at}' if at else ''} --history ..."
    Console().print(f"ask it:  {asked}", highlight=False, soft_wrap=True)


def indexed(folder: Path, model: str, *, at: str = "") -> Indexed:
    """The row `model` of the run, asked through the index that `index_folder` has left."""
    work, ranker = _products(folder, model)
    items = ranker.sides([])[1]
    if at:
        return Indexed(ranker, Approximate(items, Qdrant.load(at, collection_of(folder, model), as_vectors(items))))
    return Indexed(ranker, Approximate(items, Graph.load(work.folder(model) / FILE, as_vectors(items))))


def indexed_rows(folder: Path, names: Collection[str], *, at: str = "") -> list[str]:
    """Those of the rows `names` that have an index; none is an error, for somebody expects one."""
    found = [name for name in names if (Qdrant.there(at, collection_of(folder, name)) if at else (folder / name / FILE).is_file())]
    if not found:
        raise ConfigError(
            f"{folder}: no model of this run has an index{f' at {at}' if at else ''}: 'fathom index {folder} --model ...' makes one"
        )
    return found


def collection_of(folder: Path, model: str) -> str:
    """The name under which Qdrant keeps the index of a run's model."""
    return f"fathom-{folder.resolve().name}-{model}".replace("+", "plus")


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
