"""A tiny source with stored candidate lists, laid out as LLMRank's."""

import gzip
from pathlib import Path

import polars as pl


def stored_protocol(folder: Path) -> Path:
    """Three people who are asked, one who is learned from alone; item 8 is in a list and nobody's."""
    folder.mkdir(exist_ok=True)
    pl.DataFrame({"user": [5, 7, 9, 11], "items": [[0, 1, 2], [2, 3], [4, 1], [6, 5, 0]]}).write_parquet(folder / "train.parquet")
    pl.DataFrame({"user": [9, 5, 7], "history": [[4, 1, 5], [0, 1, 2, 3], [2, 3, 0]], "target": [6, 7, 1]}).write_parquet(
        folder / "users.parquet"
    )
    lists = {"user": [9, 5, 7], "candidates": [[8, 6], [8, 7], [8, 1]], "presented": [[6, 8], [8, 7], [1, 8]]}
    pl.DataFrame(lists).write_parquet(folder / "candidates.parquet")
    items = pl.DataFrame({"item": range(9), "title": [f"Film {item} &amp; more" for item in range(9)]})
    (folder / "items.csv.gz").write_bytes(gzip.compress(items.write_csv().encode()))
    return folder
