"""The approximate index: what it finds is right, what it misses is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fathom.errors import ConfigError, ModelError
from fathom.items.approximate import Approximate, as_vectors
from fathom.items.near import Graph, Qdrant, fingerprint
from fathom.items.search import search
from fathom.records import Catalog


@pytest.fixture(scope="module")
def items() -> torch.Tensor:
    return torch.randn(3001, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def queries() -> torch.Tensor:
    return torch.randn(60, 16, generator=torch.Generator().manual_seed(1))


def test_it_finds_nearly_all_and_says_how_much(items: torch.Tensor, queries: torch.Tensor) -> None:
    exclude = [tuple(range(1, 1 + row)) for row in range(60)]
    index = Approximate(items, Graph.build(as_vectors(items), breadth=128))
    assert index.recall(queries, 10, exclude=exclude) > 0.97
    narrow = Approximate(items, Graph.build(as_vectors(items), breadth=2))
    exact, found = search(queries, items, 10, exclude=exclude), narrow.search(queries, 10, exclude=exclude)
    shared = [len(set(mine) & set(true)) for mine, true in zip(found.items.tolist(), exact.items.tolist(), strict=True)]
    assert narrow.recall(queries, 10, exclude=exclude) == pytest.approx(sum(shared) / 600)
    assert narrow.recall(queries, 10, exclude=exclude) < index.recall(queries, 10, exclude=exclude)


def test_what_it_finds_is_scored_exactly_and_in_order(items: torch.Tensor, queries: torch.Tensor) -> None:
    found = Approximate(items, Graph.build(as_vectors(items), breadth=128)).search(queries, 5, exclude=[(7,)] * 60)
    products = torch.from_numpy(np.take_along_axis((queries.double() @ items.double().T).numpy(), found.items, axis=1))
    assert np.allclose(found.scores, products.numpy(), atol=1e-5)
    assert bool((np.diff(found.scores, axis=1) <= 0).all())
    assert not (found.items == 7).any()
    assert (found.items > 0).all()


def test_a_small_catalogue_ends_with_padding(items: torch.Tensor, queries: torch.Tensor) -> None:
    found = Approximate(items[:4], Graph.build(as_vectors(items[:4]), breadth=128)).search(queries[:1], 5, exclude=[(2,)])
    assert sorted(found.items[0].tolist()) == [0, 0, 0, 1, 3]
    assert found.scores[0, 2:].tolist() == [-np.inf] * 3


def test_saving_changes_nothing_and_another_table_is_refused(items: torch.Tensor, queries: torch.Tensor, tmp_path: Path) -> None:
    graph = Graph.build(as_vectors(items), breadth=128)
    graph.save(tmp_path / "index.usearch")
    again = Graph.load(tmp_path / "index.usearch", as_vectors(items))
    mine, theirs = (Approximate(items, one).search(queries, 10, exclude=[()] * 60) for one in (graph, again))
    assert np.array_equal(mine.items, theirs.items)
    with pytest.raises(ModelError, match="it was made of 3,000 items of 16 numbers, but the model has 2,999 of 16"):
        Graph.load(tmp_path / "index.usearch", as_vectors(items[:-1]))
    with pytest.raises(ModelError, match="'fathom index' makes one"):
        Graph.load(tmp_path / "none", as_vectors(items))
    with pytest.raises(ConfigError, match="1 exclusion lists for 60 rows"):
        Approximate(items, graph).search(queries, 10, exclude=[()])


@pytest.fixture
def catalog() -> Catalog:
    names = tuple(f"n{item}" for item in range(1, 3001))
    return Catalog(names, tuple(f"Film {item}" for item in range(1, 3001)), {"genres": ((("Drama", "War"),) + ((),) * 2999)})


def test_qdrant_finds_what_the_products_say(items: torch.Tensor, queries: torch.Tensor, catalog: Catalog, tmp_path: Path) -> None:
    place = f"qdrant:{tmp_path / 'points'}"
    index = Approximate(items, Qdrant.build(place, "films", as_vectors(items), catalog, breadth=64))
    exclude = [tuple(range(1, 1 + row)) for row in range(60)]
    exact, found = search(queries, items, 10, exclude=exclude), index.search(queries, 10, exclude=exclude)
    assert np.array_equal(exact.items, found.items), "inside this process Qdrant looks at every vector"
    assert np.allclose(exact.scores, found.scores, atol=1e-5)
    assert index.recall(queries, 10, exclude=exclude) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Qdrant leaves the lock open that it could not get
def test_a_collection_is_replaced_whole_and_another_table_is_refused(items: torch.Tensor, catalog: Catalog, tmp_path: Path) -> None:
    place, vectors = f"qdrant:{tmp_path / 'points'}", as_vectors(items)
    first = Qdrant.build(place, "films", vectors[:5], catalog, breadth=64)
    points, _ = first._client.scroll("films", with_payload=True)
    assert [point.id for point in points] == [1, 2, 3, 4]
    assert points[0].payload == {"name": "n1", "title": "Film 1", "genres": ["Drama", "War"]}
    first._client.close()
    with pytest.raises(ModelError, match="made of other vectors than this model's"):
        Qdrant.load(place, "films", vectors[:6])
    with pytest.raises(ModelError, match="has no collection 'books'"):
        Qdrant.load(place, "books", vectors)
    assert Qdrant.there(place, "films")
    assert not Qdrant.there(place, "books")
    again = Qdrant.build(place, "films", vectors[:7], catalog, breadth=64)
    again_found = again.near(vectors[:1], 10).tolist()
    assert again_found[0][6:] == [0] * 4
    assert [one.name for one in again._client.get_collections().collections] == [f"films-{fingerprint(vectors[:7])}"]
    with pytest.raises(ConfigError, match="another process uses this folder"):
        Qdrant.load(place, "films", vectors[:7])
    again._client.close()
    same = Qdrant.build(place, "films", vectors[:7], catalog, breadth=64)
    assert same.near(vectors[:1], 10).tolist() == again_found, "the same again leaves what others ask as it is"
    same._client.close()


def test_a_place_that_is_none_and_a_server_that_is_silent_are_told(items: torch.Tensor, catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="write http://HOST:6333 for a Qdrant server, or qdrant:FOLDER"):
        Qdrant.build("localhost", "films", as_vectors(items), catalog, breadth=64)
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1:9: no Qdrant answers there"):
        Qdrant.load("http://127.0.0.1:9", "films", as_vectors(items))
