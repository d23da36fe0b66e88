"""RecBole's atomic files, read and written: tab-separated, every column named with its type ('user_id:token')."""

from pathlib import Path

import numpy as np
import polars as pl

from fathom.data.assemble import ItemText, Log, assemble, items_of, log_of
from fathom.data.columns import LABELS, NUMBERS, take_columns
from fathom.data.dataset import Dataset
from fathom.data.frames import Table, read_table
from fathom.data.reading import Reading, Source
from fathom.errors import DataError, suggestion
from fathom.files import folder_written_aside

TYPES = ("token", "token_seq", "float", "float_seq")
"""The column types of the format."""

KEPT = {"token": LABELS, "float": NUMBERS}
"""Column type -> as what a column without another part is kept for each event."""

_WHOLE = ("title", "description")


def read_atomic(path: Path, reading: Reading) -> Dataset:
    """The dataset of NAME.inter and, where there, NAME.item; `path` is the folder or the .inter file.

    Columns of NAME.inter that play no other part are kept for each event: tokens as names, floats as numbers.
    """
    inter = _inter(path)
    table = _typed(inter)
    taken = take_columns(table, {}, needed=("user", "item"))
    for name, kind in _kinds(inter).items():
        if name not in taken.values() and kind in KEPT:
            taken[KEPT[kind] + name] = name
    log = log_of(table, taken)
    items: dict[str, ItemText] = {}
    notes: tuple[str, ...] = ()
    if inter.with_suffix(".item").is_file():
        item_table = _typed(inter.with_suffix(".item"))
        items, notes = items_of(item_table, take_columns(item_table, {}, needed=("item",)))
    return assemble(
        Log(log.frame, (*log.notes, *notes)),
        items,
        name=reading.name or inter.stem,
        source=str(path),
        licence="",
        renumber=reading.renumber,
        repeats=reading.repeats,
    )


def write_atomic(dataset: Dataset, folder: Path) -> None:
    """Write `dataset` as the folder `folder` with NAME.inter and NAME.item, NAME being the folder's, whole or not at all.

    Where no times are known, the place in the history stands as timestamp. Attribute values are written with '_' for spaces,
    because the format separates values by spaces.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / f"{folder.name}.inter").exists():
        raise DataError(f"{folder} exists and holds no '{folder.name}.inter': it will not be overwritten; name another folder")
    log, catalog = dataset.interactions, dataset.catalog
    counts = np.diff(log.offsets)
    places = np.arange(log.n_events) - np.repeat(log.offsets[:-1], counts)
    known = log.times is not None and bool((log.times >= 0).all())
    inter = {
        "user_id:token": pl.Series(log.users, dtype=pl.String).gather(np.repeat(np.arange(log.n_users), counts)),
        "item_id:token": pl.Series(catalog.names, dtype=pl.String).gather(log.items - 1),
        "timestamp:float": pl.Series(log.times if known else places),
    }
    if log.ratings is not None:
        inter["rating:float"] = pl.Series(log.ratings).fill_nan(None)
    for name, column in log.columns.items():
        numbers = pl.Series(column.values).fill_nan(None)
        names = pl.Series(["", *column.names], dtype=pl.String)
        inter[f"{name}:{'token' if column.names else 'float'}"] = (
            names.gather(numbers.fill_null(0).cast(pl.Int64)) if column.names else numbers
        )
    item = {
        "item_id:token": pl.Series(catalog.names, dtype=pl.String),
        "title:token_seq": pl.Series(catalog.titles, dtype=pl.String),
    }
    for name, values in catalog.attributes.items():
        item[f"{name}:token_seq"] = pl.Series([" ".join(value.replace(" ", "_") for value in row) for row in values], dtype=pl.String)
    with folder_written_aside(folder) as aside:
        for ending, columns in (("inter", inter), ("item", item)):
            pl.DataFrame(columns).write_csv(aside / f"{folder.name}.{ending}", separator="\t", quote_style="never")


def _kinds(path: Path) -> dict[str, str]:
    """Column -> its type, as the first line says."""
    with path.open(encoding="utf-8") as file:
        return {name: kind for name, _, kind in (column.partition(":") for column in file.readline().rstrip("\r\n").split("\t"))}


def _inter(path: Path) -> Path:
    found = [path] if path.is_file() else sorted(path.glob("*.inter"))
    if len(found) != 1:
        raise DataError(f"{path}: one .inter file is needed, found {len(found)}: name the file itself")
    return found[0]


def _typed(path: Path) -> Table:
    """The table without the types in its column names; sequences become lists, but titles and descriptions stay texts."""
    table = read_table(path, separator="\t")
    plain: dict[str, pl.Expr] = {}
    for column in table.frame.columns:
        name, _, kind = column.partition(":")
        if kind not in TYPES:
            raise DataError(
                f"{path.name} line 1: the column '{column}' does not end in a type, as in '{name}:token'{suggestion(kind, TYPES)}"
            )
        plain[name] = pl.col(column).str.split(" ") if kind.endswith("_seq") else pl.col(column)
    renamed = Table(table.frame.select(**plain), table.origin, table.first_line, table.notes)
    whole = [name for role, name in take_columns(renamed, {}, needed=()).items() if role in _WHOLE]
    joined = [pl.col(name).list.join(" ") for name in whole if renamed.frame.schema[name] == pl.List(pl.String)]
    return Table(renamed.frame.with_columns(joined), table.origin, table.first_line, table.notes)


def _recognises(path: Path) -> bool:
    return path.suffix == ".inter" if path.is_file() else path.is_dir() and len(list(path.glob("*.inter"))) == 1


SOURCES = {"recbole": Source("RecBole atomic files: NAME.inter and NAME.item", _recognises, read_atomic)}
