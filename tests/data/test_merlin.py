"""Transformers4Rec's data are read: a schema, and Parquet files whose rows are sessions."""

from pathlib import Path

import polars as pl
import pytest

from fathom.data.merlin import schema_of_text
from fathom.data.sources import read, recognise
from fathom.errors import DataError

SCHEMA = """
feature {
  name: "session_id"
  type: INT
  annotation { tag: "groupby_col" }
}
feature {
  name: "item_id/list"
  value_count { min: 2 max: 20 }
  int_domain { name: "item_id/list" min: 1 max: 900 is_categorical: true }
  annotation { tag: "item_id" tag: "list" tag: "categorical" tag: "item" }
}
feature {  # of the item
  name: "sess_brand_seq"
  annotation { tag: "list" tag: "categorical" tag: "item" }
}
feature {
  name: "hour/list"
  annotation { tag: "time" tag: "list" tag: "continuous" }
}
feature {
  name: "ts/list"
  annotation { tag: "time" tag: "list" }
}
"""
SESSIONS = pl.DataFrame(
    {
        "session_id": [70, 80, 90],
        "item_id/list": [[5, 9, 7], [9, 5], []],
        "sess_brand_seq": [[1, 2, 1], [2, 1], []],
        "hour/list": [[3.0, 3.1, 3.2], [9.0, 9.5], []],
        "ts/list": [[1_400_000_000, 1_400_000_060, 1_400_000_300], [1_396_000_000, 1_396_000_010], []],
        "not in the schema": [[1], [2, 2], []],
    }
)


def shop(folder: Path, *, schema: str = SCHEMA, sessions: pl.DataFrame = SESSIONS) -> Path:
    (folder / "0001").mkdir(parents=True)
    (folder / "schema.pbtxt").write_text(schema)
    sessions[:1].write_parquet(folder / "0001" / "train.parquet")
    sessions[1:].write_parquet(folder / "last.parquet")
    return folder


def test_sessions_items_times_and_attributes_are_read(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop")
    assert recognise(folder) == "merlin"
    dataset = read(folder)
    log, catalog = dataset.interactions, dataset.catalog
    assert log.users == ("70", "80")
    assert [[catalog.names[item - 1] for item in log.history(user)] for user in range(2)] == [["5", "9", "7"], ["9", "5"]]
    assert log.times is not None
    assert log.times.tolist() == [1_400_000_000, 1_400_000_060, 1_400_000_300, 1_396_000_000, 1_396_000_010]
    assert log.columns["hour"].values.tolist() == pytest.approx([3.0, 3.1, 3.2, 9.0, 9.5])
    brand = dict(zip(catalog.names, catalog.attributes["brand"], strict=True))
    assert brand == {"5": ("1",), "7": ("1",), "9": ("2",)}
    assert "time = 'ts/list'" in dataset.notes[0]


def test_without_names_and_times_sessions_are_numbered_in_their_order(tmp_path: Path) -> None:
    schema = SCHEMA.replace("groupby_col", "other").replace('tag: "time"', "")
    log = read(shop(tmp_path / "shop", schema=schema)).interactions
    assert (log.users, log.times) == (("1", "2"), None)


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    two = SCHEMA.replace('tag: "list" tag: "categorical" tag: "item" }', 'tag: "item_id" tag: "list" }')
    with pytest.raises(DataError, match=r"2 features of its schema have the tag item_id \(item_id/list, sess_brand_seq\)"):
        read(shop(tmp_path / "two", schema=two))
    short = SESSIONS.with_columns(pl.Series("ts/list", [[1_400_000_000], [1, 2], []]))
    with pytest.raises(DataError, match="row 1 has 1 values in 'ts/list', but 3 in 'item_id/list': all lists of a session must be as long"):
        read(shop(tmp_path / "short", sessions=short))
    with pytest.raises(DataError, match="the schema's item_id is 'item_id/list', which the Parquet files do not have"):
        read(shop(tmp_path / "none", sessions=SESSIONS.drop("item_id/list")))
    broken = shop(tmp_path / "broken")
    (broken / "last.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"last\.parquet: not a readable Parquet file"):
        read(broken)


def test_a_broken_schema_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "schema.pbtxt"
    path.write_text('feature {\n  name: "a"\n  ? what\n}\n')
    with pytest.raises(DataError, match=r"schema\.pbtxt line 3: expected"):
        schema_of_text(path)
    path.write_text('feature {\n  name: "a"\n')
    with pytest.raises(DataError, match="it ends inside a feature"):
        schema_of_text(path)
