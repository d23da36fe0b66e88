"""Attentional factorisation machine: which pairs of features matter is learned (arXiv:1708.04617).

    y = w_0 + sum w_i x_i + p . sum over pairs a_ij (v_i * v_j),   a = softmax over pairs of h . relu(W (v_i * v_j) + b)

The fields of an example are the person, the last item taken, the item that is asked about, and each of its attributes; a field's vector is
the mean of its values'. No order but the last item is known: a baseline for clicks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.files import Json
from fathom.models.model import Model, TrainingData, among, in_batches, numbered, refuse_unknown
from fathom.models.searching import Range, SearchSpace
from fathom.recommenders.encoders import Dropout
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Ints
from fathom.settings import Settings
from fathom.training.processes import cut
from fathom.training.ranking_losses import bce
from fathom.training.run import noise_from
from fathom.training.sequential import figures, starts_of
from fathom.training.supervised import FitSettings, fit

TOGETHER = 2**24
"""Numbers in one piece of the pairs of all items: bounds memory, changes nothing in the result."""


class AFMSettings(Settings):
    """The size of the model, what it reads of items, and how it is trained."""

    width: int = Field(default=32, ge=1)
    """Numbers in a feature's vector."""
    attention: int = Field(default=16, ge=1)
    """Width of the attention network."""
    attributes: tuple[str, ...] = ()
    """Attributes of the items that are read, as the catalogue names them."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in the sum over pairs, in training."""
    negatives: int = Field(default=4, ge=1)
    """Items drawn for each event, to be told from the true one."""
    fit: FitSettings = FitSettings(epochs=10, batch_size=1024, learning_rate=2e-3)
    """How it is fitted; one example is an event."""


class Network(nn.Module):
    """Features of people, last items, items and attributes; 0 of each is nothing."""

    met: Tensor
    """(n_users,) who has an event in the log: nobody else's vector means anything."""

    def __init__(self, n_users: int, n_items: int, sizes: Sequence[int], widest: Sequence[int], settings: AFMSettings) -> None:
        super().__init__()
        self.n_users, self.n_items, self.settings, width = n_users, n_items, settings, settings.width
        counts = (n_users + 1, n_items + 1, n_items + 1, *(size + 1 for size in sizes))
        self.vectors = nn.ModuleList(nn.Embedding(count, width, padding_idx=0) for count in counts)
        self.weights = nn.ModuleList(nn.Embedding(count, 1, padding_idx=0) for count in counts)
        self.attention = nn.Sequential(nn.Linear(width, settings.attention), nn.ReLU(), nn.Linear(settings.attention, 1, bias=False))
        self.out = nn.Linear(width, 1, bias=False)
        self.start = nn.Parameter(torch.zeros(1))
        self.dropout = Dropout(settings.dropout)
        self.register_buffer("met", torch.ones(n_users, dtype=torch.bool))
        for number, most in enumerate(widest):
            self.register_buffer(f"values{number}", torch.zeros(n_items + 1, most, dtype=torch.long))
        for vectors, weights in zip(self.vectors, self.weights, strict=True):
            assert isinstance(vectors, nn.Embedding)
            assert isinstance(weights, nn.Embedding)
            nn.init.normal_(vectors.weight, std=0.05)
            nn.init.zeros_(weights.weight)
            vectors.weight.data[0] = 0.0

    def forward(self, users: Tensor, last: Tensor, items: Tensor) -> Tensor:
        """(B, n) what speaks for items (B, n) after the item `last` (B,) of people `users` (B,), 0 for whoever is not known."""
        fields = [users[:, None].expand_as(items), last[:, None].expand_as(items), items]
        values = [field[..., None] for field in fields] + [
            self.get_buffer(f"values{number}")[items] for number in range(len(self.vectors) - 3)
        ]
        told = [mean_of(table(value), value) for table, value in zip(self.vectors, values, strict=True)]
        plain = [mean_of(table(value), value).squeeze(-1) for table, value in zip(self.weights, values, strict=True)]
        present = torch.stack([(value != 0).any(dim=-1) for value in values], dim=-1)
        pairs, there = products(torch.stack(told, dim=-2), present)
        shares = self.shares(pairs, there)
        pooled = self.dropout((shares[..., None] * pairs).sum(dim=-2))
        said: Tensor = self.start + torch.stack(plain).sum(dim=0) + self.out(pooled).squeeze(-1)
        return said

    def shares(self, pairs: Tensor, there: Tensor) -> Tensor:
        """(..., P) the attention of pairs (..., P, d) of which some are `there` (..., P): 1 in all, or 0 where none is."""
        logits = self.attention(pairs).squeeze(-1).masked_fill(~there, -1e4)
        found: Tensor = torch.softmax(logits.float(), dim=-1) * there
        return found


class AFM(Model[AFMSettings]):
    """Trained to tell what was taken from what was not."""

    kind = "afm"
    about = "pairs of features, weighed by attention"
    searched: ClassVar[SearchSpace] = {
        "fit.learning_rate": Range(5e-4, 2e-2, log=True),
        "width": (16, 32, 64),
        "dropout": Range(0.0, 0.5),
        "negatives": (1, 4, 16),
    }
    by_gradients = True

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.n_items, self.settings = network.n_items, network.settings

    @classmethod
    def fit(cls, data: TrainingData, settings: AFMSettings) -> Self:
        """The weights of the best validation."""
        log, n_items = data.interactions, data.catalog.n_items
        tables = [numbered(data.catalog, name) for name in settings.attributes]
        with noise_from(settings.fit.seed):
            sizes, widest = [int(table.max()) for table in tables], [table.shape[1] for table in tables]
            network = Network(log.n_users, n_items, sizes, widest, settings)
        network.met.copy_(torch.from_numpy(np.diff(log.offsets) > 0))
        for number, table in enumerate(tables):
            network.get_buffer(f"values{number}").copy_(table)
        made = cls(network)
        owners = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
        places = np.arange(log.n_events, dtype=np.int64)
        last = np.where(places > starts_of(log, places), log.items[np.maximum(places - 1, 0)], PAD)
        taken = np.unique(owners * (n_items + 1) + log.items)

        def batches(_: int, rng: np.random.Generator) -> list[Ints]:
            return in_batches(rng.permutation(places), settings.fit.batch_size)

        def loss(_: nn.Module, chosen: Ints) -> tuple[Tensor, Tensor]:
            device = network.start.device
            drawn = torch.randint(1, n_items + 1, (len(chosen), settings.negatives))
            counts = ~torch.from_numpy(among(owners[chosen][:, None] * (n_items + 1) + drawn.numpy(), taken))
            items = torch.cat([torch.from_numpy(log.items[chosen])[:, None], drawn], dim=1).to(device)
            said = network(torch.from_numpy(owners[chosen] + 1).to(device), torch.from_numpy(last[chosen]).to(device), items).float()
            return bce(said[:, 0], said[:, 1:], counts.to(device)).sum(), torch.tensor(len(chosen), device=device)

        fit(
            network,
            batches=batches,
            loss=loss,
            settings=settings.fit,
            run=data.run,
            stage=data.stage,
            validate=(lambda: figures(made, data.valid)) if data.valid else None,
            micro_batches=lambda chosen: [chosen[piece] for piece in cut(len(chosen))],
        )
        return cls(network)

    @torch.inference_mode()
    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32: all items are asked about, for each case."""
        refuse_unknown(cases, self.n_items)
        device = self.network.start.device
        fields = len(self.network.vectors)
        met = self.network.met.tolist()
        users = torch.tensor([case.user + 1 if 0 <= case.user < len(met) and met[case.user] else 0 for case in cases], device=device)
        last = torch.tensor([case.history[-1] if case.history else PAD for case in cases], dtype=torch.long, device=device)
        scores = torch.full((len(cases), self.n_items + 1), -torch.inf)
        most = max(1, TOGETHER // max(1, fields * fields // 2 * self.settings.width))  # pairs of a case and an item
        columns = min(most, self.n_items)
        rows = max(1, most // columns)
        for start in range(0, len(cases), rows):
            part = slice(start, start + rows)
            for first in range(1, self.n_items + 1, columns):
                items = torch.arange(first, min(first + columns, self.n_items + 1), device=device)
                said = self.network(users[part].long(), last[part], items.expand(len(users[part]), -1))
                scores[part, first : first + columns] = said.float().cpu()
        return scores

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, whole or not at all."""
        sizes: list[Json] = [table.num_embeddings - 1 for table in list(self.network.vectors)[3:] if isinstance(table, nn.Embedding)]
        widest: list[Json] = [self.network.get_buffer(f"values{number}").shape[1] for number in range(len(sizes))]
        facts: dict[str, Json] = {"kind": self.kind, "n_items": self.n_items, "n_users": self.network.n_users}
        settings = self.settings.model_dump(mode="json")
        save_weights(folder, self.network.state_dict(), facts | {"sizes": sizes, "widest": widest, "settings": settings})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        sizes, widest = ([int(str(count)) for count in facts[part]] for part in ("sizes", "widest"))  # type: ignore[union-attr]
        settings = recorded(facts, AFMSettings, folder)
        network = Network(int(str(facts["n_users"])), int(str(facts["n_items"])), sizes, widest, settings)
        put_weights(network, read_tensors(folder), folder)
        return cls(network)


def mean_of(vectors: Tensor, values: Tensor) -> Tensor:
    """(..., d) the mean of vectors (..., H, d) whose values (..., H) are not 0."""
    return vectors.sum(dim=-2) / (values != 0).sum(dim=-1, keepdim=True).clamp(min=1)


def products(fields: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """(..., P, d) the products of all pairs of fields (..., F, d), and (..., P) whether both of a pair are present (..., F)."""
    one, other = torch.triu_indices(fields.shape[-2], fields.shape[-2], offset=1, device=fields.device)
    return fields[..., one, :] * fields[..., other, :], present[..., one] & present[..., other]
