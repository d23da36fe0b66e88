"""Prod2Vec (arXiv:1606.07154) and Meta-Prod2Vec (arXiv:1607.07326): items as words, histories as sentences, skip-gram.

    loss of a pair (i, j) = -log sigmoid(v_i . u_j) - sum over drawn n of log sigmoid(-v_i . u_n),   n ~ count ** exponent

Meta-Prod2Vec has pairs of four more kinds: an item and its own attributes, both ways, and the attributes of one with the next item and
its attributes. They weigh `attributes`, and give items that nobody took a place among the others.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from fathom.models.model import TensorModel, TrainingData, ranked_scores, taste
from fathom.models.searching import Range, SearchSpace
from fathom.records import PAD, Case, Catalog, Interactions, Ints
from fathom.settings import Settings
from fathom.training.processes import cut
from fathom.training.run import noise_from
from fathom.training.sampled import chances
from fathom.training.supervised import FitSettings, fit


class Prod2VecSettings(Settings):
    """What is a pair, and how vectors are learned and read."""

    width: int = Field(default=64, ge=1)
    """Numbers in a vector."""
    window: int = Field(default=3, ge=1)
    """Places between the two items of a pair, at most."""
    negatives: int = Field(default=10, ge=1)
    """Items drawn against each pair."""
    exponent: float = Field(default=0.75, ge=-1, le=1)
    """Of the counts by which they are drawn: 1 by popularity, 0 all alike, below 0 the rare ones."""
    attributes: float = Field(default=0.0, ge=0)
    """Weight of pairs with attributes (lambda); 0: Prod2Vec."""
    latest: int = Field(default=10, ge=1)
    """Newest events of a history whose vectors are its profile."""
    decay: float = Field(default=0.7, gt=0, le=1)
    """Weight of an event of the profile against the one after it."""
    fit: FitSettings = FitSettings(epochs=10, batch_size=4096, learning_rate=5e-3)
    """One example is a pair."""


class Prod2Vec(TensorModel[Prod2VecSettings]):
    """Scores are cosines between a profile, the weighted mean of the latest items' vectors, and all items."""

    kind = "prod2vec"
    about = "items as words, histories as sentences"
    searched: ClassVar[SearchSpace] = {
        "width": (32, 64, 128),
        "window": Range(1, 10),
        "exponent": Range(-0.5, 0.75),
        "latest": Range(1, 30, log=True),
        "decay": Range(0.5, 1.0),
        "fit.epochs": (5, 10, 20, 40),
    }
    by_gradients = True

    @classmethod
    def fit(cls, data: TrainingData, settings: Prod2VecSettings) -> Self:
        """Vectors from all pairs of the log; an item that stood beside no other gets the mean of its attributes' vectors, or none."""
        n_items = data.catalog.n_items
        described = _described(data.catalog) if settings.attributes else np.empty((0, 2), dtype=np.int64)
        size = max([n_items, *described[:, 1].tolist()]) + 1
        pairs = _pairs(data.interactions, described, window=settings.window)
        counts = np.bincount(pairs[:, 1], minlength=size)
        steps = torch.from_numpy(np.cumsum(chances(counts, settings.exponent)))
        weights = torch.from_numpy(np.where((pairs > n_items).any(axis=1), settings.attributes, 1.0)).float()
        learned, batch_size = torch.from_numpy(pairs), settings.fit.batch_size
        with noise_from(settings.fit.seed):
            centres, contexts = nn.Embedding(size, settings.width), nn.Embedding(size, settings.width)
            nn.init.uniform_(centres.weight, -0.5 / settings.width, 0.5 / settings.width)
            nn.init.zeros_(contexts.weight)

        def batches(_: int, rng: np.random.Generator) -> list[Tensor]:
            return list(torch.from_numpy(rng.permutation(len(learned))).split(batch_size))

        def loss(_: nn.Module, chosen: Tensor) -> tuple[Tensor, Tensor]:
            device = centres.weight.device
            centre, context = learned[chosen].T.to(device)
            luck = torch.rand(len(chosen), settings.negatives, dtype=torch.float64) * steps[-1]
            drawn = torch.searchsorted(steps, luck, right=True).clamp(max=size - 1).to(device)
            said, weight = centres(centre), weights[chosen].to(device)
            near = logsigmoid((said * contexts(context)).sum(-1))
            far = logsigmoid(-(contexts(drawn) @ said[:, :, None]).squeeze(-1)).sum(-1)
            return -(weight * (near + far)).sum(), weight.sum()

        if len(learned):
            fit(
                nn.ModuleList([centres, contexts]),
                batches=batches,
                loss=loss,
                settings=settings.fit,
                run=data.run,
                stage=data.stage,
                micro_batches=_pieces,
            )
        vectors = normalize(centres.weight.detach().float().cpu(), dim=1)
        taken = torch.zeros(size, dtype=torch.bool)
        taken[learned[(learned <= n_items).all(dim=1)].flatten()] = True  # who never stood beside another has learned nothing
        items = torch.where(taken[: n_items + 1, None], vectors[: n_items + 1], _of_attributes(vectors, described, n_items))
        items[PAD] = 0.0
        return cls(n_items, settings, {"vectors": normalize(items, dim=1)})

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 cosines with the profile; 0 for everything without a history."""
        vectors = self.tensors["vectors"].numpy()
        profiles = taste(cases, self.n_items, decay=self.settings.decay, latest=self.settings.latest) @ vectors
        lengths = np.linalg.norm(profiles, axis=1, keepdims=True)
        return ranked_scores(np.stack([vectors @ profile for profile in profiles / np.maximum(lengths, 1e-12)]))


def _pieces(chosen: Tensor) -> list[Tensor]:
    """A batch in pieces, for as many processes as there are."""
    return [chosen[piece] for piece in cut(len(chosen))]


def _pairs(log: Interactions, described: Ints, *, window: int) -> Ints:
    """(P, 2) centre and context: items at most `window` places apart, both ways, and what attributes add."""
    owners = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    found = []
    for apart in range(1, window + 1):
        together = owners[apart:] == owners[:-apart]
        one, other = log.items[:-apart][together], log.items[apart:][together]
        found += [np.stack([one, other], axis=1), np.stack([other, one], axis=1)]
    near = np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)
    if not len(described):
        return near
    after = np.stack([log.items[:-1], log.items[1:]], axis=1)[owners[1:] == owners[:-1]]
    before_words, after_words = _joined(after[:, ::-1], described)[:, ::-1], _joined(after, described)
    both = _joined(before_words, described)
    return np.concatenate([near, described, described[:, ::-1], before_words, after_words, both])


def _joined(pairs: Ints, described: Ints) -> Ints:
    """(Q, 2) each pair's first entry beside every attribute of its second one, an item."""
    order = np.argsort(described[:, 0], kind="stable")
    items, words = described[order].T
    starts, stops = np.searchsorted(items, pairs[:, 1], side="left"), np.searchsorted(items, pairs[:, 1], side="right")
    sizes = stops - starts
    at = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    return np.stack([np.repeat(pairs[:, 0], sizes), words[at]], axis=1)


def _described(catalog: Catalog) -> Ints:
    """(D, 2) item id, number of one of its attribute values; the values' numbers follow the items'."""
    numbers: dict[tuple[str, str], int] = {}
    found = [
        (item, numbers.setdefault((name, value), catalog.n_items + 1 + len(numbers)))
        for name, column in catalog.attributes.items()
        for item, values in enumerate(column, start=1)
        for value in values
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _of_attributes(vectors: Tensor, described: Ints, n_items: int) -> Tensor:
    """(n_items + 1, d) the mean of each item's attributes' vectors; zero for an item without any."""
    items, words = torch.from_numpy(described).T
    sums = torch.zeros(n_items + 1, vectors.shape[1]).index_add(0, items, vectors[words])
    return sums / torch.bincount(items, minlength=n_items + 1).clamp(min=1)[:, None]
