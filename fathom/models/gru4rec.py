"""GRU4Rec: a recurrent network over sessions that stand side by side (arXiv:1511.06939, arXiv:1706.03847).

lanes     one session each, one event a step; a lane whose session ends begins the next one with an empty state
rivals    the true items of the other lanes, and items drawn by count ** exponent, the same for all lanes
score     h . w_i + b_i, through an exponential linear unit if one is set
"""

import heapq
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self, overload

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import elu

from fathom.data.batches import pad_right
from fathom.models.model import ProductModel, TrainingData, refuse_unknown
from fathom.models.network_model import shaped_for, with_texts
from fathom.models.searching import Range, SearchSpace
from fathom.recommenders.encoders import Dropout
from fathom.recommenders.text_vectors import TextVectorSettings
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Interactions, Ints
from fathom.settings import Settings
from fathom.training.ranking_losses import RANKING_LOSSES, RankingLoss, bpr_max
from fathom.training.run import noise_from
from fathom.training.sampled import chances
from fathom.training.sequential import figures
from fathom.training.supervised import FitSettings, fit


class GRU4RecSettings(Settings):
    """The size of the network, how it reads items, and how it is trained."""

    width: int = Field(default=128, ge=1)
    """Numbers in a state and in an item's vector."""
    layers: int = Field(default=1, ge=1)
    """Recurrent layers, one above the other."""
    reads: Literal["tied", "separate", "one-hot"] = "tied"
    """How an item enters: by the vector it is ranked by (the constrained embedding, the best one), by one of its own, or straight into the
    gates, as in the first paper."""
    length: int = Field(default=200, ge=1)
    """Newest events that are read when somebody is served."""
    embedding_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in what is read."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of entries zeroed in the state that is compared with items, and between layers."""
    loss: Literal["sampled_softmax", "bpr", "top1", "top1_max", "bpr_max"] = "sampled_softmax"
    """How the true item is set against its rivals; the softmax is corrected for how often each is one."""
    negatives: int = Field(default=1024, ge=0)
    """Items drawn for a step beside the other lanes' true items."""
    exponent: float = Field(default=0.5, ge=0, le=1)
    """Of the counts by which they are drawn: 0 all alike, 1 by popularity (alpha)."""
    regularisation: float = Field(default=1.0, ge=0)
    """Of `bpr_max`: what the squares of rivals' scores cost (lambda)."""
    elu: float = Field(default=0.0, ge=0)
    """Scores below zero end at minus this; 0: they are left as they are."""
    texts: TextVectorSettings | None = None
    """Item vectors from item texts; left out: they are drawn."""
    fit: FitSettings = FitSettings(epochs=10, batch_size=128, learning_rate=2e-3, schedule="cosine", weight_decay=0.0)
    """How it is fitted; one example of `batch_size` is a lane."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event of every lane, and what comes next there."""

    read: Tensor
    """(B,) items."""
    wanted: Tensor
    """(B,) what follows each; `PAD` in a lane that has run out."""
    begins: Tensor
    """(B,) whether the session begins with this event."""
    drawn: Tensor
    """(n,) rivals of all lanes."""


class Network(nn.Module):
    """The recurrent network, and the state of the lanes while it is trained."""

    lanes: Tensor

    def __init__(self, n_items: int, settings: GRU4RecSettings) -> None:
        super().__init__()
        self.n_items, self.settings, width = n_items, settings, settings.width
        self.items = nn.Embedding(n_items + 1, width)
        self.bias = nn.Embedding(n_items + 1, 1)
        self.read = None if settings.reads == "tied" else nn.Embedding(n_items + 1, width * (3 if settings.reads == "one-hot" else 1))
        self.cells = nn.ModuleList(nn.GRUCell(width, width) for _ in range(settings.layers))
        self.embedding_dropout, self.dropout = Dropout(settings.embedding_dropout), Dropout(settings.dropout)
        self.register_buffer("lanes", torch.zeros(settings.layers, settings.fit.batch_size, width))
        for weight in self.parameters():
            if weight.ndim == 2:
                bound = (6 / sum(weight.shape)) ** 0.5
                nn.init.uniform_(weight, -bound, bound)
            else:
                nn.init.zeros_(weight)
        nn.init.zeros_(self.bias.weight)

    def step(self, ids: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """What is expected after the items (B,), (B, d), and the states (layers, B, d) behind them, given those before them."""
        inputs = self.embedding_dropout((self.items if self.read is None else self.read)(ids))
        after = []
        for number, cell in enumerate(self.cells):
            assert isinstance(cell, nn.GRUCell)
            known = number > 0 or self.settings.reads != "one-hot"
            state = cell(inputs, states[number]) if known else _gated(inputs, states[number], cell)
            after.append(state)
            inputs = self.dropout(state)
        return inputs, torch.stack(after)

    def users(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """(B, d + 1) what is expected after each history, and a one for the bias."""
        latest = [tuple(history[-self.settings.length :]) for history in histories]
        ids = torch.from_numpy(pad_right(latest, max(map(len, latest), default=1) or 1)).to(self.items.weight.device)
        lengths = torch.tensor([len(history) for history in latest], device=ids.device)
        inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        states = torch.zeros(self.settings.layers, len(latest), self.settings.width, device=ids.device)
        for place in range(ids.shape[1]):
            states = torch.where(inside[:, place, None], self.step(ids[:, place], states)[1], states)
        return torch.cat([states[-1], torch.ones(len(latest), 1, device=ids.device)], dim=1)

    def table(self) -> Tensor:
        """(n_items + 1, d + 1) vectors and biases."""
        return torch.cat([self.items.weight, self.bias.weight], dim=1)


class GRU4Rec(ProductModel[GRU4RecSettings]):
    """Reads a history event by event."""

    kind = "gru4rec"
    about = "a recurrent network, sessions side by side"
    searched: ClassVar[SearchSpace] = {
        "fit.learning_rate": Range(5e-4, 2e-2, log=True),
        "width": (64, 128, 256),
        "embedding_dropout": Range(0.0, 0.5),
        "dropout": Range(0.0, 0.5),
        "loss": ("sampled_softmax", "bpr_max"),
        "exponent": Range(0.0, 1.0),
        "elu": (0.0, 0.5),
    }
    by_gradients = True
    goes_on = True

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.n_items = network.n_items
        self.settings = network.settings

    @classmethod
    def fit(cls, data: TrainingData, settings: GRU4RecSettings) -> Self:
        """The weights of the best validation. What came before a step is known to it, but no gradient goes back there."""
        with noise_from(settings.fit.seed):
            made = cls(Network(data.catalog.n_items, settings))
            with_texts(made.network.items, data.catalog, settings.texts)
        made._train(data)
        return made

    def continued(self, data: TrainingData) -> Self:
        """The network trained further on this log, by the same settings."""
        made = type(self)(deepcopy(self.network))
        made._train(data)
        return made

    def _train(self, data: TrainingData) -> None:
        """Fit the network in place."""
        network, settings = self.network, self.settings
        counts = np.bincount(data.interactions.items, minlength=self.n_items + 1)
        expected = expected_rivals(counts, settings)
        fit(
            network,
            batches=lambda _, rng: Lanes(data.interactions, counts, settings, seed=int(rng.integers(2**62))),
            loss=lambda _, step: lane_loss(network, step, expected),
            settings=settings.fit,
            run=data.run,
            stage=data.stage,
            validate=(lambda: figures(self, data.valid)) if data.valid else None,
        )

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def people(self, cases: Sequence[Case]) -> Tensor:
        """States, and a one for the item's bias."""
        refuse_unknown(cases, self.n_items)
        return self.network.users([case.history for case in cases])

    def items(self) -> Tensor:
        """Vectors and biases."""
        return self.network.table()

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, whole or not at all."""
        weights = {name: weight for name, weight in self.network.state_dict().items() if name != "lanes"}
        save_weights(folder, weights, {"kind": self.kind, "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        settings, tensors = recorded(facts, GRU4RecSettings, folder), read_tensors(folder)
        network = Network(int(str(facts["n_items"])), settings)
        shaped_for(network, network.items, settings.texts, tensors)
        put_weights(network, tensors | {"lanes": network.lanes}, folder)
        return cls(network)


class Lanes(Sequence[Step]):
    """One epoch: every session goes through one lane, in the order of their beginnings, event by event."""

    def __init__(self, log: Interactions, counts: Ints, settings: GRU4RecSettings, *, seed: int) -> None:
        self._seed, self._negatives = seed, settings.negatives
        self._steps = np.cumsum(chances(counts, settings.exponent))
        lanes = in_lanes(log, settings.fit.batch_size)
        size = max(map(len, lanes), default=0)
        places = np.full((size, settings.fit.batch_size), -1, dtype=np.int64)
        for number, lane in enumerate(lanes):
            places[: len(lane), number] = lane
        starts = np.zeros(log.n_events, dtype=bool)
        starts[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
        inside = places >= 0
        self._read = torch.from_numpy(np.where(inside, log.items[places], PAD))
        self._wanted = torch.from_numpy(np.where(inside, log.items[np.minimum(places + 1, log.n_events - 1)], PAD))
        self._begins = torch.from_numpy(np.where(inside, starts[places], False))

    def __len__(self) -> int:
        return len(self._read)

    @overload
    def __getitem__(self, index: int) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...

    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        assert isinstance(index, int)
        luck = np.random.default_rng((self._seed, index)).random(self._negatives)
        drawn = torch.from_numpy(np.searchsorted(self._steps, luck, side="right").clip(1, len(self._steps) - 1))
        return Step(self._read[index], self._wanted[index], self._begins[index], drawn)


def in_lanes(log: Interactions, lanes: int) -> list[Ints]:
    """For each lane the places, among all events, of what is read there: of each of its sessions all events but the last.

    Sessions come in the order of their first events' times, or of the log where there are none; each goes to the lane that is free first,
    of several the one with the smaller number. Sessions of one event have nothing to say.
    """
    counts = np.diff(log.offsets)
    firsts = log.offsets[:-1]
    some = np.flatnonzero(counts > 1)
    order = some if log.times is None else some[np.argsort(log.times[firsts[some]], kind="stable")]
    free = [(0, lane) for lane in range(lanes)]
    held: list[list[Ints]] = [[] for _ in range(lanes)]
    for session in order.tolist():
        busy, lane = heapq.heappop(free)
        held[lane].append(np.arange(firsts[session], firsts[session] + counts[session] - 1))
        heapq.heappush(free, (busy + int(counts[session]) - 1, lane))
    return [np.concatenate(parts) if parts else np.empty(0, dtype=np.int64) for parts in held]


def lane_loss(network: Network, step: Step, expected: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over lanes of how badly the true item stands against its rivals, and how many lanes were asked; moves the lanes on."""
    settings, device = network.settings, network.items.weight.device
    read, wanted, begins, drawn = (part.to(device) for part in (step.read, step.wanted, step.begins, step.drawn))
    before = torch.where(begins[:, None], 0.0, network.lanes)
    states, after = network.step(read, before)
    if network.training:
        network.lanes.copy_(torch.where((wanted != PAD)[:, None], after, before).detach())
    asked = wanted != PAD
    true = wanted[asked]
    rivals = torch.cat([true, drawn])
    with torch.autocast(device.type, enabled=False):
        logits = states[asked].float() @ network.items.weight[rivals].T + network.bias(rivals).squeeze(1)
        logits = elu(logits, settings.elu) if settings.elu else logits
        if settings.loss == "sampled_softmax":
            logits = logits - expected.to(device)[rivals]
        own = logits.diagonal()
        compare: RankingLoss = RANKING_LOSSES[settings.loss]
        if settings.loss == "bpr_max":
            compare = partial(bpr_max, regularisation=settings.regularisation)
        return compare(own, logits, rivals != true[:, None]).sum(), asked.sum()


def expected_rivals(counts: Ints, settings: GRU4RecSettings) -> Tensor:
    """(N + 1,) logarithm of how often each item is expected among the rivals of a step: as another lane's true item, or drawn."""
    shares = counts / max(counts.sum(), 1)
    often = (settings.fit.batch_size - 1) * shares + settings.negatives * chances(counts, settings.exponent)
    often[PAD] = 1.0
    return torch.from_numpy(np.log(np.maximum(often, 1e-12))).float()


def _gated(gates: Tensor, state: Tensor, cell: nn.GRUCell) -> Tensor:
    """The recurrent unit whose inputs stand in the gates already, (B, 3 d): the order of gates is torch's."""
    hidden = state @ cell.weight_hh.T + cell.bias_hh
    reset, update, new = gates.chunk(3, dim=1)
    own_reset, own_update, own_new = hidden.chunk(3, dim=1)
    update = torch.sigmoid(update + own_update)
    candidate = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
    return (1 - update) * candidate + update * state
