"""AttRec: self-attention over the last few items, and distances in the place of products (arXiv:1808.06414).

    dist(u, i) = w |U_u - V_i|^2 + (1 - w) |m - X_i|^2,   m = mean over the last L items of softmax(Q K' / sqrt d) X, none attends to itself
    Q, K = relu((X + time signal) W_Q), relu((X + time signal) W_K);   loss = sum max(0, margin + dist(true) - dist(drawn))

Nearer is better: the score is minus the distance. The author's released code trains by logistic terms instead, and ties W_Q and W_K.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.data.batches import pad_right
from fathom.files import Json
from fathom.models.model import ProductModel, TrainingData, among, in_batches, refuse_unknown
from fathom.models.searching import Range, SearchSpace
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Interactions, Ints
from fathom.settings import Settings
from fathom.training.processes import cut
from fathom.training.run import noise_from
from fathom.training.sequential import figures, starts_of
from fathom.training.supervised import FitSettings, fit


class AttRecSettings(Settings):
    """The size of the model, and how it is trained."""

    width: int = Field(default=64, ge=1)
    """Numbers in each vector."""
    latest: int = Field(default=5, ge=1)
    """Newest items that attention is over (L)."""
    taste: float = Field(default=0.2, ge=0, le=1)
    """Weight of the distance to what the person takes in the long run (w); the rest is that to what the last items say."""
    margin: float = Field(default=0.5, gt=0)
    """How much nearer the true item should be than a drawn one."""
    negatives: int = Field(default=4, ge=1)
    """Items drawn for each event."""
    fit: FitSettings = FitSettings(epochs=20, batch_size=1024, learning_rate=2e-3, weight_decay=0.0)
    """How it is fitted; one example is an event."""


class Network(nn.Module):
    """Vectors of people and items, none longer than 1, and the attention."""

    met: Tensor
    """(n_users,) who has an event in the log: nobody else's vector means anything."""

    def __init__(self, n_users: int, n_items: int, settings: AttRecSettings) -> None:
        super().__init__()
        self.n_users, self.n_items, self.settings, width = n_users, n_items, settings, settings.width
        self.people = nn.Embedding(n_users, width)
        self.tastes, self.items = nn.Embedding(n_items + 1, width), nn.Embedding(n_items + 1, width)
        self.asking, self.asked = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.register_buffer("met", torch.ones(n_users, dtype=torch.bool))
        for table in (self.people, self.tastes, self.items):
            nn.init.normal_(table.weight, std=0.5 * width**-0.5)

    def moment(self, ids: Tensor) -> Tensor:
        """(B, d) what the last items (B, L), padded on the right, say together."""
        inside = (ids != PAD).float()
        mixed = self.attention(ids) @ clipped(self.items(ids))
        return (mixed * inside[:, :, None]).sum(dim=1) / inside.sum(dim=1, keepdim=True).clamp(min=1)

    def attention(self, ids: Tensor) -> Tensor:
        """(B, L, L) who listens to whom: nobody to itself, unless it is alone, and nobody to padding."""
        length, width = ids.shape[1], self.settings.width
        timed = clipped(self.items(ids)) + time_signal(length, width).to(self.items.weight)
        logits = torch.relu(self.asking(timed)) @ torch.relu(self.asked(timed)).mT / math.sqrt(width)
        own = torch.eye(length, dtype=torch.bool, device=ids.device)
        alone = ((ids != PAD).sum(dim=1) == 1)[:, None, None]
        allowed = (ids != PAD)[:, None, :] & (~own | alone)
        weights: Tensor = torch.softmax(logits.masked_fill(~allowed, -1e4), dim=2) * allowed
        return weights

    def taste(self, cases: Sequence[Case]) -> Tensor:
        """(B, d) the long-run vector of each person; of somebody who is not known the mean of the history's items'."""
        rows = []
        for case in cases:
            if 0 <= case.user < self.n_users and bool(self.met[case.user]):
                rows.append(clipped(self.people.weight[case.user]))
            else:
                own = self.tastes.weight[torch.tensor(case.history, dtype=torch.long, device=self.tastes.weight.device)]
                rows.append(clipped(own).mean(dim=0) if len(own) else torch.zeros_like(self.tastes.weight[0]))
        return torch.stack(rows) if rows else torch.zeros(0, self.settings.width)

    def distances(self, tastes: Tensor, moments: Tensor, items: Tensor) -> Tensor:
        """(B, n) from people (B, d) and moments (B, d) to items (B, n)."""
        share = self.settings.taste
        long = (tastes[:, None] - clipped(self.tastes(items))) ** 2
        short = (moments[:, None] - clipped(self.items(items))) ** 2
        return share * long.sum(dim=2) + (1 - share) * short.sum(dim=2)

    def queries(self, cases: Sequence[Case]) -> Tensor:
        """(B, 2 d + 1), whose products with `table` are minus the distances, but for what is the same for all items."""
        refuse_unknown(cases, self.n_items)
        ids = torch.from_numpy(pad_right([case.history[-self.settings.latest :] for case in cases], self.settings.latest))
        tastes, moments, share = self.taste(cases), self.moment(ids.to(self.items.weight.device)), self.settings.taste
        return torch.cat([2 * share * tastes, 2 * (1 - share) * moments, -torch.ones_like(tastes[:, :1])], dim=1)

    def table(self) -> Tensor:
        """(N + 1, 2 d + 1) both vectors of each item, and their lengths."""
        long, short, share = clipped(self.tastes.weight), clipped(self.items.weight), self.settings.taste
        lengths = share * (long**2).sum(dim=1) + (1 - share) * (short**2).sum(dim=1)
        return torch.cat([long, short, lengths[:, None]], dim=1)


class AttRec(ProductModel[AttRecSettings]):
    """Ranks by distance."""

    kind = "attrec"
    about = "self-attention over the last items, ranked by distance"
    searched: ClassVar[SearchSpace] = {
        "fit.learning_rate": Range(5e-4, 2e-2, log=True),
        "latest": Range(2, 20, log=True),
        "taste": Range(0.0, 0.8),
        "margin": Range(0.1, 1.0),
        "negatives": (1, 4, 16),
    }
    by_gradients = True

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.n_items, self.settings = network.n_items, network.settings

    @classmethod
    def fit(cls, data: TrainingData, settings: AttRecSettings) -> Self:
        """The weights of the best validation."""
        log, n_items = data.interactions, data.catalog.n_items
        with noise_from(settings.fit.seed):
            network = Network(max(log.n_users, 1), n_items, settings)
        network.met.copy_(torch.from_numpy(np.diff(log.offsets) > 0))
        made = cls(network)
        owners = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
        starts = starts_of(log, np.arange(log.n_events, dtype=np.int64))
        asked = np.flatnonzero(np.arange(log.n_events) > starts)
        taken = np.unique(owners * (n_items + 1) + log.items)

        def batches(_: int, rng: np.random.Generator) -> list[Ints]:
            return in_batches(rng.permutation(asked), settings.fit.batch_size)

        def loss(_: nn.Module, places: Ints) -> tuple[Tensor, Tensor]:
            device = network.items.weight.device
            given = before(log, places, settings.latest), owners[places], log.items[places]
            ids, users, true = (torch.from_numpy(part).to(device) for part in given)
            drawn = torch.randint(1, n_items + 1, (len(places), settings.negatives), device=device)
            known = among(owners[places][:, None] * (n_items + 1) + drawn.cpu().numpy(), taken)
            counts = ~torch.from_numpy(known).to(device)
            people = clipped(network.people(users))
            with torch.autocast(device.type, enabled=False):
                far = network.distances(people.float(), network.moment(ids).float(), torch.cat([true[:, None], drawn], dim=1))
            return hinge(far, counts, settings.margin), counts.sum().clamp(min=1)

        fit(
            network,
            batches=batches,
            loss=loss,
            settings=settings.fit,
            run=data.run,
            stage=data.stage,
            validate=(lambda: figures(made, data.valid)) if data.valid else None,
            micro_batches=lambda places: [places[piece] for piece in cut(len(places))],
        )
        return cls(network)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def people(self, cases: Sequence[Case]) -> Tensor:
        """Whose products with the items are minus the distances, but for what is the same for all items."""
        return self.network.queries(cases)

    def items(self) -> Tensor:
        """Both vectors of each item, and their lengths."""
        return self.network.table()

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, whole or not at all."""
        facts: dict[str, Json] = {"kind": self.kind, "n_items": self.n_items, "n_users": self.network.n_users}
        save_weights(folder, self.network.state_dict(), facts | {"settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        network = Network(int(str(facts["n_users"])), int(str(facts["n_items"])), recorded(facts, AttRecSettings, folder))
        put_weights(network, read_tensors(folder), folder)
        return cls(network)


def hinge(distances: Tensor, counts: Tensor, margin: float) -> Tensor:
    """The sum over rivals that count (M, n) of max(0, margin + distance of the true item - distance of the rival), from (M, 1 + n)."""
    return (torch.relu(margin + distances[:, :1] - distances[:, 1:]) * counts).sum()


def clipped(vectors: Tensor) -> Tensor:
    """(..., d) as they are, but none longer than 1."""
    found: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1.0)
    return found


def time_signal(length: int, width: int) -> Tensor:
    """(length, width) sines and cosines of the places."""
    half = (width + 1) // 2
    angles = torch.arange(length, dtype=torch.float32)[:, None] / 10_000 ** (torch.arange(half) / max(half, 1))
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def before(log: Interactions, places: Ints, latest: int) -> Ints:
    """(M, latest) the items before each event of `places` in the same history, oldest first, padded on the right."""
    counts = np.minimum(places - starts_of(log, places), latest)
    nth = np.arange(latest)
    at = np.minimum((places - counts)[:, None] + nth, log.n_events - 1)
    found: Ints = np.where(nth < counts[:, None], log.items[at], PAD)
    return found
