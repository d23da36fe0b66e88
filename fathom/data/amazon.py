"""Amazon Reviews of 2018 (and 2014) and of 2023, and Amazon Video Games as ordered sequences."""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path

import polars as pl

from fathom.data.assemble import ItemText, Log, assemble, log_of
from fathom.data.columns import LABELS
from fathom.data.dataset import Dataset
from fathom.data.frames import Table, broken_json_line, decoded, read_content, read_table
from fathom.data.platforms import platforms_of
from fathom.data.reading import Reading, Source
from fathom.data.titles import single_line
from fathom.errors import DataError
from fathom.files import Json
from fathom.records import HEADLINE, REVIEW

LICENCE = "no explicit licence: research use, not to be redistributed; cite {} (UCSD)"
PAPERS = {"2018": "Ni, Li and McAuley, EMNLP 2019", "2023": "Hou et al. 2024, arXiv:2403.03952"}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "2018": {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"},
    "2023": {"user": "user_id", "item": "parent_asin", "rating": "rating", "time": "timestamp"},
}
"""Year -> role -> field of a review."""

WORDS: Mapping[str, Mapping[str, str]] = {
    "2018": {LABELS + REVIEW: "reviewText", LABELS + HEADLINE: "summary"},
    "2023": {LABELS + REVIEW: "text", LABELS + HEADLINE: "title"},
}
"""Year -> role -> field of what was written in a review, which is read where it is asked for."""

RENUMBERING_SEED = 0
"""The order of item ids of the sequences, whose own ids follow first appearance and so tell of the answer."""

_ENDINGS = (".json.gz", ".jsonl.gz", ".json", ".jsonl")
_CHUNK = 1 << 26
_MARKUP = re.compile(r"<[^<>]*>")
_PRICE = re.compile(r"\$?\d[\d,]*(\.\d+)?")
_SCRIPT = "var aPageStart"  # what a scraped page left where a title should be


def read_2018(path: Path, reading: Reading) -> Dataset:
    """Amazon Reviews 2018: reviews (one JSON object a line) and, where there, meta_*; times are whole days in seconds."""
    return _read_reviews(path, reading, "2018")


def read_2023(path: Path, reading: Reading) -> Dataset:
    """Amazon Reviews 2023: the item is parent_asin, times are milliseconds, `title` is the review's and not used."""
    return _read_reviews(path, reading, "2023")


def read_ratings(path: Path, reading: Reading) -> Dataset:
    """Amazon 2018 ratings only: a CSV without a header, columns item, user, rating, time."""
    table = read_table(_only(path, (".csv",)), separator=",")
    if table.frame.width != 4:
        raise DataError(f"{table.origin}: expected 4 columns (item, user, rating, time), found {table.frame.width}")
    log = log_of(table, {"item": "1", "user": "2", "rating": "3", "time": "4"})
    return _dataset(path, log, {}, reading=reading, name=_category(path), year="2018")


def read_sequences(path: Path, reading: Reading) -> Dataset:
    """Amazon Video Games as sequences.txt.gz (reviewer, then item numbers in order) and items.csv.gz (item, asin, title).

    The item numbers follow first appearance, so ids are given at random (by `RENUMBERING_SEED` unless another is named).
    """
    sequences = path / "sequences.txt.gz"
    text = decoded(sequences, read_content(sequences), "utf-8")
    lines = pl.Series("line", text.splitlines(), dtype=pl.String)
    short = lines.str.contains(" ").not_().arg_true()
    if len(short):
        raise DataError(
            f"sequences.txt.gz line {short[0] + 1}: expected a user and item numbers separated by spaces, found '{lines[short[0]]}'"
        )
    table = read_table(path / "items.csv.gz", separator=",")
    missing = {"item", "asin", "title"} - set(table.frame.columns)
    if missing:
        raise DataError(f"items.csv.gz: there is no column '{min(missing)}'; the columns are {', '.join(table.frame.columns)}")
    parts = pl.DataFrame({"parts": lines.str.split(" ")})
    numbered = parts.select(pl.col("parts").list.first().alias("user"), pl.col("parts").list.slice(1).alias("number")).explode("number")
    events = numbered.join(table.frame.select(number="item", item="asin"), on="number", how="left", maintain_order="left")
    events = events.with_columns(pl.col("user").cast(pl.Categorical), pl.coalesce("item", "number").cast(pl.Categorical).alias("item"))
    log = Log(events.select("user", "item", position=pl.int_range(pl.len()).cast(pl.Float64)))
    items = games(table.frame["asin"], table.frame["title"])
    seeded = reading if reading.renumber is not None else reading.model_copy(update={"renumber": RENUMBERING_SEED})
    return _dataset(path, log, items, reading=seeded, name="amazon-games", year="2018")


def games(names: pl.Series, titles: pl.Series) -> dict[str, ItemText]:
    """What titles say of video games: the platforms in them are attributes, and tell games of one title apart."""
    items = {}
    for name, title in zip(names.cast(pl.String), titles, strict=True):
        platforms = platforms_of(single_line(title or ""))
        items[name] = ItemText(title or name, {"platform": platforms}, hints=("/".join(platforms),))
    return items


def _read_reviews(path: Path, reading: Reading, year: str) -> Dataset:
    reviews = _only(path, _ENDINGS)
    fields, written = FIELDS[year], WORDS[year] if reading.reviews else {}
    first = _first_record(reviews)
    absent = [field for field in (*fields.values(), *written.values()) if field not in first]
    if absent:
        raise DataError(
            f"{reviews.name} line 1: there is no field '{absent[0]}', which reviews of {year} have; its fields are {', '.join(first)}"
        )
    types: dict[str, pl.DataType] = {
        fields["user"]: pl.String(),
        fields["item"]: pl.String(),
        fields["rating"]: pl.Float64(),
        fields["time"]: pl.Int64(),
    }
    types |= {field: pl.String() for field in written.values()}
    pieces = []
    for start, chunk in _chunks(reviews):
        try:
            piece = pl.read_ndjson(io.BytesIO(chunk), schema=types)
        except pl.exceptions.PolarsError as error:
            raise DataError(broken_json_line(reviews, chunk, start=start)) from error
        pieces.append(piece.with_columns(pl.col(field).map_elements(_said, pl.String) for field in written.values()))
    log = log_of(Table(pl.concat(pieces), reviews.name, first_line=1), {**fields, **written})
    if written and (wordless := int(log.frame[LABELS + REVIEW].null_count())):
        log = Log(log.frame, (*log.notes, f"{wordless:,} reviews are empty; the events stay, without words"))
    category = _category(reviews)
    meta = reading.items or _meta_beside(reviews)
    if reading.priced and not meta:
        raise DataError(f"{reviews.name}: 'priced' asks for prices, which stand in metadata, and there is no meta_* file beside it")
    items, priced, notes = _products(meta, set(log.frame["item"].unique().to_list())) if meta else ({}, set(), ())
    log = Log(log.frame, (*log.notes, *notes))
    return _dataset(path, _with_prices(log, priced) if reading.priced else log, items, reading=reading, name=category, year=year)


def _with_prices(log: Log, priced: set[str]) -> Log:
    """The log without the items that are not among `priced`."""
    frame = log.frame.filter(pl.col("item").is_in(sorted(priced)))
    if not len(frame):
        raise DataError("no item has a price that is a number, so nothing is left: leave 'priced' out")
    gone = log.frame["item"].n_unique() - frame["item"].n_unique()
    return Log(
        frame, (*log.notes, f"{gone:,} items have no price; they and their {len(log.frame) - len(frame):,} interactions are left out")
    )


def _dataset(path: Path, log: Log, items: Mapping[str, ItemText], *, reading: Reading, name: str, year: str) -> Dataset:
    return assemble(
        log,
        items,
        name=reading.name or name,
        source=str(path),
        licence=LICENCE.format(PAPERS[year]),
        renumber=reading.renumber,
        repeats=reading.repeats,
    )


def _products(path: Path, wanted: set[str]) -> tuple[dict[str, ItemText], set[str], tuple[str, ...]]:
    """What the metadata says of the products in `wanted`, in the order of the file, which of them have a price, and notes."""
    products: dict[str, ItemText] = {}
    priced: set[str] = set()
    repeated = scraped = 0
    for start, chunk in _chunks(path):
        for number, line in enumerate(chunk.splitlines(), start=start):
            if not line.strip():
                continue
            try:
                record: Json = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path.name} line {number}: not a JSON object ({error})") from error
            if not isinstance(record, dict):
                raise DataError(f"{path.name} line {number}: a JSON object is needed, found {line[:40]!r}")
            key = str(record.get("parent_asin") or record.get("asin") or "")
            if key in wanted:
                repeated += key in products
                product = _product(key, record)
                scraped += product.title == key
                if key not in products:
                    products[key] = product
                    if _PRICE.fullmatch(str(record.get("price"))):
                        priced.add(key)
    notes = []
    if repeated:
        notes.append(f"{path.name}: {repeated:,} rows repeat an item id; the first row of each counts")
    if scraped:
        notes.append(f"{path.name}: {scraped:,} products have no readable title; their id stands as title")
    return products, priced, tuple(notes)


def _product(key: str, record: Mapping[str, Json]) -> ItemText:
    """One product; nothing that sums up the whole period (rank, average rating) is taken, since it would tell of the test part."""
    title = _plain(record.get("title"))
    title = key if not title or title.startswith(_SCRIPT) else title
    path = _texts(record.get("category") or record.get("categories"))
    main = _plain(record.get("main_category") or record.get("main_cat"))
    category = tuple(dict.fromkeys(path[1:] or ([main] if main else path)))
    games = "Video Games" in (main, *path[:1])
    platform = platforms_of(title) if games else ()
    brand = tuple(text for text in (_plain(record.get("brand") or record.get("store")),) if text)
    attributes = {"category": category, "platform": platform, "brand": brand}
    description = " ".join(_texts(record.get("description")))
    return ItemText(title, attributes, description, hints=("/".join(platform), category[-1] if category else "", *brand))


def _texts(value: Json) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in map(_plain, values) if text]


def _said(text: str) -> str:
    """What somebody wrote, as one line, without the web page's marks."""
    return single_line(_MARKUP.sub(" ", unescape(text)))


def _plain(value: Json) -> str:
    """A text without scraped markup; '' for anything else."""
    return single_line(_MARKUP.sub(" ", value)) if isinstance(value, str) else ""


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines in pieces of about 64 MB, each with the number of its first line, so that no file has to fit in memory."""
    line, empty = 1, True
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while piece := file.read(_CHUNK):
                whole = piece + file.readline()
                empty = False
                yield line, whole
                line += whole.count(b"\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}): fetch it again") from error
    if empty:
        raise DataError(f"{path}: the file is empty")


def _first_record(path: Path) -> dict[str, Json]:
    """The first JSON object of a file; empty where it is none."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            record: Json = json.loads(file.readline())
    except (OSError, EOFError, zlib.error, ValueError):  # not such a file: the caller says what it looked for
        return {}
    return record if isinstance(record, dict) else {}


def _candidates(path: Path, endings: tuple[str, ...]) -> list[Path]:
    if path.is_file():
        return [path] if path.name.endswith(endings) else []
    if not path.is_dir():
        return []
    return sorted(file for file in path.iterdir() if file.name.endswith(endings) and not file.name.startswith(("meta_", "download")))


def _only(path: Path, endings: tuple[str, ...]) -> Path:
    found = _candidates(path, endings)
    if len(found) != 1:
        there = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{path}: one file ending in {' or '.join(endings)} is needed, found {there}: name the file itself")
    return found[0]


def _category(path: Path) -> str:
    stem = path.name.split(".")[0].removeprefix("reviews_")
    return "amazon-" + stem.removesuffix("_5").lower().replace("_", "-")


def _meta_beside(reviews: Path) -> Path | None:
    stem = reviews.name.split(".")[0].removeprefix("reviews_").removesuffix("_5")
    return next(
        (reviews.with_name(f"meta_{stem}{ending}") for ending in _ENDINGS if reviews.with_name(f"meta_{stem}{ending}").is_file()), None
    )


def _holds_reviews(path: Path, year: str) -> bool:
    found = _candidates(path, _ENDINGS)
    return len(found) == 1 and set(FIELDS[year].values()) <= _first_record(found[0]).keys()


def _holds_ratings(path: Path) -> bool:
    found = _candidates(path, (".csv",))
    if len(found) != 1:
        return False
    with found[0].open("rb") as file:
        return re.fullmatch(rb"[A-Z0-9]{10},A[A-Z0-9]{9,},[1-5]\.0,\d{9,10}\s*", file.readline(200)) is not None


_USES = frozenset({"name", "renumber", "repeats"})

SOURCES = {
    "amazon-2018": Source(
        "Amazon Reviews 2018 or 2014: reviews as .json.gz, meta_* beside",
        lambda path: _holds_reviews(path, "2018"),
        read_2018,
        _USES | {"items", "priced", "reviews"},
    ),
    "amazon-2023": Source(
        "Amazon Reviews 2023: reviews as .jsonl.gz, meta_* beside",
        lambda path: _holds_reviews(path, "2023"),
        read_2023,
        _USES | {"items", "priced", "reviews"},
    ),
    "amazon-2018-ratings": Source("Amazon 2018 ratings only: a CSV without header", _holds_ratings, read_ratings),
    "amazon-sequences": Source(
        "Amazon Video Games sequences: sequences.txt.gz, items.csv.gz",
        lambda path: (path / "sequences.txt.gz").is_file() and (path / "items.csv.gz").is_file(),
        read_sequences,
    ),
}
