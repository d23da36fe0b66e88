"""What is read of each event beside the item's id, for any rows of ids: in training and in service alike."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from fathom.errors import ConfigError, suggestion
from fathom.files import Json
from fathom.models.model import TrainingData, numbered
from fathom.networks.schema import Schema, schema_of
from fathom.records import PAD, Case, Interactions
from fathom.settings import Settings

BUCKETS = 32
"""Of the time since the event before: 1 for the first event, then one for each doubling of minutes."""
RATINGS = 12
"""Of ratings, to the nearest half: 1 where there is none."""


class ColumnSettings(Settings):
    """What is read beside items."""

    attributes: tuple[str, ...] = ()
    """Attributes of the items that are read, as the catalogue names them."""
    elapsed: bool = False
    """Read how long ago the event before was, where times are known."""
    ratings: bool = False
    """Read how each event was rated, where that is known."""
    columns: tuple[str, ...] = ()
    """What else is read of each event: columns of the data set, names and numbers (docs/data.md)."""


class EventColumns(nn.Module):
    """Turns rows of items, and what is told of their events, into the columns of a network."""

    def __init__(self, n_items: int, values: Mapping[str, tuple[int, int]], named: Mapping[str, int], settings: ColumnSettings) -> None:
        """`values`: attribute -> how many values it has, and how many one item has at most; `named`: column -> how many names it has, 0
        where it holds numbers."""
        super().__init__()
        told: dict[str, Mapping[str, object]] = {"item": {"tag": "item-id", "cardinality": n_items + 1}}
        for name in settings.attributes:
            count, most = values[name]
            told |= {f"attribute {name}": {"tag": "categorical", "several": True, "cardinality": max(count + 1, 2)}}
            self.register_buffer(_buffer("values", name), torch.zeros(n_items + 1, most, dtype=torch.long))
        if settings.elapsed:
            told |= {"elapsed": {"tag": "categorical", "cardinality": BUCKETS + 1}}
        if settings.ratings:
            told |= {"rating": {"tag": "categorical", "cardinality": RATINGS + 1}}
        for name in settings.columns:
            if named[name]:
                told |= {f"column {name}": {"tag": "categorical", "cardinality": named[name] + 2}}
            else:
                told |= {f"column {name}": {"tag": "continuous"}}
                self.register_buffer(_buffer("scale", name), torch.tensor([0.0, 1.0]))
        self.schema: Schema = schema_of(told)
        self._n_items, self._values, self._named, self._settings = n_items, dict(values), dict(named), settings

    @classmethod
    def of(cls, data: TrainingData, settings: ColumnSettings) -> Self:
        """For a catalogue and a log: its values, and mean and spread of its numbers; what the data set does not have is a `ConfigError`."""
        tables = {name: numbered(data.catalog, name) for name in settings.attributes}
        there = data.interactions.columns
        for name in settings.columns:
            if name not in there:
                raise ConfigError(f"columns names '{name}', which this data set does not have{suggestion(name, list(there))}")
        values = {name: (int(table.max()) if table.numel() else 0, table.shape[1]) for name, table in tables.items()}
        made = cls(data.catalog.n_items, values, {name: len(there[name].names) for name in settings.columns}, settings)
        for name, table in tables.items():
            made.get_buffer(_buffer("values", name)).copy_(table)
        for name in settings.columns:
            numbers = there[name].values
            known = numbers[~np.isnan(numbers)].astype(np.float64)
            if not there[name].names and len(known):
                made.get_buffer(_buffer("scale", name)).copy_(torch.tensor([known.mean(), known.std() or 1.0]))
        return made

    def facts(self) -> dict[str, Json]:
        """What `from_facts` needs beside the buffers."""
        return {"values": {name: list(sizes) for name, sizes in self._values.items()}, "named": dict(self._named)}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Json], n_items: int, settings: ColumnSettings) -> Self:
        """As it was saved, its buffers still empty."""
        values: dict[str, tuple[int, int]] = facts["values"]  # type: ignore[assignment]
        named: dict[str, int] = facts["named"]  # type: ignore[assignment]
        return cls(n_items, values, named, settings)

    def of_events(self, ids: Tensor, log: Interactions, places: Tensor) -> dict[str, Tensor]:
        """The columns of rows (B, L) of items, which stand at `places` (B, L) of `log`."""

        def told(values: object) -> Tensor:
            return torch.from_numpy(values)[places].to(ids.device)

        return self.batch(
            ids,
            told(log.times) if self._settings.elapsed and log.times is not None else None,
            told(log.ratings).float() if self._settings.ratings and log.ratings is not None else None,
            {name: told(log.columns[name].values).double() for name in self._settings.columns},
        )

    def of_cases(self, ids: Tensor, cases: Sequence[Case], length: int) -> dict[str, Tensor]:
        """The columns of rows (B, L) of items: the latest `length` events of each case."""
        settings = self._settings
        return self.batch(
            ids,
            _padded([case.times[-length:] for case in cases], ids, -1.0).long() if settings.elapsed else None,
            _padded([case.ratings[-length:] for case in cases], ids, float("nan")) if settings.ratings else None,
            {name: _padded([case.columns.get(name, ())[-length:] for case in cases], ids, float("nan")) for name in settings.columns},
        )

    def batch(self, ids: Tensor, times: Tensor | None, ratings: Tensor | None, told: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The columns of rows (B, L) of items with times (-1: unknown), ratings (NaN: none) and what else is told (NaN: nothing).

        A number that nobody told is the mean of those of training, a name one of its own.
        """
        made = {"item": ids} | {f"attribute {name}": self.get_buffer(_buffer("values", name))[ids] for name in self._settings.attributes}
        if self._settings.elapsed:
            made["elapsed"] = buckets(times, ids)
        if self._settings.ratings:
            made["rating"] = halves(ratings, ids)
        for name in self._settings.columns:
            if self._named[name]:
                made[f"column {name}"] = torch.where(ids != PAD, (told[name] + 1).nan_to_num(1.0), 0.0).long()
            else:
                mean, spread = self.get_buffer(_buffer("scale", name))
                made[f"column {name}"] = torch.where(ids != PAD, ((told[name] - mean) / spread).nan_to_num(0.0), 0.0).float()
        return made


def buckets(times: Tensor | None, ids: Tensor) -> Tensor:
    """(B, L) 1 for a first event or an unknown time, 2 + log2(1 + minutes since the event before) else, at most 32; 0 where no item is."""
    if times is None:
        return (ids != PAD).long()
    before = torch.cat([times[:, :1], times[:, :-1]], dim=1)
    minutes = (times - before).clamp(min=0).double() / 60
    bucket = (2 + (1 + minutes).log2().floor()).clamp(max=BUCKETS)
    known = (times >= 0) & (before >= 0) & (torch.arange(ids.shape[1], device=ids.device) > 0)
    return torch.where(ids != PAD, torch.where(known, bucket, 1.0), 0.0).long()


def halves(ratings: Tensor | None, ids: Tensor) -> Tensor:
    """(B, L) 1 for an event without a rating, else 2 + twice the rating, at most 12; 0 where no item is."""
    if ratings is None:
        return (ids != PAD).long()
    bucket = (2 + (2 * ratings.nan_to_num(0.0)).round()).clamp(2, RATINGS)
    return torch.where(ids != PAD, torch.where(ratings.isnan(), 1.0, bucket), 0.0).long()


def _padded(rows: Sequence[Sequence[float]], ids: Tensor, missing: float) -> Tensor:
    """(B, L) float64 like `ids`, `missing` where nothing is told."""
    made = torch.full(ids.shape, missing, dtype=torch.float64)
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = torch.tensor(values, dtype=torch.float64)
    return made.to(ids.device)


def _buffer(what: str, name: str) -> str:
    """A buffer's name has no dots."""
    return f"{what} of {name.replace('.', ' ')}"
