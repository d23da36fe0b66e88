"""NARM: a recurrent network whose last state asks all states what the session is about (arXiv:1711.04725)."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.models.model import TrainingData
from fathom.models.network_model import BuiltModel
from fathom.models.searching import FIT, Range, SearchSpace
from fathom.recommenders.encoders import Dropout
from fathom.recommenders.sequence import SequenceNetwork
from fathom.records import PAD
from fathom.settings import Settings
from fathom.training.sequential import SequenceFit, fit_full_softmax

TOGETHER = 2**23
"""Numbers in one piece of the attention's inside: bounds memory, changes nothing in the result."""


class NARMSettings(Settings):
    """The size of the network, and how it is trained."""

    width: int = Field(default=64, ge=1)
    """Numbers in an item's vector and in a state."""
    length: int = Field(default=50, ge=1)
    """Newest events that are read: attention is paid by each to each before it."""
    embedding_dropout: float = Field(default=0.25, ge=0, lt=1)
    """Share of entries zeroed in the items that are read."""
    dropout: float = Field(default=0.25, ge=0, lt=1)
    """Share of entries zeroed in what is compared with items."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted."""


class NARMNetwork(SequenceNetwork):
    """g_t = h_t;  c_t = sum over j <= t of a_tj h_j, a_tj = q . sigmoid(A1 h_t + A2 h_j);  score_i = e_i . B [g; c].

    As in the paper no softmax stands over a.
    """

    def __init__(self, n_items: int, settings: NARMSettings) -> None:
        width = settings.width
        super().__init__(n_items, width, settings.length)
        self.reader = nn.GRU(width, width, batch_first=True)
        self.asking, self.asked = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.weighing = nn.Linear(width, 1, bias=False)
        self.joining = nn.Linear(2 * width, width, bias=False)
        self.embedding_dropout, self.dropout = Dropout(settings.embedding_dropout), Dropout(settings.dropout)
        nn.init.normal_(self.items.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T, d) float32."""
        states, _ = self.reader(self.embedding_dropout(self.items(ids)))
        local = attention(states, self.asking(states), self.asked(states), self.weighing, ids != PAD)
        joined: Tensor = self.joining(self.dropout(torch.cat([states, local], dim=2)))
        return joined.float()


def attention(states: Tensor, asking: Tensor, asked: Tensor, weighing: nn.Module, inside: Tensor) -> Tensor:
    """(B, T, d) at each place t the sum over j <= t, where something is (`inside`), of weighing(sigmoid(asking_t + asked_j)) states_j."""
    batch, length, width = states.shape
    rows = max(1, TOGETHER // max(length * length * width, 1))
    past = torch.ones(length, length, dtype=torch.bool, device=states.device).tril()
    found = []
    for start in range(0, batch, rows):
        part = slice(start, start + rows)
        weights = weighing(torch.sigmoid(asking[part, :, None] + asked[part, None])).squeeze(3)
        found.append(torch.where(past & inside[part, None], weights, 0.0).to(states.dtype) @ states[part])
    return torch.cat(found)


class NARM(BuiltModel[NARMSettings]):
    """Trained by the full softmax after every event: every prefix of a session is an example."""

    kind = "narm"
    about = "a recurrent network with attention"
    searched: ClassVar[SearchSpace] = FIT | {
        "embedding_dropout": Range(0.0, 0.5),
        "dropout": Range(0.0, 0.5),
        "smoothing": (0.0, 0.1, 0.2),
    }

    @classmethod
    def build(cls, n_items: int, settings: NARMSettings) -> SequenceNetwork:
        """A NARM."""
        return NARMNetwork(n_items, settings)

    @classmethod
    def seed(cls, settings: NARMSettings) -> int:
        """As the fit's."""
        return settings.fit.seed

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: NARMSettings) -> None:
        """By the full softmax."""
        fit = settings.fit
        fit_full_softmax(network, data.interactions, data.valid, smoothing=settings.smoothing, settings=fit, run=data.run, stage=data.stage)
