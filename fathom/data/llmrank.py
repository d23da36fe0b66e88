"""Ranking with fixed candidates, as LLMRank (arXiv:2305.08845) stores it: who is asked, what everybody had before, which lists to order."""

from pathlib import Path

import polars as pl

from fathom.data.amazon import games
from fathom.data.assemble import Log, assemble
from fathom.data.columns import LABELS
from fathom.data.dataset import Dataset
from fathom.data.frames import read_table
from fathom.data.reading import Reading, Source
from fathom.data.splits import PART, PARTS
from fathom.errors import DataError

RENUMBERING_SEED = 0
"""The items' own numbers follow first appearance and so tell of the answer."""


def read_llmrank(path: Path, reading: Reading) -> Dataset:
    """train.parquet (user, items) holds what may be learned from, users.parquet (user, history, target) whom to ask for what: their
    history's last item is for validation. items.csv.gz says what items are called; items that nobody took are kept, lists hold them.
    """
    learned = _table(path, "train.parquet", ("user", "items")).select("user", pl.col("items").alias("item")).explode("item")
    asked = _table(path, "users.parquet", ("user", "history", "target"))
    valid = asked.select("user", item=pl.col("history").list.last())
    test = asked.select("user", item="target")
    parts = [frame.with_columns(pl.lit(part).alias(LABELS + PART)) for frame, part in zip((learned, valid, test), PARTS, strict=True)]
    items = read_table(path / "items.csv.gz", separator=",")
    for column in ("item", "title"):
        if column not in items.frame.columns:
            raise DataError(f"items.csv.gz: there is no column '{column}'; the columns are {', '.join(items.frame.columns)}")
    as_names = pl.col("user", "item").cast(pl.String).cast(pl.Categorical)
    events = pl.concat(parts).with_columns(
        as_names, pl.col(LABELS + PART).cast(pl.Categorical), position=pl.int_range(pl.len()).cast(pl.Float64)
    )
    return assemble(
        Log(events),
        games(items.frame["item"], items.frame["title"]),
        name=reading.name or "llmrank-games",
        source=str(path),
        licence="lists: MIT, Hou et al., ECIR 2024; data: no explicit licence, research use, cite Ni, Li and McAuley, EMNLP 2019 (UCSD)",
        renumber=RENUMBERING_SEED if reading.renumber is None else reading.renumber,
        repeats=reading.repeats,
        untaken=True,
    )


def _table(path: Path, name: str, columns: tuple[str, ...]) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path / name)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path / name}: not a readable Parquet file ({error})") from error
    if missing := [column for column in columns if column not in frame.columns]:
        raise DataError(f"{path / name}: there is no column '{missing[0]}'; the columns are {', '.join(frame.columns)}")
    return frame


SOURCES: dict[str, Source] = {
    "llmrank": Source(
        "LLMRank's ranking with fixed candidates: users.parquet, train.parquet, candidates.parquet, items.csv.gz",
        lambda path: all((path / name).is_file() for name in ("users.parquet", "train.parquet", "items.csv.gz")),
        read_llmrank,
    ),
}
"""Format name -> how it is recognised and read."""
