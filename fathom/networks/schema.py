"""What the columns of a table of events are: told as a mapping, as JSON, or found out from the table itself."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

import narwhals as nw
from narwhals.typing import IntoFrame
from pydantic import Field, ValidationError, model_validator

from fathom.errors import ConfigError, suggestion
from fathom.settings import Settings


class Tag(StrEnum):
    """What a column is good for."""

    ITEM_ID = "item-id"
    USER_ID = "user-id"
    CATEGORICAL = "categorical"
    CONTINUOUS = "continuous"
    EMBEDDING = "embedding"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


TARGETS = frozenset({Tag.BINARY, Tag.MULTICLASS, Tag.REGRESSION})
"""What is asked for and never read."""
IDS = frozenset({Tag.ITEM_ID, Tag.USER_ID, Tag.CATEGORICAL})
"""What has a table of vectors; 0 is padding."""


class Column(Settings):
    """One column."""

    name: str = Field(min_length=1)
    """As in the table."""
    tag: Tag
    """What it is."""
    level: Literal["event", "sequence"] = "event"
    """Whether it has a value for each event, or one for the whole sequence, which every event then reads."""
    cardinality: int = Field(default=0, ge=0)
    """Of ids: how many there are, padding included; of a multi-class target: how many classes."""
    several: bool = False
    """Whether a value is a list of ids: they are read as the mean of their vectors."""
    width: int = Field(default=0, ge=0)
    """Of an embedding: numbers in a vector."""
    table: str = ""
    """Columns that name the same table share it; left out: one of its own."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tag in IDS or self.tag is Tag.MULTICLASS) and self.cardinality < 2:
            raise ValueError(f"column '{self.name}' is {self.tag}: write its cardinality, 2 or more")
        if self.tag is Tag.EMBEDDING and not self.width:
            raise ValueError(f"column '{self.name}' is an embedding: write its width")
        if self.several and self.tag is not Tag.CATEGORICAL:
            raise ValueError(f"column '{self.name}' holds several values, which only a categorical one can")
        return self


class Schema(Settings):
    """The columns of a table."""

    columns: tuple[Column, ...]
    """One of them is the item's id."""

    @model_validator(mode="after")
    def _one_item(self) -> Self:
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"column '{twice[0]}' is written twice")
        items = [column.name for column in self.columns if column.tag is Tag.ITEM_ID]
        if len(items) != 1:
            raise ValueError(f"{len(items)} columns have the tag {Tag.ITEM_ID} ({', '.join(items) or 'none'}): exactly one must")
        tables: dict[str, Column] = {}
        for column in self.columns:
            if column.table and column.tag in IDS and column.cardinality != tables.setdefault(column.table, column).cardinality:
                other = tables[column.table]
                raise ValueError(
                    f"columns '{other.name}' and '{column.name}' share a table, but have {other.cardinality} and {column.cardinality} ids"
                )
        return self

    @property
    def item(self) -> Column:
        """The column of the item's id."""
        return next(column for column in self.columns if column.tag is Tag.ITEM_ID)

    @property
    def read(self) -> tuple[Column, ...]:
        """What a network reads, by name."""
        return tuple(sorted((column for column in self.columns if column.tag not in TARGETS), key=lambda column: column.name))

    @property
    def targets(self) -> tuple[Column, ...]:
        """What is asked for beside the next item."""
        return tuple(column for column in self.columns if column.tag in TARGETS)


def schema_of(
    source: Mapping[str, Any] | Path | IntoFrame,
    *,
    item: str = "item_id",
    session: str = "",
    user: str = "",
    targets: Mapping[str, str] | None = None,
) -> Schema:
    """The schema that `source` tells: name -> what it is, a JSON file of that, or the table itself.

    In a table whole numbers are ids as they stand, from 1, and texts are ids, other numbers continuous, lists of ids several values, lists
    of other numbers of one length embeddings. `item` names the column of the items and `user` that of the users; what is the same within
    every `session` is the sequence's; `targets` says which columns are asked for, and whether they are binary, multiclass or regression.
    An unknown tag is a `ConfigError` with the column and the tags there are. `fathom.networks.rows` reads such a table for a network.
    """
    if isinstance(source, Path):
        try:
            source = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{source}: not a readable JSON file ({error})") from error
        if not isinstance(source, Mapping):
            raise ConfigError(f"a schema is written as an object, name to tag, and not as a {type(source).__name__}")
    if isinstance(source, Mapping):
        return _told(source)
    return _found(nw.from_native(source, eager_only=True), item=item, session=session, user=user, targets=targets or {})


def _told(source: Mapping[str, Any]) -> Schema:
    columns = []
    for name, given in source.items():
        value = {"tag": given} if isinstance(given, str) else dict(given)
        tag = str(value.get("tag", "")).lower().replace("_", "-")
        known = [one.value for one in Tag]
        if tag not in known:
            raise ConfigError(
                f"column '{name}': unknown tag '{value.get('tag', '')}'{suggestion(tag, known)}; there are {', '.join(known)}"
            )
        columns.append(value | {"name": name, "tag": tag})
    try:
        return Schema.model_validate({"columns": columns})
    except ValidationError as error:
        told = [str(one["msg"]).removeprefix("Value error, ") for one in error.errors()]
        raise ConfigError(f"the schema cannot be: {'; '.join(told)}") from error


def _found(frame: "nw.DataFrame[Any]", *, item: str, session: str, user: str, targets: Mapping[str, str]) -> Schema:
    for name in filter(None, (item, session, user, *targets)):
        if name not in frame.columns:
            raise ConfigError(f"the table has no column '{name}'{suggestion(name, frame.columns)}")
    told: dict[str, dict[str, Any]] = {}
    for name in frame.columns:
        if name == session:
            continue
        if name in targets:
            classes = {"cardinality": int(frame[name].max()) + 1} if targets[name] == Tag.MULTICLASS else {}
            told[name] = {"tag": targets[name]} | classes
            continue
        column = _column(frame[name])
        if name in (item, user):
            column |= {"tag": Tag.ITEM_ID if name == item else Tag.USER_ID}
            column.setdefault("cardinality", _ids(frame[name]))
        if session and name != item and not column.get("several") and column["tag"] != Tag.EMBEDDING and _constant(frame, name, session):
            column["level"] = "sequence"
        told[name] = column
    return _told(told)


def _column(series: "nw.Series[Any]") -> dict[str, Any]:
    """What a column of a table is, but for its name."""
    dtype = series.dtype
    if isinstance(dtype, nw.List | nw.Array):
        inner, values = dtype.inner, [value for row in series.to_list() if row is not None for value in row]
        if inner == nw.String or (isinstance(inner, type | nw.dtypes.DType) and inner.is_integer()):
            most = len(set(values)) if inner == nw.String else max([0, *values])
            return {"tag": Tag.CATEGORICAL, "several": True, "cardinality": most + 1}
        lengths = {len(row) for row in series.to_list() if row is not None}
        if len(lengths) != 1:
            raise ConfigError(f"column '{series.name}' holds lists of {len(lengths)} lengths: vectors must have one; leave the column out")
        return {"tag": Tag.EMBEDDING, "width": lengths.pop()}
    if dtype.is_float():
        return {"tag": Tag.CONTINUOUS}
    return {"tag": Tag.CATEGORICAL, "cardinality": _ids(series)}


def _ids(series: "nw.Series[Any]") -> int:
    """How many ids a column has, padding included: whole numbers are ids as they stand, of texts each is one."""
    if not series.dtype.is_integer():
        return max(series.n_unique() + 1, 2)
    if len(series) and int(series.min()) < 1:
        raise ConfigError(f"column '{series.name}' holds the id {series.min()}: 0 is padding, number them from 1")
    return max(int(series.max()) + 1 if len(series) else 2, 2)


def _constant(frame: "nw.DataFrame[Any]", name: str, session: str) -> bool:
    """Whether all events of each session agree in the column."""
    return bool(frame.select(session, name).unique().shape[0] == frame[session].n_unique())


def widths_of(columns: Sequence[Column], *, fixed: int, given: Mapping[str, int], multiplier: float, multiple: int) -> dict[str, int]:
    """How wide each column's vectors are: as `given`, else `fixed`, else ceil(multiplier * cardinality ** 0.25), up to a `multiple`.

    >>> column = Column(name="genre", tag=Tag.CATEGORICAL, cardinality=81)
    >>> widths_of([column], fixed=0, given={}, multiplier=2.0, multiple=8)
    {'genre': 8}
    """
    found = {}
    for column in columns:
        if column.tag in IDS:
            inferred = -(-int(-(-multiplier * column.cardinality**0.25 // 1)) // multiple) * multiple
            found[column.name] = given.get(column.name, fixed or inferred)
    return found
