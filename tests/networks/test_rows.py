"""A table of one's own is read as its schema says (T1)."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from architecture import network

from fathom.errors import ConfigError, DataError
from fathom.networks.rows import Rows
from fathom.networks.schema import Schema, schema_of

TABLE = pl.DataFrame(
    {
        "session": ["s", "t", "s", "s", "t"],
        "item": ["b", "a", "c", "b", "c"],
        "shelf": [3, 1, 2, 3, 2],
        "country": ["fr", "de", "fr", "fr", "de"],
        "price": [1.0, 2.5, 3.0, 1.0, 3.0],
        "tags": [["x", "y"], [], ["z"], ["x", "y"], ["z"]],
        "words": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.1, 0.2], [0.5, 0.6]],
        "bought": [0, 1, 0, 0, 1],
        "kind": [2, 0, 2, 2, 0],
    }
)


def schema() -> Schema:
    return schema_of(TABLE, item="item", session="session", targets={"bought": "binary", "kind": "multiclass"})


def test_texts_get_numbers_and_sessions_become_rows() -> None:
    [batch] = Rows.of(TABLE, schema(), session="session").batches(TABLE.to_pandas(), 10)
    assert batch["item"].tolist() == [[2, 3, 2], [1, 3, 0]]
    assert batch["shelf"].tolist() == [[3, 2, 3], [1, 2, 0]]
    assert batch["country"].tolist() == [2, 1], "of the sequence"
    assert batch["price"].tolist() == [[1.0, 3.0, 1.0], [2.5, 3.0, 0.0]]
    assert batch["tags"].tolist() == [[[1, 2], [3, 0], [1, 2]], [[0, 0], [3, 0], [0, 0]]]
    assert torch.allclose(batch["words"][1], torch.tensor([[0.3, 0.4], [0.5, 0.6], [0.0, 0.0]]))
    assert batch["bought"].tolist() == [0.0, 1.0]
    assert batch["kind"].tolist() == [2, 0]
    pieces = list(Rows.of(TABLE, schema(), session="session").batches(TABLE, 1))
    assert [piece["item"].tolist() for piece in pieces] == [[[2, 3, 2]], [[1, 3]]]


@pytest.mark.parametrize("how", ["frame", "json"])
def test_a_network_is_built_from_what_a_table_or_a_file_tells_and_takes_a_step(how: str, tmp_path: Path) -> None:
    found = schema()
    if how == "json":
        (tmp_path / "schema.json").write_text(
            json.dumps({column.name: column.model_dump(mode="json", exclude={"name"}) for column in found.columns})
        )
        assert schema_of(tmp_path / "schema.json") == found
        found = schema_of(tmp_path / "schema.json")
    model = network(found, masking={"objective": "mlm"}, heads={"bought": {}, "kind": {}}).train()
    [batch] = Rows.of(TABLE, found, session="session").batches(TABLE, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    torch.manual_seed(0)
    before = model.losses(batch).total
    before.backward()
    optimizer.step()
    torch.manual_seed(0)
    assert float(model.losses(batch).total.detach()) < float(before.detach())
    figures = model.eval().judged([batch])
    assert figures.keys() == {"bought", "kind"}
    assert figures["kind"].keys() == {"log_loss", "accuracy"}


def test_what_was_learned_of_texts_is_kept(tmp_path: Path) -> None:
    rows = Rows.of(TABLE, schema(), session="session")
    rows.save(tmp_path / "rows.json")
    [one], [other] = (reader.batches(TABLE, 10) for reader in (rows, Rows.load(tmp_path / "rows.json")))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_not_there_is_nothing_and_an_item_that_was_not_there_is_told() -> None:
    rows = Rows.of(TABLE, schema(), session="session")
    [batch] = rows.batches(TABLE.with_columns(country=pl.lit("it"), tags=pl.Series([["w", "z"]] * 5)), 10)
    assert batch["country"].tolist() == [0, 0]
    assert batch["tags"][0, 0].tolist() == [0, 3]
    with pytest.raises(DataError, match="row 2: column 'item' holds 'q', which is no item that was there in training"):
        next(rows.batches(TABLE.with_columns(item=pl.Series(["b", "q", "c", "b", "c"])), 10))
    with pytest.raises(DataError, match=r"the table has no column 'shelf'"):
        next(rows.batches(TABLE.drop("shelf"), 10))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("price", "column 'price' holds a number that is not finite"),
        ("words", "column 'words' holds a number that is not finite"),
        ("bought", "column 'bought' holds nan, which is not finite"),
        ("kind", "column 'kind' holds the class -1"),
    ],
)
def test_what_is_not_told_is_refused_where_it_is_needed(column: str, said: str) -> None:
    rows = Rows.of(TABLE, schema(), session="session")
    [batch] = rows.batches(TABLE.with_columns(pl.lit(None, dtype=TABLE.schema[column]).alias(column)), 10)
    with pytest.raises(DataError, match=said):
        network(schema(), heads={"bought": {}, "kind": {}}).losses(batch)


def test_a_category_that_is_not_told_is_nothing() -> None:
    nowhere = TABLE.with_columns(country=pl.lit(None, dtype=pl.String), shelf=pl.lit(None, dtype=pl.Int64))
    [batch] = Rows.of(TABLE, schema(), session="session").batches(nowhere, 10)
    assert batch["country"].tolist() == [0, 0]
    assert batch["shelf"].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("targets", "said"),
    [({"bougt": "binary"}, r"no column 'bougt'; did you mean 'bought'"), ({"bought": "binry"}, r"column 'bought': unknown tag 'binry'")],
)
def test_a_target_that_cannot_be_is_told(targets: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        schema_of(TABLE, item="item", session="session", targets={"kind": "multiclass"} | targets)


def test_a_schema_that_is_no_object_is_told(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("[1, 2]")
    with pytest.raises(ConfigError, match="a schema is written as an object, name to tag, and not as a list"):
        schema_of(tmp_path / "schema.json")
