"""What was answered, case by case, as a Parquet file: one row each, with its share of the seconds that all of them took."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fathom.errors import DataError
from fathom.files import written_aside


def save_answers(path: Path, columns: Mapping[str, Any], *, seconds: float) -> None:
    """Write the columns, whole or not at all."""
    frame = pl.DataFrame(dict(columns))
    with written_aside(path) as aside:
        frame.with_columns(seconds=pl.lit(seconds / max(len(frame), 1))).write_parquet(aside)


def load_answers(path: Path, columns: Sequence[str], what: str) -> tuple[pl.DataFrame, float]:
    """The columns that `save_answers` wrote, and the seconds; a file without them holds no `what`: a `DataError`."""
    try:
        frame = pl.read_parquet(path, columns=[*columns, "seconds"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: no {what} as Fathom writes them ({error})") from error
    return frame.drop("seconds"), float(frame["seconds"].sum())
