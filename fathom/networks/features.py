"""Columns become one vector an event: tables, numbers and given vectors, joined and brought to the width of the block."""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from fathom.errors import ConfigError
from fathom.networks.schema import IDS, Column, Schema, Tag, widths_of
from fathom.recommenders.encoders import Dropout
from fathom.settings import Settings

Batch = Mapping[str, Tensor]
"""Column -> values: ids (B, L) int64, with `several` (B, L, H), numbers (B, L), vectors (B, L, E); of the sequence without the L."""


class FeatureSettings(Settings):
    """How columns are read and joined."""

    width: int = Field(default=64, ge=1)
    """Numbers in what the block reads for each event."""
    item_width: int = Field(default=64, ge=1)
    """Numbers in an item's vector."""
    other_width: int = Field(default=0, ge=0)
    """Numbers in the vectors of other ids; 0: ceil(multiplier * cardinality ** 0.25)."""
    widths: Mapping[str, int] = {}
    """Column -> numbers in its vectors, where they are not as above."""
    multiplier: float = Field(default=2.0, gt=0)
    """See `other_width`."""
    multiple: int = Field(default=1, ge=1)
    """Inferred widths are rounded up to a multiple of this."""
    aggregation: Literal["concat", "stack", "sum", "multiply"] = "concat"
    """How the vectors of an event are joined: side by side; side by side where all are equally wide; added up; or the item's times one plus
    the sum of the others."""
    continuous: Literal["scalar", "projection", "mlp", "soft-one-hot"] = "scalar"
    """How numbers are read: as they are; each through a linear map; all together through a small network; each as a mixture of learned
    vectors, whose weights are a softmax of it."""
    continuous_width: int = Field(default=8, ge=1)
    """Numbers in what is read of a number, unless it is a scalar."""
    soft_values: int = Field(default=10, ge=2)
    """Learned vectors of a soft one-hot."""
    vector_width: int = Field(default=0, ge=0)
    """Given vectors are projected to so many numbers; 0: they are taken as they are."""
    unit_vectors: bool = False
    """Given vectors are brought to length one first."""
    frozen: tuple[str, ...] = ()
    """Columns whose tables start from given vectors and stay as they are."""
    item_std: float = Field(default=0.05, gt=0)
    """Standard deviation of items' first vectors."""
    other_std: float = Field(default=0.05, gt=0)
    """Of other ids'."""
    normalised: bool = False
    """A layer norm for each column, before they are joined: numbers need it."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of entries zeroed in each column's vectors, in training."""
    swap: float = Field(default=0.0, ge=0, lt=1)
    """Probability that an event is replaced by another one of the batch, all of its columns together, in training (swap noise)."""
    replaced: Mapping[str, float] = {}
    """Column of ids -> probability that an id is replaced by any other, in training (stochastic shared embeddings, arXiv:1905.10630)."""

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        for name, share in self.replaced.items():
            if not 0 <= share < 1:
                raise ValueError(f"replaced.{name} is {share}: write a probability of at least 0 and below 1")
        return self


class SoftOneHot(nn.Module):
    """A number becomes softmax(x w + b) E: weights of P learned vectors that add up to 1."""

    def __init__(self, values: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Linear(1, values)
        self.vectors = nn.Embedding(values, width)
        nn.init.normal_(self.vectors.weight, std=0.05)

    def forward(self, numbers: Tensor) -> Tensor:
        """(..., width) from (..., 1)."""
        mixed: Tensor = torch.softmax(self.weights(numbers), dim=-1) @ self.vectors.weight
        return mixed


class Features(nn.Module):
    """Reads a batch, (B, L, width) float32. A sequence's own columns are read at each of its events."""

    def __init__(self, schema: Schema, settings: FeatureSettings, *, given: Mapping[str, Tensor] | None = None) -> None:
        """`given`: column of ids -> (cardinality, width) vectors its table starts from."""
        super().__init__()
        self.schema, self.settings = schema, settings
        given = dict(given or {})
        _known(schema, (*given, *settings.widths, *settings.frozen, *settings.replaced))
        if missing := sorted(set(settings.frozen) - set(given)):
            raise ConfigError(f"frozen names '{missing[0]}', but no vectors are given for it: pass them, or let it be trained")
        widths = widths_of(
            [column for column in schema.read if column is not schema.item],
            fixed=settings.other_width,
            given=settings.widths,
            multiplier=settings.multiplier,
            multiple=settings.multiple,
        ) | {schema.item.name: settings.widths.get(schema.item.name, settings.item_width)}
        widths |= {name: vectors.shape[1] for name, vectors in given.items()}
        self.tables = nn.ModuleDict()
        self.readers = nn.ModuleDict()
        sizes: dict[str, int] = {}
        numbers = [column.name for column in schema.read if column.tag is Tag.CONTINUOUS]
        # Of columns that share a table the item's own comes first: its width and its first vectors are the table's.
        for column in sorted(schema.read, key=lambda column: (column.tag is not Tag.ITEM_ID, column.name not in given)):
            if column.tag in IDS:
                sizes[column.name] = self._table(column, widths[column.name], given.get(column.name))
            elif column.tag is Tag.EMBEDDING:
                sizes[column.name] = settings.vector_width or column.width
                if settings.vector_width:
                    self.readers[_key(column.name)] = nn.Linear(column.width, settings.vector_width)
            elif settings.continuous != "mlp":
                sizes[column.name] = 1 if settings.continuous == "scalar" else settings.continuous_width
                if settings.continuous == "projection":
                    self.readers[_key(column.name)] = nn.Linear(1, settings.continuous_width)
                elif settings.continuous == "soft-one-hot":
                    self.readers[_key(column.name)] = SoftOneHot(settings.soft_values, settings.continuous_width)
        if numbers and settings.continuous == "mlp":
            sizes[ALL_NUMBERS] = inner = settings.continuous_width
            self.readers[_key(ALL_NUMBERS)] = nn.Sequential(nn.Linear(len(numbers), inner), nn.GELU(), nn.Linear(inner, inner))
        self._numbers = numbers
        if settings.aggregation != "concat" and len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ConfigError(f"aggregation is {settings.aggregation}, which needs columns of one width, but they have {told}")
        self.sizes = {name: sizes[name] for name in sorted(sizes)}
        """Column -> numbers in what is read of it, by name."""
        self.norms = nn.ModuleDict({_key(name): nn.LayerNorm(size) for name, size in sizes.items()} if settings.normalised else {})
        self.dropout = Dropout(settings.dropout)
        side_by_side = settings.aggregation in ("concat", "stack")
        self.projection = nn.Linear(sum(sizes.values()) if side_by_side else sizes[schema.item.name], settings.width)

    @property
    def items(self) -> nn.Embedding:
        """(cardinality, item width) the items' vectors; row 0 is zero."""
        return self._table_of(self.schema.item)

    def forward(self, batch: Batch, *, disturbed: bool = True) -> Tensor:
        """(B, L, width) float32; what stands at padded events means nothing. `disturbed`: with swaps and replacements, in training."""
        ids = batch[self.schema.item.name]
        length = ids.shape[1]
        batch = self._without_padding(batch, ids > 0)
        if self.training and disturbed:
            batch = self._disturbed(batch, ids > 0)
        read = {name: self.dropout(self._normed(name, vectors)) for name, vectors in self._columns(batch, length).items()}
        item = self.schema.item.name
        parts = [read[name] for name in sorted(read)]
        if self.settings.aggregation in ("concat", "stack"):
            joined = torch.cat(parts, dim=-1)
        elif self.settings.aggregation == "sum":
            joined = torch.stack(parts).sum(dim=0)
        else:
            others = [vectors for name, vectors in read.items() if name != item]
            joined = read[item] * (1 + torch.stack(others).sum(dim=0)) if others else read[item]
        projected: Tensor = self.projection(joined)
        return projected

    def _columns(self, batch: Batch, length: int) -> dict[str, Tensor]:
        """Column -> (B, L, its size)."""
        found: dict[str, Tensor] = {}
        for column in self.schema.read:
            values = batch[column.name]
            if column.tag in IDS:
                vectors = self._table_of(column)(values)
                if column.several:
                    count = (values > 0).sum(dim=-1, keepdim=True).clamp(min=1)
                    vectors = vectors.sum(dim=-2) / count
            elif column.tag is Tag.EMBEDDING:
                vectors = normalize(values, dim=-1) if self.settings.unit_vectors else values
                vectors = self.readers[_key(column.name)](vectors) if self.settings.vector_width else vectors
            else:
                vectors = values[..., None].float()
                if _key(column.name) in self.readers:
                    vectors = self.readers[_key(column.name)](vectors)
            found[column.name] = vectors if column.level == "event" else vectors[:, None].expand(-1, length, -1)
        if ALL_NUMBERS in self.sizes:
            found[ALL_NUMBERS] = self.readers[_key(ALL_NUMBERS)](torch.cat([found.pop(name) for name in self._numbers], dim=-1))
        return found

    def _without_padding(self, batch: Batch, real: Tensor) -> Batch:
        """The batch with zeros for the numbers and vectors of padded events: one that is no number would spoil every gradient."""
        made = dict(batch)
        for column in self.schema.read:
            if column.level == "event" and column.tag not in IDS:
                values = made[column.name]
                made[column.name] = torch.where(real[..., None] if values.ndim == 3 else real, values, 0.0)
        return made

    def _disturbed(self, batch: Batch, real: Tensor) -> Batch:
        """The batch with events swapped and ids replaced, where the settings ask for it and something real stands."""
        made = dict(batch)
        settings = self.settings
        if settings.swap and bool(real.any()):
            flat = real.flatten()
            places = flat.nonzero()[:, 0]
            chosen = flat & (torch.rand(flat.shape, device=flat.device) < settings.swap)
            others = places[torch.randint(len(places), flat.shape, device=flat.device)]
            source = torch.where(chosen, others, torch.arange(len(flat), device=flat.device))
            for column in self.schema.read:
                if column.level == "event":
                    values = made[column.name]
                    made[column.name] = values.flatten(0, 1)[source].view(values.shape)
        for column in self.schema.read:
            if share := settings.replaced.get(column.name, 0.0):
                values = made[column.name]
                drawn = torch.randint(1, column.cardinality, values.shape, device=values.device)
                chosen = (torch.rand(values.shape, device=values.device) < share) & (values > 0)
                made[column.name] = torch.where(chosen, drawn, values)
        return made

    def _normed(self, name: str, vectors: Tensor) -> Tensor:
        normed: Tensor = self.norms[_key(name)](vectors) if self.norms else vectors
        return normed

    def _table(self, column: Column, width: int, given: Tensor | None) -> int:
        """Make the column's table, or find that it shares one; returns its width."""
        key = _key(column.table or column.name)
        if key in self.tables:
            return self._table_of(column).embedding_dim
        table = nn.Embedding(column.cardinality, width, padding_idx=0)
        nn.init.normal_(table.weight, std=self.settings.item_std if column.tag is Tag.ITEM_ID else self.settings.other_std)
        if given is not None:
            if given.shape[0] != column.cardinality:
                raise ConfigError(f"column '{column.name}' has {column.cardinality} ids, but {given.shape[0]} vectors are given")
            table.weight.data.copy_(given)
            table.weight.requires_grad_(column.name not in self.settings.frozen)
        table.weight.data[0] = 0.0
        self.tables[key] = table
        return width

    def _table_of(self, column: Column) -> nn.Embedding:
        table = self.tables[_key(column.table or column.name)]
        assert isinstance(table, nn.Embedding)
        return table


ALL_NUMBERS = "continuous numbers"
"""What the numbers are called where one network reads them together."""


def _key(name: str) -> str:
    """A column's name as torch allows it for a part of a module."""
    return "column " + name.replace(".", "\u2024")


def _known(schema: Schema, names: tuple[str, ...]) -> None:
    ids = [column.name for column in schema.read if column.tag in IDS]
    for name in names:
        if name not in ids:
            raise ConfigError(f"'{name}' is no column of ids of the schema: there are {', '.join(ids)}")
