"""The one door: a file or folder in any known layout becomes a `Dataset`."""

from collections.abc import Mapping
from pathlib import Path

from narwhals.typing import IntoFrame

from fathom.data import amazon, atomic, llmrank, merlin, movielens
from fathom.data.assemble import dataset_of
from fathom.data.columns import named
from fathom.data.dataset import Dataset
from fathom.data.frames import from_frame, read_table
from fathom.data.reading import Reading, Source
from fathom.errors import ConfigError, DataError, suggestion

_TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".txt.gz", ".jsonl.gz")
_LOG_STEMS = ("interactions", "ratings", "events", "log", "reviews")
_ITEM_STEMS = ("items", "movies", "catalog", "products")


def read(
    path: Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    items: Path | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    name: str | None = None,
    renumber: int | None = None,
    repeats: bool = False,
    priced: bool = False,
    reviews: bool = False,
) -> Dataset:
    """The dataset in `path`, a file or folder; `format` is a key of `SOURCES`, None finds it out.

    For tables of one's own: `columns` maps roles (user, item, time, position, rating, title, description, attributes.NAME) to
    columns, `items` is a table of the items, `separator` and `encoding` say how text is written. `renumber` seeds a random
    order of item ids; `repeats` keeps later interactions of a user with the same item; `priced` leaves out items whose price is no
    number; `reviews` keeps what people wrote. What was left out or mended stands in `Dataset.notes`; what cannot be read is a
    `DataError`, a choice that the format has no use for a `ConfigError`.
    """
    reading = Reading(
        columns=dict(columns or {}),
        items=items,
        separator=separator,
        encoding=encoding,
        name=name,
        renumber=renumber,
        repeats=repeats,
        priced=priced,
        reviews=reviews,
    )
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if format is not None and format not in SOURCES:
        raise ConfigError(f"unknown format '{format}'{suggestion(format, SOURCES)}")
    chosen = format if format is not None else recognise(path)
    source = SOURCES[chosen]
    for choice in sorted(reading.model_fields_set):
        if choice not in source.uses and getattr(reading, choice) != Reading.model_fields[choice].get_default(call_default_factory=True):
            raise ConfigError(f"'{choice}' says nothing to the format '{chosen}': leave it out, or write  --format table")
    return source.read(path, reading)


def recognise(path: Path) -> str:
    """The key of `SOURCES` whose layout `path` has; a `DataError` where none fits."""
    for key, source in SOURCES.items():
        if source.recognises(path):
            return key
    if path.suffix == ".zip":
        raise DataError(f"{path}: unpack the archive first, or let  fathom data get NAME --from {path.parent}  do it")
    there = ", ".join(sorted(entry.name for entry in path.iterdir())[:12]) or "nothing" if path.is_dir() else path.name
    raise DataError(
        f"{path}: no known layout (there is {there}): name one table (.csv, .tsv, .parquet, .jsonl), "
        f"or say which it is with  --format  and one of {', '.join(SOURCES)}"
    )


def from_frames(
    interactions: IntoFrame,
    items: IntoFrame | None = None,
    *,
    name: str = "frame",
    columns: Mapping[str, str] | None = None,
    renumber: int | None = None,
    repeats: bool = False,
) -> Dataset:
    """The dataset of frames in memory (pandas, polars, pyarrow, duckdb, ...), read as a table of one's own is."""
    return dataset_of(
        from_frame(interactions),
        None if items is None else from_frame(items),
        columns=columns or {},
        name=name,
        source=name,
        renumber=renumber,
        repeats=repeats,
    )


def _read_table(path: Path, reading: Reading) -> Dataset:
    log_path, beside = _tables(path)
    items = reading.items or beside
    table = read_table(
        log_path,
        separator=reading.separator,
        encoding=reading.encoding,
        choice=lambda there: named(there, reading.columns, needed=("user", "item")),
    )
    return dataset_of(
        table,
        None if items is None else read_table(items, separator=reading.separator, encoding=reading.encoding),
        columns=reading.columns,
        name=reading.name or (path.resolve().name if path.is_dir() else path.name.split(".")[0]),
        source=str(path),
        renumber=reading.renumber,
        repeats=reading.repeats,
    )


def _tables(path: Path) -> tuple[Path, Path | None]:
    """The log and the item table that `path` stands for: a file, or a folder with files named as such."""
    if not path.is_dir() or _is_parts(path):
        return path, None
    logs, items = _named(path, _LOG_STEMS), _named(path, _ITEM_STEMS)
    if len(logs) != 1:
        raise DataError(f"{path}: one table named {' or '.join(_LOG_STEMS)} is needed in a folder, found {len(logs)}: name the file itself")
    return logs[0], items[0] if len(items) == 1 else None


def _named(folder: Path, stems: tuple[str, ...]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.name.endswith(_TABLE_ENDINGS) and file.name.split(".")[0].lower() in stems)


def _is_table(path: Path) -> bool:
    if path.is_file() or _is_parts(path):
        return path.name.endswith(_TABLE_ENDINGS)
    return path.is_dir() and len(_named(path, _LOG_STEMS)) == 1


def _is_parts(path: Path) -> bool:
    """Whether it is a folder of the parts of one Parquet table, as Spark writes them: named as the table is."""
    return path.is_dir() and path.suffix in (".parquet", ".pq")


def _load(path: Path, reading: Reading) -> Dataset:
    del reading  # a dataset is taken as it is: it listens to no choice
    return Dataset.load(path)


SOURCES: dict[str, Source] = {
    "dataset": Source("a dataset folder of Fathom", lambda path: (path / "dataset.json").is_file(), _load, frozenset()),
    **movielens.SOURCES,
    **amazon.SOURCES,
    **atomic.SOURCES,
    **merlin.SOURCES,
    **llmrank.SOURCES,
    "table": Source(
        "a table of one's own: CSV, TSV, Parquet or JSON lines, or a folder with interactions.* and items.*",
        _is_table,
        _read_table,
        frozenset(Reading.model_fields),
    ),
}
"""Format name -> how it is recognised and read; the first that recognises a path reads it."""
