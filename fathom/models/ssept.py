"""SSE-PT: SASRec over items and who takes them, regularised by replacing both (Wu et al., RecSys 2020; arXiv:1905.10630).

An event is read as [item; person], and so are the rivals that its answer is compared with. In training any item and any person may be
replaced by another one: the probabilities here are those of being replaced, where the released code names those of being kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.files import Json
from fathom.models.model import ProductModel, TrainingData
from fathom.models.searching import FIT, Range, SearchSpace
from fathom.recommenders.encoders import CausalEncoder
from fathom.recommenders.sequence import as_sequences
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case
from fathom.settings import Settings
from fathom.training.processes import cut
from fathom.training.ranking_losses import bce
from fathom.training.run import noise_from
from fathom.training.sampled import Drawing, SampledTraining, held
from fathom.training.sequential import SequenceFit, Windows, figures, window_batches
from fathom.training.supervised import fit


class SSEPTSettings(Settings):
    """The size of the network, how much is replaced, and how it is trained."""

    width: int = Field(default=32, ge=1)
    """Numbers in an item's vector, and as many in a person's."""
    layers: int = Field(default=2, ge=1)
    """Transformer layers."""
    heads: int = Field(default=2, ge=1)
    """Attention heads per layer; they share twice the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=200, ge=1)
    """Newest events that are read."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in training."""
    item_replaced: float = Field(default=0.1, ge=0, lt=1)
    """Probability that an item that is read is replaced by any other, in training."""
    person_replaced: float = Field(default=0.92, ge=0, lt=1)
    """Probability that the person of a window is replaced by any other, in training."""
    negatives: int = Field(default=1, ge=1)
    """Rivals drawn for each event."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted."""


class Network(nn.Module):
    """Items, people, and the encoder of both side by side."""

    met: Tensor
    """(n_users,) who has an event in the log: nobody else's vector means anything."""

    def __init__(self, n_users: int, n_items: int, settings: SSEPTSettings) -> None:
        super().__init__()
        self.n_users, self.n_items, self.settings = n_users, n_items, settings
        self.items, self.people = nn.Embedding(n_items + 1, settings.width), nn.Embedding(n_users, settings.width)
        self.register_buffer("met", torch.ones(n_users, dtype=torch.bool))
        for table in (self.items, self.people):
            nn.init.normal_(table.weight, std=0.02)
        self.encoder = CausalEncoder(
            2 * settings.width,
            length=settings.length,
            layers=settings.layers,
            heads=settings.heads,
            inner=settings.inner,
            dropout=settings.dropout,
        )

    def forward(self, ids: Tensor, people: Tensor) -> Tensor:
        """(B, T, 2 d) float32: what is expected after each of the ids (B, T) of people whose vectors are (B, d)."""
        both = torch.cat([self.items(ids), people[:, None].expand(-1, ids.shape[1], -1)], dim=2)
        states: Tensor = self.encoder(both)
        return states

    def vectors(self, users: Tensor) -> Tensor:
        """(B, d) of people by their numbers; whoever is not known is everybody's mean, as which most of training knew them."""
        known = (users >= 0) & (users < self.n_users)
        known = known & self.met[users.clamp(0, self.n_users - 1)]
        found = self.people(users.clamp(0, self.n_users - 1))
        return found if bool(known.all()) else torch.where(known[:, None], found, self.people.weight[self.met].mean(dim=0))

    def replaced(self, ids: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        """Items (B, T) and people (B,) as training reads them; as they are outside it."""
        settings = self.settings
        if not self.training:
            return ids, users
        other = torch.randint(1, self.n_items + 1, ids.shape, device=ids.device)
        ids = torch.where((torch.rand(ids.shape, device=ids.device) < settings.item_replaced) & (ids != PAD), other, ids)
        somebody = torch.randint(0, self.n_users, users.shape, device=users.device)
        return ids, torch.where(torch.rand(users.shape, device=users.device) < settings.person_replaced, somebody, users)


class SSEPT(ProductModel[SSEPTSettings]):
    """Binary cross-entropy against drawn rivals."""

    kind = "ssept"
    about = "causal self-attention over items and people, both replaced now and then"
    searched: ClassVar[SearchSpace] = FIT | {
        "dropout": Range(0.0, 0.5),
        "item_replaced": Range(0.0, 0.2),
        "person_replaced": Range(0.0, 0.95),
        "negatives": (1, 4, 16),
    }
    by_gradients = True

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.n_items, self.settings = network.n_items, network.settings

    @classmethod
    def fit(cls, data: TrainingData, settings: SSEPTSettings) -> Self:
        """The weights of the best validation."""
        log, n_items = data.interactions, data.catalog.n_items
        with noise_from(settings.fit.seed):
            network = Network(max(log.n_users, 1), n_items, settings)
        network.met.copy_(torch.from_numpy(np.diff(log.offsets) > 0))
        made = cls(network)
        drawn_as = SampledTraining(negatives=settings.negatives, drawn_for="event")
        counts = np.bincount(log.items, minlength=n_items + 1)

        def batches(_: int, rng: np.random.Generator) -> Drawing:
            windows = window_batches(log, settings.length, rows=settings.fit.batch_size, rng=rng)
            return Drawing(windows, counts, drawn_as, seed=int(rng.integers(2**62)))

        def loss(_: nn.Module, windows: Windows) -> tuple[Tensor, Tensor]:
            owners = np.searchsorted(log.offsets, windows.places.numpy().max(axis=1), side="right") - 1
            return lost(network, windows, torch.from_numpy(owners))

        fit(
            network,
            batches=batches,
            loss=loss,
            settings=settings.fit,
            run=data.run,
            stage=data.stage,
            validate=(lambda: figures(made, data.valid)) if data.valid else None,
            micro_batches=lambda windows: [windows.rows(piece) for piece in cut(len(windows.ids))],
        )
        return cls(network)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def items(self) -> Tensor:
        """The items' own part of what is compared."""
        return self.network.items.weight

    def people(self, cases: Sequence[Case]) -> Tensor:
        """What is expected of items; the person's part of an answer is the same for all items and is left out."""
        device, width = self.network.items.weight.device, self.settings.width
        ids, last = as_sequences([case.history for case in cases], self.settings.length, n_items=self.n_items)
        people = self.network.vectors(torch.tensor([case.user for case in cases], dtype=torch.long, device=device))
        states: Tensor = self.network(ids.to(device), people)
        return states[torch.arange(len(ids)), last, :width]

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, whole or not at all."""
        facts: dict[str, Json] = {"kind": self.kind, "n_items": self.n_items, "n_users": self.network.n_users}
        save_weights(folder, self.network.state_dict(), facts | {"settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        network = Network(int(str(facts["n_users"])), int(str(facts["n_items"])), recorded(facts, SSEPTSettings, folder))
        put_weights(network, read_tensors(folder), folder)
        return cls(network)


def lost(network: Network, windows: Windows, owners: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over events of the binary cross-entropy of the true item and its rivals, and how many events there are."""
    device, assigned = network.items.weight.device, windows.drawn
    assert assigned is not None
    ids, targets, drawn, users = (part.to(device) for part in (windows.ids, windows.targets, assigned, owners))
    asked = targets != PAD
    rows = asked.nonzero()[:, 0]
    read, seen = network.replaced(ids, users)
    people = network.vectors(seen)
    states = network(read, people)
    with torch.autocast(device.type, enabled=False):
        states = states.float()[asked]
        width = network.settings.width
        own = (states[:, width:] * people[rows].float()).sum(dim=1)
        true = (states[:, :width] * network.items.weight[targets[asked]]).sum(dim=1) + own
        rivals = drawn[asked]
        far = (states[:, None, :width] * network.items.weight[rivals]).sum(dim=2) + own[:, None]
        counts = ~held(targets, drawn.flatten(1)).view(drawn.shape)[asked]
        return bce(true, far, counts).sum(), asked.sum()
