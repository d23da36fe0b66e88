"""A dataset: catalogue and interactions with their history, kept as a folder of Parquet and JSON.

interactions.parquet  one row a user: user, items, and where known ratings, times; each a list, oldest first
catalog.parquet       one row an item, row i - 1 is item id i: name, title, description, one list column 'attributes.NAME' each
dataset.json          schema, name, source, licence, notes, counts, fingerprint
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from fathom.errors import DataError
from fathom.files import Json, folder_written_aside, read_json, write_json
from fathom.records import Catalog, EventColumn, Floats, Interactions, Ints

SCHEMA = "fathom-dataset/1"
"""Stands in `dataset.json`; another one is refused."""

_ATTRIBUTE = "attributes."
_COLUMN = "column."


@dataclass(frozen=True)
class Dataset:
    """Items, who took what in which order, and how it came to be; a contradiction between them is a `DataError`."""

    name: str
    catalog: Catalog
    interactions: Interactions
    notes: tuple[str, ...] = ()
    """What was done to the source, each with its count, in the order it was done."""
    source: str = ""
    """Where it came from: a file, an address, a simulator and its seed."""
    licence: str = ""
    """One sentence on the terms of use; '' where unknown."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, offsets that go back, unknown item ids, names that occur twice."""
        _check_catalog(self.catalog)
        _check_interactions(self.interactions, self.catalog.n_items)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over catalogue and interactions; not over name, notes or the files' layout. One changed rating changes it."""
        digest = hashlib.sha256(SCHEMA.encode())
        catalog, interactions = self.catalog, self.interactions
        for texts in (catalog.names, catalog.titles, catalog.descriptions, tuple(catalog.attributes), interactions.users):
            _add_texts(digest, texts)
        for values in catalog.attributes.values():
            _add_array(digest, np.fromiter((len(item) for item in values), np.int64, len(values)))
            _add_texts(digest, [value for item in values for value in item])
        ratings = interactions.ratings
        if ratings is not None:  # NaN has many bit patterns; one of them stands for all
            ratings = np.where(np.isnan(ratings), np.float32("nan"), ratings).astype(np.float32)
        for array in (interactions.offsets, interactions.items, ratings, interactions.times):
            _add_array(digest, array)
        for name, column in sorted(interactions.columns.items()):
            _add_texts(digest, (name, *column.names))
            _add_array(digest, np.where(np.isnan(column.values), np.float32("nan"), column.values).astype(np.float32))
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the dataset as `folder`, whole or not at all; a dataset that is there already is replaced."""
        if folder.exists() and not (folder / "dataset.json").exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
            raise DataError(f"{folder} exists and is not a dataset: it will not be overwritten; name another folder")
        with folder_written_aside(folder) as aside:
            _catalog_frame(self.catalog).write_parquet(aside / "catalog.parquet")
            _interactions_frame(self.interactions).write_parquet(aside / "interactions.parquet")
            description = {
                "schema": SCHEMA,
                "name": self.name,
                "source": self.source,
                "licence": self.licence,
                "notes": list(self.notes),
                "users": self.interactions.n_users,
                "items": self.catalog.n_items,
                "interactions": self.interactions.n_events,
                "fingerprint": self.fingerprint,
                "columns": {name: list(column.names) for name, column in self.interactions.columns.items()},
            }
            write_json(aside / "dataset.json", description)

    @staticmethod
    def load(folder: Path) -> "Dataset":
        """The dataset in `folder`; missing or broken files, or files changed since they were written, are a `DataError`."""
        if not (folder / "dataset.json").is_file():
            raise DataError(
                f"{folder} is not a dataset (there is no dataset.json in it): make one with  fathom data import SOURCE {folder}"
            )
        description = read_json(folder / "dataset.json")
        if not isinstance(description, dict) or description.get("schema") != SCHEMA:
            raise DataError(f"{folder / 'dataset.json'}: the schema is not '{SCHEMA}': import the source again")
        catalog = _catalog_of(_parquet(folder / "catalog.parquet", ("name", "title")))
        told = description.get("columns", {})
        names = {name: tuple(map(str, known)) for name, known in told.items()} if isinstance(told, dict) else {}  # type: ignore[arg-type]
        needed = ("user", "items", *(_COLUMN + name for name in names))
        interactions = _interactions_of(_parquet(folder / "interactions.parquet", needed), names)
        notes = description.get("notes")
        dataset = Dataset(
            name=_text(description, "name"),
            catalog=catalog,
            interactions=interactions,
            notes=tuple(str(note) for note in notes) if isinstance(notes, list) else (),
            source=_text(description, "source"),
            licence=_text(description, "licence"),
        )
        if dataset.fingerprint != description.get("fingerprint"):
            raise DataError(
                f"{folder}: its files are not those that dataset.json describes (the fingerprint differs): import the source again"
            )
        return dataset

    def summary(self) -> str:
        """Name and counts in one line."""
        interactions = self.interactions
        return f"{self.name}: {interactions.n_users:,} users, {self.catalog.n_items:,} items, {interactions.n_events:,} interactions"


def _check_catalog(catalog: Catalog) -> None:
    lengths = {"titles": len(catalog.titles)} | {name: len(column) for name, column in catalog.attributes.items()}
    if catalog.descriptions:
        lengths["descriptions"] = len(catalog.descriptions)
    for column, length in lengths.items():
        if length != catalog.n_items:
            raise DataError(f"the catalogue has {catalog.n_items} items but {length} entries of '{column}': give one entry per item")
    _check_names(catalog.names, "item")


def _check_interactions(interactions: Interactions, n_items: int) -> None:
    offsets, items = interactions.offsets, interactions.items
    if len(offsets) != interactions.n_users + 1 or offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
        raise DataError(f"the offsets of {interactions.n_users} users must rise from 0 to {len(items)}, the number of interactions")
    if len(items) and (items.min() < 1 or items.max() > n_items):
        wrong = items[(items < 1) | (items > n_items)][0]
        raise DataError(f"item id {wrong} is not in the catalogue, whose ids are 1 to {n_items}")
    for name, column in (("ratings", interactions.ratings), ("times", interactions.times)):
        if column is not None and len(column) != len(items):
            raise DataError(f"there are {len(items)} interactions but {len(column)} {name}: give one per interaction, or None")
    for name, told in interactions.columns.items():
        if len(told.values) != len(items):
            raise DataError(f"there are {len(items)} interactions but {len(told.values)} values of '{name}': give one per interaction")
    _check_names(interactions.users, "user")


def _check_names(names: Sequence[str], kind: str) -> None:
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"the {kind} name '{twice}' occurs twice: every {kind} needs a name of its own")


def _add_texts(digest: "hashlib._Hash", texts: Sequence[str]) -> None:
    encoded = [text.encode() for text in texts]
    _add_array(digest, np.fromiter((len(text) for text in encoded), np.int64, len(encoded)))
    digest.update(b"".join(encoded))


def _add_array(digest: "hashlib._Hash", array: npt.NDArray[np.generic] | None) -> None:
    if array is None:
        digest.update(b"none")
        return
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest.update(f"{little.dtype.kind}{little.dtype.itemsize}{little.shape}".encode())
    digest.update(little.tobytes())


def _catalog_frame(catalog: Catalog) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {
        "name": pl.Series(catalog.names, dtype=pl.String),
        "title": pl.Series(catalog.titles, dtype=pl.String),
    }
    if catalog.descriptions:
        columns["description"] = pl.Series(catalog.descriptions, dtype=pl.String)
    for name, values in catalog.attributes.items():
        columns[_ATTRIBUTE + name] = pl.Series([list(item) for item in values], dtype=pl.List(pl.String))
    return pl.DataFrame(columns)


def _catalog_of(frame: pl.DataFrame) -> Catalog:
    attributes = {
        column.removeprefix(_ATTRIBUTE): tuple(tuple(values) for values in frame[column].to_list())
        for column in frame.columns
        if column.startswith(_ATTRIBUTE)
    }
    return Catalog(
        names=tuple(frame["name"].to_list()),
        titles=tuple(frame["title"].to_list()),
        attributes=attributes,
        descriptions=tuple(frame["description"].to_list()) if "description" in frame.columns else (),
    )


def _interactions_frame(interactions: Interactions) -> pl.DataFrame:
    owner = np.repeat(np.arange(interactions.n_users), np.diff(interactions.offsets))
    events = pl.DataFrame({"owner": owner, "items": interactions.items})
    if interactions.ratings is not None:
        events = events.with_columns(pl.Series("ratings", interactions.ratings, dtype=pl.Float32))
    if interactions.times is not None:
        events = events.with_columns(pl.Series("times", interactions.times, dtype=pl.Int64))
    events = events.with_columns([pl.Series(_COLUMN + name, told.values, dtype=pl.Float32) for name, told in interactions.columns.items()])
    users = pl.DataFrame({"owner": np.arange(interactions.n_users), "user": pl.Series(interactions.users, dtype=pl.String)})
    lists = events.group_by("owner", maintain_order=True).all()
    joined = users.join(lists, on="owner", how="left", maintain_order="left").drop("owner")
    return joined.with_columns(pl.exclude("user").fill_null([]))


def _interactions_of(frame: pl.DataFrame, names: Mapping[str, tuple[str, ...]]) -> Interactions:
    counts = frame["items"].list.len().to_numpy()
    events = frame.filter(pl.col("items").list.len() > 0)
    return Interactions(
        users=tuple(frame["user"].to_list()),
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        items=_long(events, "items"),
        ratings=_floats(events, "ratings") if "ratings" in frame.columns else None,
        times=_long(events, "times") if "times" in frame.columns else None,
        columns={name: EventColumn(_floats(events, _COLUMN + name), told) for name, told in names.items()},
    )


def _long(frame: pl.DataFrame, column: str) -> Ints:
    return frame[column].explode().cast(pl.Int64).to_numpy().astype(np.int64)


def _floats(frame: pl.DataFrame, column: str) -> Floats:
    return frame[column].explode().cast(pl.Float32).to_numpy().astype(np.float32)


def _parquet(path: Path, needed: Sequence[str]) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file, so the dataset is not whole: import the source again")
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.ComputeError as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})") from error
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise DataError(f"{path}: there is no column '{missing[0]}' in it (its columns are {', '.join(frame.columns)})")
    return frame


def _text(description: dict[str, Json], key: str) -> str:
    value = description.get(key, "")
    return value if isinstance(value, str) else ""
