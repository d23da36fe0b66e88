"""Any file or frame becomes one polars table that remembers where it came from; broken files are told by file and line."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from fathom.errors import DataError

SEPARATORS = (",", "\t", ";", "|")
"""Looked for in the first line of a text table when nobody says how its fields are separated."""

_SEPARATOR_NAMES = {"\t": "a tab", " ": "a space"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and where they came from."""

    frame: pl.DataFrame
    """Text tables: every column is text, an empty field is null. Others: the types they came with."""
    origin: str
    """File name, or what else the rows came from."""
    first_line: int | None = None
    """The line of row 0 in its file (right as long as no field holds a line break); None where rows are no lines."""
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    """Columns of the file that nobody asked for."""

    @property
    def columns(self) -> list[str]:
        """All that the file has, read or not."""
        return [*self.frame.columns, *self.unread]

    def where(self, row: int) -> str:
        """The words that point at row `row` (from 0) in an error."""
        return f"{self.origin} line {row + self.first_line}" if self.first_line is not None else f"{self.origin} row {row + 1}"


Choice = Callable[[Table], Mapping[str, pl.DataType | None]]
"""Given a table without its rows: which of its columns are wanted, and as what; None: as they are."""


def read_table(path: Path, *, separator: str | None = None, encoding: str = "utf-8", choice: Choice | None = None) -> Table:
    """The table in a CSV, TSV, Parquet or JSON-lines file, by its ending; `.gz` may follow any text ending.

    `separator` None: found from the first line. A first line that holds a number is no header: the columns are then named
    '1', '2', ... Of Parquet, a file or a folder of its parts, only what `choice` wants is read, in pieces and never whole; other files are
    read as they are. An empty, misencoded, ragged or unreadable file is a `DataError`.
    """
    kind = _kind(path)
    if kind == "parquet":
        return _read_parquet(path, choice)
    content = read_content(path)
    if kind == "jsonl":
        return _read_json_lines(path, content)
    return _read_text_table(path, decoded(path, content, encoding), separator)


def from_frame(frame: IntoFrame) -> Table:
    """A table from any frame that narwhals knows (pandas, polars, pyarrow, duckdb, ...)."""
    try:
        eager = nw.from_native(frame)
    except TypeError as error:
        raise DataError(f"a {type(frame).__name__} is no frame that can be read: give a pandas, polars, pyarrow or duckdb one") from error
    collected = eager.collect() if isinstance(eager, nw.LazyFrame) else eager
    rows = collected.to_polars()
    if rows.is_empty():
        raise DataError("the frame has no rows: give one row per interaction")
    return Table(rows, origin="the frame")


def read_lines(path: Path, fields: Sequence[str], *, separator: str, encoding: str = "utf-8") -> Table:
    """A headerless text file whose separator may be longer than one character, such as MovieLens' '::'; columns are text."""
    lines = pl.Series("line", decoded(path, read_content(path), encoding).split("\n"), dtype=pl.String).str.strip_chars_end("\r")
    if lines[-1] == "":
        lines = lines[:-1]
    found = lines.str.count_matches(separator, literal=True) + 1
    wrong = (found != len(fields)).arg_true()
    if len(wrong):
        row, line = wrong[0] + 1, _cut(lines[wrong[0]])
        raise DataError(
            f"{path.name} line {row}: expected {len(fields)} fields separated by '{separator}', found {found[row - 1]}: '{line}'"
        )
    parts = lines.str.split_exact(separator, len(fields) - 1).struct.rename_fields(list(fields)).struct.unnest()
    return Table(parts.with_columns(pl.all().replace("", None)), origin=path.name, first_line=1)


def read_content(path: Path) -> bytes:
    """The bytes of `path`, unpacked when it ends in '.gz'; a missing, empty or broken file is a `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file" + (" (it is a folder)" if path.is_dir() else ""))
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: not a whole gzip file ({error}): fetch it again, or take '.gz' off its name if it is not packed"
        ) from error
    if not content.strip():
        raise DataError(f"{path}: the file is empty")
    return content


def decoded(path: Path, content: bytes, encoding: str) -> str:
    """`content` as text without a byte order mark; a byte that cannot be read is a `DataError` naming its line."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding == "utf-8":
        raise DataError(f"{path}: the file is in UTF-16, not UTF-8: write  --encoding utf-16")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name} line {line}: the byte 0x{content[error.start]:02x} is not valid {encoding}: "
            "say which encoding the file is in, for example  --encoding latin-1"
        ) from error
    except LookupError as error:
        raise DataError(f"there is no encoding '{encoding}': write for example utf-8 or latin-1") from error


def broken_json_line(path: Path, content: bytes, *, start: int) -> str:
    """The words for the first line of `content` that is no JSON object; `start` is the number of its first line."""
    for number, line in enumerate(content.splitlines(), start=start):
        try:
            record = json.loads(line or b"{}")
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return f"{path.name} line {number}: not a JSON object ({error})"
        if not isinstance(record, dict):
            return f"{path.name} line {number}: not a JSON object, but '{_cut(line.decode())}'"
    return f"{path.name} from line {start}: a field holds values of different kinds, so it is no table"


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return "jsonl"
    if name.endswith((".csv", ".tsv", ".txt", ".tab", ".data", ".dat", ".inter", ".item")):
        return "text"
    raise DataError(f"{path}: cannot tell from its name what kind of table it is: name it .csv, .tsv, .parquet or .jsonl")


def _read_parquet(path: Path, choice: Choice | None) -> Table:
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    try:
        lazy = pl.scan_parquet(path)
        schema = lazy.collect_schema()
        wanted = choice(Table(pl.DataFrame(schema=schema), path.name)) if choice is not None else dict.fromkeys(schema)
        columns = [pl.col(name) if kind is None else pl.col(name).cast(kind) for name, kind in wanted.items()]
        frame = lazy.select(columns).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})") from error
    if frame.is_empty():
        raise DataError(f"{path}: the table has no rows")
    return Table(frame, origin=path.name, unread=tuple(name for name in schema if name not in wanted))


def _read_json_lines(path: Path, content: bytes) -> Table:
    if content.lstrip()[:1] == b"[":
        raise DataError(f"{path}: one JSON list, but one JSON object per line is needed: write each record on a line of its own")
    decoded(path, content, "utf-8")
    try:
        frame = pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(broken_json_line(path, content, start=1)) from error
    return Table(frame, origin=path.name, first_line=1)


def _read_text_table(path: Path, text: str, separator: str | None) -> Table:
    body = text.strip("\r\n")
    blank = text[: text.index(body)].count("\n")  # empty lines before the header
    first = body.split("\n", 1)[0].rstrip("\r")
    if separator is not None and separator not in first:
        other = max(SEPARATORS, key=first.count)
        instead = (
            f"{_said(other)} is in it {first.count(other)} times: write  --separator '{other}'" if other in first else "nor is another one"
        )
        raise DataError(f"{path.name} line 1: the separator {_said(separator)} is not in '{_cut(first)}'; {instead}")
    if separator is not None and len(separator) > 1:
        raise DataError(
            f"{path.name}: a separator of several characters ({separator!r}) is known for MovieLens files only; write one character"
        )
    by_name = "\t" if path.name.removesuffix(".gz").endswith((".tsv", ".tab", ".inter", ".item")) else ","
    chosen = separator or max((by_name, *SEPARATORS), key=first.count)  # on a tie the one its name promises
    try:
        header = next(csv.reader([first], delimiter=chosen))
    except csv.Error as error:
        raise DataError(
            f"{path.name} line {blank + 1}: {error}: end every line with a line feed, and close every quotation mark"
        ) from error
    headless = any(_is_number(field) for field in header)
    names = [str(place) for place in range(1, len(header) + 1)] if headless else [field.strip() for field in header]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path.name} line 1: the column '{twice}' occurs twice: give every column a name of its own")
    _refuse_ragged(path, body, separator=chosen, width=len(names), before=blank)
    try:
        frame = pl.read_csv(
            io.BytesIO(body.encode()),
            separator=chosen,
            has_header=not headless,
            new_columns=names,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path.name}: not a readable table ({str(error).splitlines()[0]})") from error
    if frame.is_empty():
        raise DataError(f"{path}: the table has a header but no rows")
    notes = []
    if separator is None and chosen != by_name:
        notes.append(f"{path.name}: fields are separated by {_said(chosen)}, found from its first line")
    if headless:
        notes.append(f"{path.name}: the first line holds a number, so there is no header; columns are named 1 to {len(names)}")
    return Table(frame, origin=path.name, first_line=blank + (1 if headless else 2), notes=tuple(notes))


def _refuse_ragged(path: Path, text: str, *, separator: str, width: int, before: int) -> None:
    """A `DataError` naming the first line with another number of fields than the header; `before` lines stand before `text`."""
    if '"' not in text:  # then counting separators is exact, and fast for the usual whole file
        lines = text.count("\n") + (not text.endswith("\n"))
        if text.count(separator) == lines * (width - 1):
            return
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        for fields in reader:
            if fields and len(fields) != width:
                line = separator.join(fields)
                raise DataError(
                    f"{path.name} line {reader.line_num + before}: expected {width} fields separated by {_said(separator)}, "
                    f"found {len(fields)}: '{_cut(line)}'"
                )
    except csv.Error as error:
        raise DataError(f"{path.name} line {reader.line_num + before}: {error}: is a quotation mark not closed?") from error


def _is_number(field: str) -> bool:
    return field.strip().lstrip("-").replace(".", "", 1).isdigit()


def _said(separator: str) -> str:
    return _SEPARATOR_NAMES.get(separator, f"'{separator}'")


def _cut(line: str) -> str:
    return line if len(line) <= 80 else line[:77] + "..."
