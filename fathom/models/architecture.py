"""The meta-architecture (Transformers4Rec, RecSys 2021) on a log: what its named models share."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from pydantic import Field, model_validator
from rich.console import Console
from torch import Tensor, nn

from fathom.data.batches import pad_right
from fathom.files import Json
from fathom.models.event_columns import ColumnSettings, EventColumns
from fathom.models.model import ProductModel, TrainingData, refuse_unknown
from fathom.models.network_model import shaped_for, with_texts
from fathom.models.searching import FIT, Range, SearchSpace
from fathom.networks.block import BlockSettings
from fathom.networks.features import FeatureSettings
from fathom.networks.heads import NextItemSettings
from fathom.networks.masking import LISTENERS, MaskingSettings, Objective, refuse_two_questions
from fathom.networks.network import Network, NetworkSettings
from fathom.recommenders.text_vectors import TextVectorSettings
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Interactions
from fathom.settings import Settings
from fathom.training.processes import cut, processes
from fathom.training.run import noise_from
from fathom.training.sequential import SequenceFit, Windows, figures, window_batches
from fathom.training.supervised import fit


class ArchitectureSettings(ColumnSettings):
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
    swap: float = Field(default=0.0, ge=0, lt=1)
    """Probability that training reads another event of the batch in an event's place, all that is read of it together (swap noise)."""
    replaced: float = Field(default=0.0, ge=0, lt=1)
    """Probability that training reads any other item in an event's place (stochastic shared embeddings, arXiv:1905.10630)."""
    next_item: NextItemSettings = NextItemSettings()
    """How items are scored, and how the true one is set against the others."""
    last_only: bool = False
    """Training asks for the last event of each row alone."""
    texts: TextVectorSettings | None = None
    """Item vectors from item texts; left out: they are drawn."""
    aggregation: Literal["concat", "sum", "multiply"] = "concat"
    """How what is read of an event is joined."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted."""


class HidingSettings(ArchitectureSettings):
    """With the defaults of what learns from few places of a row: it needs more passes."""

    share: float = Field(default=0.2, gt=0, lt=1)
    """Of a row's events that are hidden and asked for."""
    fit: SequenceFit = SequenceFit(epochs=80)
    """How it is fitted."""


class MaskedSettings(HidingSettings):
    """With what masks."""

    ends: float = Field(default=0.1, ge=0, le=1)
    """Of the rows so many have their last event alone masked, as whoever is served is asked."""


class PermutedSettings(HidingSettings):
    """With what draws an order."""

    span: int = Field(default=5, ge=1)
    """Longest run of events that is asked for together."""
    permute_all: bool = False
    """All events are asked for in a drawn order, but the first, before which nothing is known."""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        refuse_two_questions(all_events=self.permute_all, last_only=self.last_only)
        return self


class ReplacedSettings(MaskedSettings):
    """With what replaces."""

    generator_weight: float = Field(default=1.0, ge=0)
    """Of the masked items' loss."""
    discriminator_weight: float = Field(default=1.0, ge=0)
    """Of the loss of telling replaced events from others."""
    tied: bool = True
    """Whether generator and discriminator are one block; otherwise the generator is a block of its own."""
    generator_width: int = Field(default=0, ge=0)
    """Numbers in a state of a generator of its own; 0: as many as in the discriminator's."""
    replacements: Literal["batch", "softmax"] = "batch"
    """Where replacements come from: the masked items of the batch, or the generator's distribution over all items."""


Chosen = TypeVar("Chosen", bound=ArchitectureSettings)


class Whole(nn.Module):
    """Columns and network: all that is saved."""

    def __init__(self, columns: EventColumns, settings: NetworkSettings, *, counts: Tensor | None = None) -> None:
        super().__init__()
        self.columns = columns
        self.network = Network(columns.schema, settings, counts=counts)


class ArchitectureModel(ProductModel[Chosen], Generic[Chosen]):
    """A subclass says which block and which objective."""

    by_gradients = True
    goes_on = True
    searched: ClassVar[SearchSpace] = FIT | {
        "dropout": Range(0.0, 0.5),
        "input_dropout": Range(0.0, 0.5),
        "next_item.smoothing": (0.0, 0.1, 0.2, 0.3),
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
        with noise_from(settings.fit.seed):
            counts = torch.bincount(torch.from_numpy(data.interactions.items), minlength=data.catalog.n_items + 1)
            whole = Whole(EventColumns.of(data, settings), cls._parts(settings), counts=counts)
            with_texts(whole.network.features.items, data.catalog, settings.texts)
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
        facts: dict[str, Json] = {"kind": self.kind, "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")}
        # The head's table is the one that items are read by: tensors that share their storage cannot be written as they are.
        tensors = {name: tensor.clone() for name, tensor in self.whole.state_dict().items()}
        save_weights(folder, tensors, facts | self.whole.columns.facts())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What was saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        settings = recorded(facts, cls.settings_type(), folder)
        columns = EventColumns.from_facts(facts, int(str(facts["n_items"])), settings)
        # By how often items are drawn as rivals is among the weights: any counts will do until they are read.
        whole = Whole(columns, cls._parts(settings), counts=torch.ones(columns.schema.item.cardinality, dtype=torch.long))
        tensors = read_tensors(folder)
        shaped_for(whole, whole.network.features.items, settings.texts, tensors)
        put_weights(whole, tensors, folder)
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
        length = self.settings.length - (network.settings.masking.objective != "clm")
        refuse_unknown(cases, self.n_items)
        latest = [case.history[-length:] for case in cases]
        size = max(1, *map(len, latest)) if latest else 1
        ids = torch.from_numpy(pad_right(latest, size)).to(device)
        lengths = torch.tensor([len(history) for history in latest], device=device)
        states = network.states(columns.of_cases(ids, cases, length), lengths)
        assert network.next_item is not None
        return network.next_item.queries(states)

    def _train(self, data: TrainingData) -> None:
        """Fit the network in place."""
        log, whole, settings = data.interactions, self.whole, self.settings
        if (alone := int((np.diff(log.offsets) == 1).sum())) and processes().is_main_process:
            Console().print(f"  {alone:,} histories of one event teach {self.kind} nothing: a row has to show and to ask", highlight=False)

        def loss(_: nn.Module, windows: Windows) -> tuple[Tensor, Tensor]:
            ids = windows.targets.to(whole.network.features.items.weight.device)
            losses = whole.network.losses(whole.columns.of_events(ids, log, windows.places))
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
    def _pair(cls, settings: Chosen) -> tuple[str, Objective]:
        """Block and objective."""
        del settings
        return cls.block, cls.objective

    @classmethod
    def _parts(cls, settings: Chosen) -> NetworkSettings:
        width = settings.width
        block, objective = cls._pair(settings)

        def told(part: type[Settings]) -> dict[str, object]:
            return {name: value for name, value in settings if name in part.model_fields and objective in LISTENERS.get(name, (objective,))}

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
                swap=settings.swap,
                replaced={"item": settings.replaced},
            ),
            masking=MaskingSettings.model_validate({"objective": objective} | told(MaskingSettings)),
            block=BlockSettings.model_validate({"kind": block} | told(BlockSettings)),
            next_item=settings.next_item,
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
