"""A log and what is said of its items become a `Dataset`; whatever is left out or mended is counted in its notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from fathom.data.columns import LABELS, NUMBERS, names, numbers, refuse_unknown_columns, take_columns, times
from fathom.data.dataset import Dataset
from fathom.data.frames import Table
from fathom.data.titles import LONGEST, display_titles, single_line
from fathom.errors import DataError
from fathom.records import Catalog, EventColumn, Floats, Interactions, Ints


@dataclass(frozen=True, slots=True)
class ItemText:
    """What a source says of one item."""

    title: str
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attribute name -> values; absent names mean none."""
    description: str = ""
    hints: tuple[str, ...] = ()
    """What tells items of one title apart, the most telling first."""


@dataclass(frozen=True, slots=True)
class Log:
    """Interactions as they came, in columns."""

    frame: pl.DataFrame
    """user, item (categories), and where known rating (float), time (seconds), position (number), labels.NAME (categories),
    numbers.NAME (float); rows in the order of the source."""
    notes: tuple[str, ...] = ()


def log_of(table: Table, taken: Mapping[str, str]) -> Log:
    """The log in `table`, whose roles are played by the columns `taken`; rows without user, item or place in time are left out."""
    columns = {"user": names(table, taken["user"]), "item": names(table, taken["item"])}
    notes = [*table.notes]
    if "time" in taken:
        columns["time"], note = times(table, taken["time"])
        notes += [note] if note else []
    for role in ("rating", "position"):
        if role in taken:
            columns[role] = numbers(table, taken[role])
    columns |= {role: names(table, column) for role, column in taken.items() if role.startswith(LABELS)}
    columns |= {role: numbers(table, column) for role, column in taken.items() if role.startswith(NUMBERS)}
    frame = pl.DataFrame({role: column.rename(role) for role, column in columns.items()})
    needed = ["user", "item", "position"] if "position" in taken else ["user", "item", "time"] if "time" in taken else ["user", "item"]
    for role in needed:
        missing = int(frame[role].null_count())
        if missing:
            frame = frame.filter(pl.col(role).is_not_null())
            notes.append(f"{missing:,} rows without {'an' if role == 'item' else 'a'} {role} (column '{taken[role]}') were left out")
    unrated = int(frame["rating"].null_count()) if "rating" in taken else 0
    if unrated:
        notes.append(f"{unrated:,} interactions have no rating; they stay, unrated")
    return Log(frame, tuple(notes))


def assemble(
    log: Log,
    items: Mapping[str, ItemText],
    *,
    name: str,
    source: str,
    licence: str,
    renumber: int | None = None,
    repeats: bool = False,
    untaken: bool = False,
) -> Dataset:
    """The dataset of `log`, its items described by `items`.

    Order: by position if there is one, else by time, else as the rows stand; ties stay in the order of the rows. Of several
    interactions of one user with one item the first is kept (all of them with `repeats`). Users are numbered by name; items in
    the order of `items`, or at random by the seed `renumber`. Items that nobody took are left out, unless `untaken`
    says that they can be asked for; items without a text keep their name as title.
    """
    notes = list(log.notes)
    users = _sorted_names(log.frame["user"])
    events = _ordered(log.frame.with_columns(_places(log.frame["user"], users).alias("user_index")).drop("user"), notes)
    if not repeats:
        once = events.unique(["user_index", "item"], keep="first", maintain_order=True)
        if len(once) < len(events):
            notes.append(f"{len(events) - len(once):,} repeated (user, item) pairs were left out: the first of each was kept")
        events = once
    if events.is_empty():
        raise DataError(f"{source}: no interaction is left; " + "; ".join(notes))
    if len(users) == 1:
        raise DataError(
            f"{source}: there is only one user ('{users[0]}'): a recommender learns from several; is the user column the right one?"
        )
    item_names = _item_order(events, items, notes=notes, source=source, untaken=untaken)
    if renumber is not None:
        item_names = [item_names[place] for place in np.random.default_rng(renumber).permutation(len(item_names))]
        notes.append(f"item ids were given at random (seed {renumber}), so that an id tells nothing of its item")
    catalog = _catalog(item_names, items, notes)
    return Dataset(name, catalog, _interactions(events, users, item_names), tuple(notes), source, licence)


def items_of(table: Table, taken: Mapping[str, str]) -> tuple[dict[str, ItemText], tuple[str, ...]]:
    """What `table` says of its items, and notes; of several rows of one item the first counts. Attribute texts are split at '|'."""
    keys = names(table, taken["item"])
    columns = {
        role: table.frame[column] for role, column in taken.items() if role in ("title", "description") or role.startswith("attributes.")
    }
    rows = pl.DataFrame({"item": keys} | {role: column.rename(role) for role, column in columns.items()})
    items: dict[str, ItemText] = {}
    for row in rows.filter(pl.col("item").is_not_null()).unique("item", keep="first", maintain_order=True).iter_rows(named=True):
        attributes = {role.removeprefix("attributes."): _values(row[role]) for role in columns if role.startswith("attributes.")}
        hints = tuple("/".join(values) for values in attributes.values())
        description = " ".join(_values(row["description"])) if "description" in columns else ""
        title = " ".join(_values(row["title"])) if "title" in columns else ""
        items[str(row["item"])] = ItemText(title or str(row["item"]), attributes, description, hints)
    notes = []
    unnamed, repeated = int(keys.null_count()), len(keys.drop_nulls()) - len(items)
    if unnamed:
        notes.append(f"{table.origin}: {unnamed:,} rows without an item id were left out")
    if repeated:
        notes.append(f"{table.origin}: {repeated:,} rows repeat an item id; the first row of each counts")
    return items, (*table.notes, *notes)


def dataset_of(
    table: Table,
    item_table: Table | None,
    *,
    columns: Mapping[str, str],
    name: str,
    source: str,
    renumber: int | None,
    repeats: bool,
) -> Dataset:
    """The dataset of a log of one's own and, if there is one, a table of its items; `columns` names columns by role."""
    refuse_unknown_columns(columns, [table] if item_table is None else [table, item_table])
    taken = take_columns(table, columns, needed=("user", "item"))
    log = log_of(table, taken)
    told = [
        f"{table.origin}: "
        + ", ".join(f"{role} = '{taken[role]}'" for role in ("user", "item", "time", "position", "rating") if role in taken)
    ]
    if item_table is None:
        texts = [role for role in taken if role in ("title", "description") or role.startswith("attributes.")]
        items, notes = items_of(Table(table.frame, table.origin), taken) if texts else ({}, ())
        notes = tuple(
            note for note in notes if "repeat an item id" not in note and "without an item id" not in note
        )  # a log repeats its items
    else:
        described = take_columns(item_table, columns, needed=("item",))
        told.append(
            f"{item_table.origin}: "
            + ", ".join(f"{role} = '{column}'" for role, column in described.items() if role not in ("user", "time"))
        )
        items, notes = items_of(item_table, described)
    whole = Log(log.frame, (*told, *log.notes, *notes))
    return assemble(whole, items, name=name, source=source, licence="", renumber=renumber, repeats=repeats)


def _values(value: object) -> tuple[str, ...]:
    """A cell as its values: a list as it is, a text split at '|', nothing where there is none."""
    if value is None:
        return ()
    parts = [str(part) for part in value if part is not None] if isinstance(value, list) else str(value).split("|")
    return tuple(text for text in (single_line(part) for part in parts) if text)


def _ordered(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    for key in ("position", "time"):
        if key in frame.columns:
            return frame.sort("user_index", key, maintain_order=True)  # a stable sort: ties stay as the rows stand
    notes.append("there is neither time nor position: the rows are taken to stand in the order of time")
    return frame.sort("user_index", maintain_order=True)


def _sorted_names(column: pl.Series) -> list[str]:
    """The distinct names: by number if all are whole numbers, else by text."""
    distinct = column.unique().cast(pl.String).sort()
    as_numbers = distinct.cast(pl.Int64, strict=False)
    return (distinct if as_numbers.null_count() else distinct.gather(as_numbers.arg_sort())).to_list()


def _places(column: pl.Series, known: Sequence[str]) -> pl.Series:
    """For each row the place of its name in `known` (int32), null where there is none."""
    kinds = {"name": pl.Categorical, "place": pl.Int32}
    places = pl.DataFrame({"name": known, "place": range(len(known))}, schema_overrides=kinds)
    return pl.DataFrame({"name": column}).join(places, on="name", how="left", maintain_order="left")["place"]


def _item_order(events: pl.DataFrame, items: Mapping[str, ItemText], *, notes: list[str], source: str, untaken: bool = False) -> list[str]:
    taken = _sorted_names(events["item"])
    if not items:
        notes.append(f"nothing is said of the {len(taken):,} items: their ids stand as titles")
        return taken
    there = set(taken)
    known = [item for item in items if untaken or item in there]
    strangers = [item for item in taken if item not in items]
    if len(strangers) > len(known):
        example = next(iter(items))
        raise DataError(
            f"{source}: {len(strangers):,} of the {len(taken):,} items of the log are not in the catalogue (the log has '{strangers[0]}', "
            f"the catalogue '{example}'): do both files use the same ids?"
        )
    if strangers:
        count = int(events["item"].is_in(strangers).sum())
        notes.append(f"{len(strangers):,} items of the log ({count:,} interactions) are not in the catalogue: their ids stand as titles")
    if len(known) < len(items):
        notes.append(f"{len(items) - len(known):,} items of the catalogue were taken by nobody and left out")
    return known + strangers


def _catalog(item_names: list[str], items: Mapping[str, ItemText], notes: list[str]) -> Catalog:
    texts = [items.get(item) or ItemText(item) for item in item_names]
    titles = display_titles([text.title for text in texts], [text.hints for text in texts])
    plain = [single_line(text.title) for text in texts]
    told_apart = sum(len(was) <= LONGEST and now != was for was, now in zip(plain, titles, strict=True))
    cut = sum(len(was) > LONGEST for was in plain)
    notes += [f"{told_apart:,} titles got an addition in brackets, because other items share them"] if told_apart else []
    notes += [f"{cut:,} titles longer than {LONGEST} characters were cut"] if cut else []
    attribute_names = list(dict.fromkeys(name for text in texts for name, values in text.attributes.items() if values))
    return Catalog(
        names=tuple(item_names),
        titles=titles,
        attributes={name: tuple(tuple(map(single_line, text.attributes.get(name, ()))) for text in texts) for name in attribute_names},
        descriptions=tuple(single_line(text.description) for text in texts) if any(text.description for text in texts) else (),
    )


def _interactions(events: pl.DataFrame, users: list[str], item_names: list[str]) -> Interactions:
    counts = np.bincount(events["user_index"].to_numpy(), minlength=len(users))
    ratings: Floats | None = None
    if "rating" in events.columns and events["rating"].count():
        ratings = events["rating"].fill_null(float("nan")).to_numpy().astype(np.float32)
    seconds: Ints | None = None
    if "time" in events.columns and events["time"].count():
        seconds = events["time"].fill_null(-1).to_numpy().astype(np.int64)
    columns = {}
    for role in events.columns:
        if role.startswith(LABELS):
            known = _sorted_names(events[role].drop_nulls())
            columns[role.removeprefix(LABELS)] = EventColumn(_float32(_places(events[role], known) + 1), tuple(known))
        elif role.startswith(NUMBERS):
            columns[role.removeprefix(NUMBERS)] = EventColumn(_float32(events[role]))
    return Interactions(
        users=tuple(users),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=_places(events["item"], item_names).to_numpy().astype(np.int64) + 1,
        ratings=ratings,
        times=seconds,
        columns=columns,
    )


def _float32(column: pl.Series) -> Floats:
    """The numbers, NaN where there is none."""
    return column.cast(pl.Float32).fill_null(float("nan")).to_numpy().astype(np.float32)
