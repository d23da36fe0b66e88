"""A table of one's own becomes batches for a network: texts get their ids, the events of a session become a row."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import narwhals as nw
import numpy as np
import polars as pl
import torch
from narwhals.typing import IntoFrame
from torch import Tensor

from fathom.data.batches import pad_right
from fathom.errors import DataError, suggestion
from fathom.files import read_json, write_json
from fathom.networks.features import Batch
from fathom.networks.schema import IDS, TARGETS, Column, Schema, Tag


class Rows:
    """Reads tables whose columns a schema describes; what it has learned of their texts is kept with the network."""

    def __init__(self, schema: Schema, names: Mapping[str, Sequence[str]], *, session: str) -> None:
        """`names`: column of texts -> its texts, whose ids are 1, 2, ...; `session`: the column that says which events belong together."""
        self.schema, self.session = schema, session
        self.names = {column: tuple(known) for column, known in names.items()}

    @classmethod
    def of(cls, table: IntoFrame, schema: Schema, *, session: str) -> Self:
        """With the texts of `table`, in the order of the alphabet."""
        frame = _polars(table)
        _refuse_missing(frame, schema, session)
        names = {}
        for column in schema.columns:
            values = frame[column.name].explode() if column.several else frame[column.name]
            if column.tag in IDS and values.dtype == pl.String:
                names[column.name] = values.drop_nulls().unique().sort().to_list()
        return cls(schema, names, session=session)

    def batches(self, table: IntoFrame, size: int) -> Iterator[Batch]:
        """Sessions in the order in which they begin, events in the order of the table, `size` sessions a batch, padded on the right.

        A text that was not there is read as nothing, id 0; an item that was not there is a `DataError`.
        """
        frame = _polars(table)
        _refuse_missing(frame, self.schema, self.session)
        numbered = frame.with_columns([self._numbered(column) for column in self.schema.columns if column.name in self.names])
        item = self.schema.item.name
        unknown = numbered[item].is_null() | (numbered[item] == 0)
        if bool(unknown.any()):
            row = int(unknown.arg_true()[0])
            raise DataError(f"row {row + 1}: column '{item}' holds '{frame[item][row]}', which is no item that was there in training")
        sessions = numbered.group_by(self.session, maintain_order=True).agg(pl.exclude(self.session))
        for start in range(0, len(sessions), size):
            piece = sessions[start : start + size]
            longest = int(piece[item].list.len().max())  # type: ignore[arg-type]
            yield {column.name: _tensor(piece[column.name], column, longest) for column in self.schema.columns}

    def save(self, path: Path) -> None:
        """Write schema and texts as JSON."""
        write_json(path, {"session": self.session, "schema": self.schema.model_dump(mode="json"), "names": self.names})

    @classmethod
    def load(cls, path: Path) -> Self:
        """What was saved at `path`."""
        told: dict[str, Any] = read_json(path)  # type: ignore[assignment]
        return cls(Schema.model_validate(told["schema"]), told["names"], session=told["session"])

    def _numbered(self, column: Column) -> pl.Expr:
        """The column's texts as ids, 0 for what was not there."""
        ids = {text: number for number, text in enumerate(self.names[column.name], start=1)}
        values = pl.element() if column.several else pl.col(column.name)
        mapped = values.replace_strict(ids, default=0, return_dtype=pl.Int64)
        return pl.col(column.name).list.eval(mapped) if column.several else mapped.fill_null(0)


def _polars(table: IntoFrame) -> pl.DataFrame:
    frame: nw.DataFrame[Any] = nw.from_native(table, eager_only=True)
    return frame.to_polars()


def _refuse_missing(frame: pl.DataFrame, schema: Schema, session: str) -> None:
    for name in (session, *(column.name for column in schema.columns)):
        if name not in frame.columns:
            raise DataError(f"the table has no column '{name}'{suggestion(name, frame.columns)}")


def _tensor(sessions: pl.Series, column: Column, longest: int) -> Tensor:
    """(B, L, ...) the values of a column, one list a session; (B, ...) where they are the sequence's."""
    whole = column.tag in IDS or column.tag is Tag.MULTICLASS
    # What is not told: an id is nothing, a number none, a class none that there is; whoever cannot read that says so.
    nothing = -1 if column.tag is Tag.MULTICLASS else 0 if whole else np.nan
    rows = sessions.to_list()
    if column.level == "sequence" or column.tag in TARGETS:
        told = [nothing if row[0] is None else row[0] for row in rows]
        return torch.tensor(told, dtype=torch.long if whole else torch.float32)
    if column.several:
        most = max((len(values or ()) for row in rows for values in row), default=1) or 1
        made = np.zeros((len(rows), longest, most), dtype=np.int64)
        for row, events in enumerate(rows):
            made[row, : len(events)] = pad_right([values or () for values in events], most)
        return torch.from_numpy(made)
    shape = (len(rows), longest) if column.tag is not Tag.EMBEDDING else (len(rows), longest, column.width)
    numbers = np.zeros(shape, dtype=np.int64 if whole else np.float32)
    for row, events in enumerate(rows):
        numbers[row, : len(events)] = [np.full(shape[2:], nothing) if value is None else value for value in events]
    return torch.from_numpy(numbers)
