"""Parquet with a schema, as NVTabular writes it for Transformers4Rec: a row is a session, its columns are lists as long as it."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fathom.data.assemble import Log, assemble, items_of, log_of
from fathom.data.columns import LABELS, NUMBERS
from fathom.data.dataset import Dataset
from fathom.data.frames import Table
from fathom.data.reading import Reading, Source
from fathom.errors import DataError

CLOCK = 1e8
"""A time feature whose largest value is smaller is an hour, a weekday or an age, and no moment."""

_TOKENS = re.compile(r'\s+|#[^\n]*|(?P<open>[\w.]+\s*:?\s*\{)|(?P<close>\})|(?P<pair>[\w.]+)\s*:\s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s{}]+)')


@dataclass(frozen=True, slots=True)
class Feature:
    """What a schema says of a column."""

    name: str
    tags: frozenset[str]
    """In small letters, 'item_id' however it is spelt."""


def read_merlin(path: Path, reading: Reading) -> Dataset:
    """The dataset of the folder `path`: one schema (.pbtxt) and Parquet files, in any folders below it, in the order of their names.

    The column tagged `item_id` holds the items; of the columns tagged `time`, the first that holds moments gives the times; one tagged
    `session_id`, `user_id` or `groupby_col` the sessions' names, else their numbers do. Other columns tagged `item` and `categorical` are
    attributes of the items; what else is `categorical` or `continuous` is kept for each event.
    """
    features = schema_of_text(next(path.glob("*.pbtxt")))
    item = _item(features, path)
    lists, origin = _events(path, features), str(path)
    table = Table(_exploded(lists, item, features, origin), origin)
    taken = {"user": "session", "item": item, "position": "place"}
    if (moment := _moment(table.frame, features)) is not None:
        taken["time"] = moment
    attributes = {
        f"attributes.{_plain(feature.name)}": feature.name
        for feature in features
        if {"item", "categorical"} <= feature.tags and feature.name != item and feature.name in table.frame.columns
    }
    for feature in features:
        if feature.name in table.frame.columns and feature.name not in (*taken.values(), *attributes.values()):
            if "categorical" in feature.tags:
                taken[LABELS + _plain(feature.name)] = feature.name
            elif "continuous" in feature.tags:
                taken[NUMBERS + _plain(feature.name)] = feature.name
    as_texts = [pl.col(name).cast(pl.String) for name in attributes.values()]
    items, _ = items_of(Table(table.frame.with_columns(as_texts), origin), {"item": item} | attributes) if attributes else ({}, ())
    log = log_of(table, taken)
    told = f"{origin}: " + ", ".join(f"{role} = '{column}'" for role, column in (taken | attributes).items())
    return assemble(
        Log(log.frame, (told, *log.notes)),
        items,
        name=reading.name or path.resolve().name,
        source=origin,
        licence="",
        renumber=reading.renumber,
        repeats=reading.repeats,
    )


def schema_of_text(path: Path) -> list[Feature]:
    """The features in a schema written as protobuf text; what cannot be read is a `DataError` with its line."""
    text = path.read_text(encoding="utf-8")
    features: list[Feature] = []
    depth, name, tags, at = 0, "", set[str](), 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise DataError(f"{path} line {line}: expected 'feature {{', 'name: \"...\"' or '}}', found '{text[at:].splitlines()[0][:40]}'")
        if found["open"] is not None:
            depth += 1
            if depth == 1:
                name, tags = "", set()
        elif found["close"] is not None:
            depth -= 1
            if depth == 0 and name:
                features.append(Feature(name, frozenset(tags)))
        elif found["pair"] == "name" and depth == 1:
            name = found["value"].strip('"')
        elif found["pair"] == "tag":
            tags.add(found["value"].strip('"').lower())
        at = found.end()
    if depth:
        raise DataError(f"{path}: it ends inside a feature: a '}}' is missing")
    return features


def _item(features: list[Feature], path: Path) -> str:
    items = [feature.name for feature in features if "item_id" in feature.tags]
    if len(items) != 1:
        told = ", ".join(items) or "none"
        raise DataError(f"{path}: {len(items)} features of its schema have the tag item_id ({told}): exactly one must")
    return items[0]


def _events(path: Path, features: list[Feature]) -> pl.DataFrame:
    """The columns of the Parquet files that the schema names, a row a session."""
    files = sorted(path.rglob("*.parquet"))
    frames = []
    for file in files:
        try:
            there = pl.read_parquet_schema(file)
            frames.append(pl.read_parquet(file, columns=[feature.name for feature in features if feature.name in there]))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{file}: not a readable Parquet file ({error})") from error
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: its {len(files)} Parquet files have different columns ({error})") from error


def _exploded(sessions: pl.DataFrame, item: str, features: list[Feature], origin: str) -> pl.DataFrame:
    """A row an event: the columns that are lists, the session's name, and the place in it."""
    if item not in sessions.columns:
        raise DataError(f"{origin}: the schema's item_id is '{item}', which the Parquet files do not have: {', '.join(sessions.columns)}")
    lists = [name for name, kind in sessions.schema.items() if isinstance(kind, pl.List)]
    if item not in lists:
        raise DataError(f"{origin}: '{item}' holds {sessions.schema[item]}, but a list of items for each session is needed")
    lengths = sessions[item].list.len()
    for name in lists:
        if len(wrong := (sessions[name].list.len() != lengths).arg_true()):
            row = int(wrong[0])
            told = f"{len(sessions[name][row])} values in '{name}', but {lengths[row]} in '{item}'"
            raise DataError(f"{origin}: row {row + 1} has {told}: all lists of a session must be as long")
    naming = [feature.name for feature in features if feature.tags & {"session_id", "user_id", "groupby_col"}]
    known = next((name for name in naming if name in sessions.columns and name not in lists), None)
    named = pl.col(known).cast(pl.String) if known else pl.int_range(1, pl.len() + 1).cast(pl.String)
    places = pl.int_ranges(pl.col(item).list.len())
    chosen = sessions.select(named.alias("session"), places.alias("place"), *lists).filter(pl.col(item).list.len() > 0)
    return chosen.explode("place", *lists)


def _moment(frame: pl.DataFrame, features: list[Feature]) -> str | None:
    """The first time feature that holds moments."""
    for feature in features:
        if "time" in feature.tags and feature.name in frame.columns:
            largest = frame[feature.name].max()
            if isinstance(largest, int | float) and largest >= CLOCK:
                return feature.name
    return None


def _plain(name: str) -> str:
    """A column's name without what only says that it is a list of a session.

    >>> _plain("category/list"), _plain("sess_bid_seq"), _plain("city-list")
    ('category', 'bid', 'city')
    """
    return re.sub(r"^sess_|[/_-](list|seq)$", "", name)


def _recognises(path: Path) -> bool:
    return path.is_dir() and len(list(path.glob("*.pbtxt"))) == 1 and next(path.rglob("*.parquet"), None) is not None


SOURCES = {
    "merlin": Source("Parquet sessions with a schema (.pbtxt), as Transformers4Rec reads them", _recognises, read_merlin),
}
