"""Named models of the meta-architecture (RecSys 2021) on a log: BERT4Rec (arXiv:1904.06690) and XLNet by four objectives.

Items are read by their ids, and with them, if asked for, their attributes, the time since the event before, and ratings.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from pydantic import Field
from rich.console import Console
from torch import Tensor, nn

from fathom.data.batches import pad_right
from fathom.errors import ConfigError, suggestion
from fathom.files import Json
from fathom.models.model import ProductModel, TrainingData, numbered, refuse_unknown
from fathom.models.searching import FIT, Range, SearchSpace
from fathom.networks.blocks import BlockSettings
from fathom.networks.features import FeatureSettings
from fathom.networks.heads import NextItemSettings
from fathom.networks.masking import MaskingSettings, Objective
from fathom.networks.network import Network, NetworkSettings
from fathom.networks.schema import Schema, schema_of
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Interactions
from fathom.settings import Settings
from fathom.training.processes import cut, processes
from fathom.training.run import noise_from
from fathom.training.sequential import SequenceFit, Windows, figures, window_batches
from fathom.training.supervised import fit

BUCKETS = 32
"""Of the time since the event before: 1 for the first event, then one for each doubling of minutes."""
RATINGS = 12
"""Of ratings, to the nearest half: 1 where there is none."""


class ArchitectureSettings(Settings):
    """The size of the network, what it reads beside items, and how it is trained."""

    width: int = Field(default=64, ge=1)
    """Numbers in a state and in an item's vector."""
    layers: int = Field(default=2, ge=1)
    """Layers of the block."""
    heads: int = Field(default=2, ge=1)
    """Attention heads of a layer, which share the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=100, ge=2)
    """Newest events that are read."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of entries zeroed in training inside the block."""
    input_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of entries zeroed in training in what the block reads."""
    share: float = Field(default=0.2, gt=0, lt=1)
    """Of a row's events that are masked or asked for, where the objective hides any."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""
    attributes: tuple[str, ...] = ()
    """Attributes of the items that are read, as the catalogue names them."""
    elapsed: bool = False
    """Read how long ago the event before was, where times are known."""
    ratings: bool = False
    """Read how each event was rated, where that is known."""
    columns: tuple[str, ...] = ()
    """What else is read of each event: columns of the data set, names and numbers (docs/data.md)."""
    aggregation: Literal["concat", "sum", "multiply"] = "concat"
    """How what is read of an event is joined."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted."""


class MaskedSettings(ArchitectureSettings):
    """With the defaults of what learns from few places of a row: it needs more passes."""

    fit: SequenceFit = SequenceFit(epochs=80)
    """How it is fitted."""


class SmoothedSettings(MaskedSettings):
    """With the smoothing that the paper found to help."""

    smoothing: float = Field(default=0.2, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""


Chosen = TypeVar("Chosen", bound=ArchitectureSettings)


class Columns(nn.Module):
    """What is read of each event beside the item's id, for any rows of ids."""

    def __init__(
        self, sizes: Mapping[str, int], widest: Mapping[str, int], named: Mapping[str, int], n_items: int, settings: ArchitectureSettings
    ) -> None:
        """`sizes`: attribute -> how many values it has; `widest`: attribute -> how many one item has at most; `named`: column -> how many
        names it has, 0 where it holds numbers."""
        super().__init__()
        told: dict[str, Mapping[str, object]] = {"item": {"tag": "item-id", "cardinality": n_items + 1}}
        for name in settings.attributes:
            told |= {f"attribute {name}": {"tag": "categorical", "several": True, "cardinality": max(sizes[name] + 1, 2)}}
            self.register_buffer(f"values of {name.replace('.', ' ')}", torch.zeros(n_items + 1, widest[name], dtype=torch.long))
        if settings.elapsed:
            told |= {"elapsed": {"tag": "categorical", "cardinality": BUCKETS + 1}}
        if settings.ratings:
            told |= {"rating": {"tag": "categorical", "cardinality": RATINGS + 1}}
        for name in settings.columns:
            if named[name]:
                told |= {f"column {name}": {"tag": "categorical", "cardinality": named[name] + 2}}
            else:
                told |= {f"column {name}": {"tag": "continuous"}}
                self.register_buffer(f"scale of {name.replace('.', ' ')}", torch.tensor([0.0, 1.0]))
        self.named = dict(named)
        self.schema: Schema = schema_of(told)
        self.settings = settings

    def values(self, name: str) -> Tensor:
        """(N + 1, H) the values of each item's attribute, from 1, padded with 0."""
        found: Tensor = self.get_buffer(f"values of {name.replace('.', ' ')}")
        return found

    def scale(self, name: str) -> Tensor:
        """(2,) mean and standard deviation of a column of numbers in training."""
        found: Tensor = self.get_buffer(f"scale of {name.replace('.', ' ')}")
        return found

    def batch(self, ids: Tensor, times: Tensor | None, ratings: Tensor | None, told: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The columns of rows (B, L) of items with times (-1: unknown), ratings (NaN: none) and what else is told (NaN: nothing).

        A number that nobody told is the mean of those of training, a name one of its own.
        """
        made = {"item": ids} | {f"attribute {name}": self.values(name)[ids] for name in self.settings.attributes}
        if self.settings.elapsed:
            made["elapsed"] = buckets(times, ids)
        if self.settings.ratings:
            made["rating"] = halves(ratings, ids)
        for name in self.settings.columns:
            if self.named[name]:
                made[f"column {name}"] = torch.where(ids != PAD, (told[name] + 1).nan_to_num(1.0), 0.0).long()
            else:
                mean, spread = self.scale(name)
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


class Whole(nn.Module):
    """Columns and network: all that is saved."""

    def __init__(self, columns: Columns, settings: NetworkSettings) -> None:
        super().__init__()
        self.columns = columns
        self.network = Network(columns.schema, settings)


class ArchitectureModel(ProductModel[Chosen], Generic[Chosen]):
    """A subclass says which block and which objective."""

    by_gradients = True
    goes_on = True
    searched: ClassVar[SearchSpace] = FIT | {
        "dropout": Range(0.0, 0.5),
        "input_dropout": Range(0.0, 0.5),
        "smoothing": (0.0, 0.1, 0.2, 0.3),
        "share": Range(0.1, 0.6),
    }
    block: ClassVar[str]
    objective: ClassVar[Objective]

    def __init__(self, whole: Whole, settings: Chosen) -> None:
        self.whole = whole.eval()
        self.settings = settings
        self.n_items = whole.network.schema.item.cardinality - 1

    @classmethod
    def fit(cls, data: TrainingData, settings: Chosen) -> Self:
        """The weights of the best validation; an interrupted call goes on."""
        n_items = data.catalog.n_items
        tables = {name: numbered(data.catalog, name) for name in settings.attributes}
        sizes = {name: int(table.max()) if table.numel() else 0 for name, table in tables.items()}
        columns_there = data.interactions.columns
        for name in settings.columns:
            if name not in columns_there:
                raise ConfigError(f"columns names '{name}', which this data set does not have{suggestion(name, list(columns_there))}")
        named = {name: len(columns_there[name].names) for name in settings.columns}
        with noise_from(settings.fit.seed):
            columns = Columns(sizes, {name: table.shape[1] for name, table in tables.items()}, named, n_items, settings)
            whole = Whole(columns, cls._parts(settings))
        for name, table in tables.items():
            columns.values(name).copy_(table)
        for name in (name for name, count in named.items() if not count):
            values = columns_there[name].values
            known = values[~np.isnan(values)].astype(np.float64)
            if len(known):
                columns.scale(name).copy_(torch.tensor([known.mean(), known.std() or 1.0]))
        made = cls(whole, settings)
        made._train(data)
        return made

    def continued(self, data: TrainingData) -> Self:
        """The network trained further on this log, by the same settings."""
        made = type(self)(deepcopy(self.whole), self.settings)
        made._train(data)
        return made

    def save(self, folder: Path) -> None:
        """Write columns and network into `folder`, whole or not at all."""
        columns = self.whole.columns
        sizes: dict[str, Json] = {name: int(columns.values(name).max()) for name in self.settings.attributes}
        widest: dict[str, Json] = {name: columns.values(name).shape[1] for name in self.settings.attributes}
        named: dict[str, Json] = dict(columns.named)
        facts: dict[str, Json] = {"kind": self.kind, "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")}
        # The head's table is the one that items are read by: tensors that share their storage cannot be written as they are.
        tensors = {name: tensor.clone() for name, tensor in self.whole.state_dict().items()}
        save_weights(folder, tensors, facts | {"values": sizes, "widest": widest, "named": named})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What was saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        settings = recorded(facts, cls.settings_type(), folder)
        sizes, widest, named = (
            {name: int(str(count)) for name, count in dict(facts[part]).items()}  # type: ignore[arg-type]
            for part in ("values", "widest", "named")
        )
        whole = Whole(Columns(sizes, widest, named, int(str(facts["n_items"])), settings), cls._parts(settings))
        put_weights(whole, read_tensors(folder), folder)
        return cls(whole, settings)

    @property
    def module(self) -> nn.Module:
        """Columns and network."""
        return self.whole

    def items(self) -> Tensor:
        """(N + 1, d + 1) vectors and biases."""
        assert self.whole.network.next_item is not None
        return self.whole.network.next_item.table()

    def people(self, cases: Sequence[Case]) -> Tensor:
        """(B, d + 1) states, whose products with the items are the logits."""
        network, columns = self.whole.network, self.whole.columns
        device = network.features.items.weight.device
        # The mask stands behind the history: with it a row is as long as the longest that training has read.
        length = self.settings.length - (self.objective != "clm")
        refuse_unknown(cases, self.n_items)
        latest = [case.history[-length:] for case in cases]
        size = max(1, *map(len, latest)) if latest else 1
        ids = torch.from_numpy(pad_right(latest, size)).to(device)
        times = _padded([case.times[-length:] for case in cases], ids, -1.0).long() if self.settings.elapsed else None
        ratings = _padded([case.ratings[-length:] for case in cases], ids, float("nan")) if self.settings.ratings else None
        told = {
            name: _padded([case.columns.get(name, ())[-length:] for case in cases], ids, float("nan")) for name in self.settings.columns
        }
        lengths = torch.tensor([len(history) for history in latest], device=device)
        states = network.states(columns.batch(ids, times, ratings, told), lengths)
        assert network.next_item is not None
        return network.next_item.queries(states)

    def _train(self, data: TrainingData) -> None:
        """Fit the network in place."""
        log, whole, settings = data.interactions, self.whole, self.settings
        times = None if log.times is None else torch.from_numpy(log.times)
        ratings = None if log.ratings is None else torch.from_numpy(log.ratings).float()
        if (alone := int((np.diff(log.offsets) == 1).sum())) and processes().is_main_process:
            Console().print(f"  {alone:,} histories of one event teach {self.kind} nothing: a row has to show and to ask", highlight=False)
        others = {name: torch.from_numpy(log.columns[name].values).double() for name in settings.columns}

        def loss(_: nn.Module, windows: Windows) -> tuple[Tensor, Tensor]:
            device = whole.network.features.items.weight.device
            ids, places = windows.targets.to(device), windows.places
            own_times = None if times is None else times[places].to(device)
            own_ratings = None if ratings is None else ratings[places].to(device)
            told = {name: values[places].to(device) for name, values in others.items()}
            losses = whole.network.losses(whole.columns.batch(ids, own_times, own_ratings, told))
            return losses.total, losses.asked

        fit(
            whole,
            batches=lambda _, rng: rows_of(log, settings, rng),
            loss=loss,
            settings=settings.fit,
            run=data.run,
            stage=data.stage,
            validate=(lambda: figures(self, data.valid)) if data.valid else None,
            micro_batches=lambda windows: [windows.rows(piece) for piece in cut(len(windows.ids))],
        )

    @classmethod
    def _parts(cls, settings: Chosen) -> NetworkSettings:
        width = settings.width
        even = settings.aggregation != "concat"
        return NetworkSettings(
            features=FeatureSettings(
                width=width,
                item_width=width,
                other_width=width if even else 0,
                aggregation=settings.aggregation,
                dropout=settings.input_dropout,
                normalised=bool(settings.attributes or settings.columns),
                continuous="soft-one-hot",
                continuous_width=width if even else 8,
            ),
            masking=MaskingSettings(objective=cls.objective, share=settings.share),
            block=BlockSettings(
                kind=cls.block,
                width=width,
                layers=settings.layers,
                heads=settings.heads,
                inner=settings.inner,
                length=settings.length,
                dropout=settings.dropout,
            ),
            next_item=NextItemSettings(smoothing=settings.smoothing),
        )


def rows_of(log: Interactions, settings: ArchitectureSettings, rng: np.random.Generator) -> list[Windows]:
    """One epoch's rows: every event stands in one of them; rows of one event teach nothing and are left out."""
    windows = window_batches(log, settings.length, rows=settings.fit.batch_size, rng=rng)
    kept = []
    for one in windows:
        long = (one.targets != PAD).sum(dim=1) > 1
        if bool(long.any()):
            kept.append(Windows(one.ids[long], one.targets[long], one.places[long]))
    return kept


def _padded(rows: Sequence[Sequence[float]], ids: Tensor, missing: float) -> Tensor:
    """(B, L) float64 like `ids`, `missing` where nothing is told."""
    made = torch.full(ids.shape, missing, dtype=torch.float64)
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = torch.tensor(values, dtype=torch.float64)
    return made.to(ids.device)


class BERT4Rec(ArchitectureModel[MaskedSettings]):
    """The cloze task: any masked event, read both ways."""

    kind = "bert4rec"
    about = "self-attention both ways, masked items"
    block, objective = "bert", "mlm"


class XLNetCLM(ArchitectureModel[ArchitectureSettings]):
    """The next item after every event."""

    kind = "xlnet-clm"
    about = "XLNet, the next item after every event"
    block, objective = "xlnet", "clm"


class XLNetMLM(ArchitectureModel[SmoothedSettings]):
    """Masked items."""

    kind = "xlnet-mlm"
    about = "XLNet, masked items"
    block, objective = "xlnet", "mlm"


class XLNetPLM(ArchitectureModel[SmoothedSettings]):
    """Drawn spans in a drawn order."""

    kind = "xlnet-plm"
    about = "XLNet, items in a drawn order"
    block, objective = "xlnet", "plm"


class XLNetRTD(ArchitectureModel[SmoothedSettings]):
    """Masked items, and which events were replaced."""

    kind = "xlnet-rtd"
    about = "XLNet, masked items and which ones were replaced"
    block, objective = "xlnet", "rtd"
