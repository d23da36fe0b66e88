"""Where the neighbours of a vector are kept: in a graph in this process (usearch), or in Qdrant, here or on a server.

Each only finds candidates. `fathom.items.approximate.Approximate` scores them exactly and measures what is missed.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.files import written_aside
from fathom.records import PAD, Catalog, Floats, Ints

LOCAL = "qdrant:"
"""Before a folder: Qdrant inside this process, its data in the folder."""

KEY = "QDRANT_API_KEY"
"""Environment variable with the key of a Qdrant server, where it asks for one."""

AT_ONCE = 1_000
"""Vectors that are sent to Qdrant in one request."""


class Near(Protocol):
    """Finds items whose vectors have large products with a query's."""

    def near(self, queries: Floats, most: int) -> Ints:
        """(B, most) item ids, nearest first, for queries (B, d); `PAD` where fewer are found."""
        ...


class Graph:
    """A graph of neighbours in memory, kept in a file."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: Floats, *, breadth: int) -> "Graph":
        """Over the rows 1 to N of `vectors` (N + 1, d); the more `breadth` in building and asking, the better and the slower."""
        index = _usearch().Index(ndim=vectors.shape[1], metric="ip", dtype="f32", expansion_add=breadth, expansion_search=breadth)
        # One thread: the graph depends on the order in which items come.
        index.add(np.arange(1, len(vectors), dtype=np.uint64), vectors[1:], threads=1)
        return cls(index)

    def near(self, queries: Floats, most: int) -> Ints:
        """As `Near` says."""
        found: Ints = np.asarray(self._index.search(queries, most).keys, dtype=np.int64).reshape(len(queries), -1)
        return found

    def save(self, path: Path) -> None:
        """Write the graph, without the vectors, whole or not at all."""
        with written_aside(path) as aside:
            self._index.save(str(aside))

    @classmethod
    def load(cls, path: Path, vectors: Floats) -> "Graph":
        """The graph in `path`, which must be one of as many vectors of the same width."""
        index = _usearch().Index.restore(str(path)) if path.is_file() else None
        if index is None:
            raise ModelError(f"{path}: there is no index in it: 'fathom index' makes one")
        if (len(index), index.ndim) != (len(vectors) - 1, vectors.shape[1]):
            told = f"{len(index):,} items of {index.ndim} numbers, but the model has {len(vectors) - 1:,} of {vectors.shape[1]}"
            raise ModelError(f"{path}: it was made of {told}: make it again")
        return cls(index)


class Qdrant:
    """A collection of Qdrant. Other programs may read it: each point is an item, its id the item's, with name, title and attributes.

    Its name is an alias of a collection that is filled first and then put in the place of the one before: who asks meanwhile gets the
    old one whole, and a filling that is interrupted leaves it as it is.
    """

    def __init__(self, client: Any, name: str, *, breadth: int, everything: bool) -> None:
        """`everything`: it looks at every vector, as it does inside this process, and has no breadth."""
        self._client = client
        self._name = name
        self._breadth = breadth
        self._everything = everything

    @classmethod
    def build(cls, place: str, name: str, vectors: Floats, catalog: Catalog, *, breadth: int) -> "Qdrant":
        """Fill the collection `name` at `place` with the rows 1 to N of `vectors` (N + 1, d)."""
        client, models = _client(place), _models()
        full = f"{name}-{fingerprint(vectors)}"
        with _telling(place):
            before = _behind(client, name)
            if before == full:  # it was filled with these very vectors, and whole: else nothing would stand for it
                return cls(client, name, breadth=breadth, everything=place.startswith(LOCAL))
            if client.collection_exists(full):  # of a filling that was interrupted
                client.delete_collection(full)
            client.create_collection(
                full,
                vectors_config=models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT),
                hnsw_config=models.HnswConfigDiff(ef_construct=max(breadth, 4)),
            )
            for start in range(1, len(vectors), AT_ONCE):
                ids = list(range(start, min(start + AT_ONCE, len(vectors))))
                payloads = [_payload(catalog, item) for item in ids]
                points = models.Batch(ids=ids, vectors=vectors[start : start + len(ids)].tolist(), payloads=payloads)
                client.upsert(full, points, wait=True)
            alias = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=full, alias_name=name))
            client.update_collection_aliases([alias])
            if before is not None:
                client.delete_collection(before)
        return cls(client, name, breadth=breadth, everything=place.startswith(LOCAL))

    @classmethod
    def load(cls, place: str, name: str, vectors: Floats, *, breadth: int = 128) -> "Qdrant":
        """The collection `name` at `place`, which must have been filled with these very vectors."""
        client = _client(place)
        with _telling(place):
            behind = _behind(client, name)
        if behind is None:
            raise ModelError(f"{place} has no collection '{name}': 'fathom index ... --at {place}' makes it")
        if behind != f"{name}-{fingerprint(vectors)}":
            raise ModelError(f"{place}: the collection '{name}' was made of other vectors than this model's: make it again")
        return cls(client, name, breadth=breadth, everything=place.startswith(LOCAL))

    @classmethod
    def there(cls, place: str, name: str) -> bool:
        """Whether there is such a collection."""
        client = _client(place)
        with _telling(place):
            found = _behind(client, name) is not None
        client.close()  # of a folder, which one client holds at a time
        return found

    def near(self, queries: Floats, most: int) -> Ints:
        """As `Near` says."""
        models = _models()
        how = None if self._everything else models.SearchParams(hnsw_ef=max(self._breadth, most))
        asked = [models.QueryRequest(query=query, limit=most, params=how, with_payload=False) for query in queries.tolist()]
        with _telling("Qdrant"):
            answers = self._client.query_batch_points(self._name, requests=asked)
        found = np.full((len(queries), most), PAD, dtype=np.int64)
        for row, answer in enumerate(answers):
            ids = [point.id for point in answer.points]
            found[row, : len(ids)] = ids
        return found


def fingerprint(vectors: Floats) -> str:
    """Changes with the vectors."""
    return hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()[:16]


def _payload(catalog: Catalog, item: int) -> Mapping[str, Any]:
    attributes = {name: list(values[item - 1]) for name, values in catalog.attributes.items()}
    return {"name": catalog.names[item - 1], "title": catalog.title(item), **attributes}


def _behind(client: Any, name: str) -> str | None:
    """The collection that the alias stands for."""
    return next((one.collection_name for one in client.get_aliases().aliases if one.alias_name == name), None)


def _client(place: str) -> Any:
    try:
        from qdrant_client import QdrantClient
    except ModuleNotFoundError as error:
        raise MissingExtraError("qdrant_client", "qdrant") from error
    if place.startswith(LOCAL):
        Path(place.removeprefix(LOCAL)).mkdir(parents=True, exist_ok=True)
        try:
            return QdrantClient(path=place.removeprefix(LOCAL), force_disable_check_same_thread=True)
        except RuntimeError as error:  # Qdrant's own word for a folder that another process holds
            raise ConfigError(f"{place}: another process uses this folder: end it, or run a Qdrant server, which many may ask") from error
    if not place.startswith(("http://", "https://")):
        raise ConfigError(f"{place}: not a place for an index; write http://HOST:6333 for a Qdrant server, or {LOCAL}FOLDER")
    return QdrantClient(url=place, api_key=os.environ.get(KEY) or None, check_compatibility=False, timeout=60)


@contextmanager
def _telling(place: str) -> Iterator[None]:
    """What goes wrong between here and the server is told in one line."""
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except ResponseHandlingException as error:
        raise ModelError(f"{place}: no Qdrant answers there ({error})") from error
    except UnexpectedResponse as error:
        told = f"; set {KEY}" if error.status_code in (401, 403) else ""
        raise ModelError(f"{place}: Qdrant refuses with {error.status_code} {error.reason_phrase}{told}") from error


def _models() -> Any:
    from qdrant_client import models

    return models


def _usearch() -> Any:
    try:
        from usearch import index
    except ModuleNotFoundError as error:
        raise MissingExtraError("usearch", "index") from error
    return index
