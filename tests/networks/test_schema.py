"""A schema told, written, or found in the table (T1, T2)."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fathom.errors import ConfigError
from fathom.networks.schema import Schema, Tag, schema_of, widths_of

TOLD = {"item_id": {"tag": "item-id", "cardinality": 4}, "price": "continuous", "words": {"tag": "embedding", "width": 2}}


def test_a_mapping_and_a_json_file_tell_the_same(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(TOLD))
    assert schema_of(TOLD) == schema_of(path)
    assert [column.name for column in schema_of(TOLD).read] == ["item_id", "price", "words"]


def test_a_table_tells_what_its_columns_are() -> None:
    table = pl.DataFrame(
        {
            "session": [1, 1, 2, 2],
            "item_id": [5, 9, 9, 5],
            "user": ["u", "u", "v", "v"],
            "device": ["tv", "tv", "tv", "pc"],
            "country": ["de", "de", "fr", "fr"],
            "price": [1.0, 2.0, 1.0, 3.5],
            "tags": [["a"], ["a", "b"], [], ["c"]],
            "words": [[0.1, 0.2], [0.3, 0.4], [0.1, 0.0], [1.0, 2.0]],
        }
    )
    found = {column.name: column for column in schema_of(table, session="session", user="user").columns}
    assert set(found) == {"item_id", "user", "device", "country", "price", "tags", "words"}
    assert (found["item_id"].tag, found["item_id"].cardinality) == (Tag.ITEM_ID, 10)
    assert (found["user"].tag, found["user"].level) == (Tag.USER_ID, "sequence")
    assert (found["device"].tag, found["device"].cardinality, found["device"].level) == (Tag.CATEGORICAL, 3, "event")
    assert found["country"].level == "sequence"
    assert found["price"].tag is Tag.CONTINUOUS
    assert (found["tags"].several, found["tags"].cardinality) == (True, 4)
    assert (found["words"].tag, found["words"].width) == (Tag.EMBEDDING, 2)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"price": "continuos"}, r"column 'price': unknown tag 'continuos'.*continuous.*there are item-id"),
        ({"genre": "categorical"}, "'genre' is categorical: write its cardinality"),
        ({"genre": {"tag": "categorical", "cardinality": 1}}, "write its cardinality, 2 or more"),
        ({"words": "embedding"}, "'words' is an embedding: write its width"),
        ({"price": {"tag": "continuous", "several": True}}, "only a categorical one can"),
        ({"other": {"tag": "item-id", "cardinality": 4}}, r"2 columns have the tag item-id \(item_id, other\)"),
        (
            {"a": {"tag": "categorical", "cardinality": 4, "table": "t"}, "b": {"tag": "categorical", "cardinality": 5, "table": "t"}},
            "share a table, but have 4 and 5 ids",
        ),
    ],
)
def test_what_cannot_be_is_told(told: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        schema_of(TOLD | told)


def test_a_table_without_the_item_is_told() -> None:
    with pytest.raises(ConfigError, match=r"the table has no column 'item_id'.*'item'"):
        schema_of(pl.DataFrame({"item": [1]}))
    with pytest.raises(ConfigError, match="holds lists of 2 lengths"):
        schema_of(pl.DataFrame({"item_id": [1, 2], "words": [[0.1], [0.1, 0.2]]}))


def test_zero_is_padding() -> None:
    with pytest.raises(ConfigError, match="column 'item_id' holds the id 0: 0 is padding"):
        schema_of(pl.DataFrame({"item_id": [0, 1]}))


def test_widths_are_given_fixed_or_inferred() -> None:
    columns = Schema.model_validate(
        {"columns": [{"name": name, "tag": tag, "cardinality": 81} for name, tag in (("i", "item-id"), ("g", "categorical"))]}
    ).columns
    assert widths_of(columns, fixed=0, given={}, multiplier=2.0, multiple=1) == {"i": 6, "g": 6}
    assert widths_of(columns, fixed=0, given={"i": 5}, multiplier=2.1, multiple=1) == {"i": 5, "g": 7}
    assert widths_of(columns, fixed=3, given={}, multiplier=2.0, multiple=8) == {"i": 3, "g": 3}
