"""SASRec over item texts in the place of ids: it ranks items that nobody has taken (as UniSRec's inductive mode, arXiv:2206.05941)."""

from pathlib import Path
from typing import ClassVar, Self

import torch
from pydantic import Field

from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.models.model import TrainingData
from fathom.models.network_model import NetworkModel
from fathom.models.searching import FIT, Range, SearchSpace
from fathom.recommenders.sasrec import SASRec
from fathom.recommenders.sequence import SequenceNetwork
from fathom.recommenders.text_items import TextItems
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded
from fathom.records import Catalog
from fathom.training.run import noise_from
from fathom.training.sequential import SASRecTraining, fit_full_softmax


class SASRecTextTraining(SASRecTraining):
    """SASRec over texts and how it is trained."""

    encoder: str = "minilm"
    """Makes vectors of item texts: minilm, hashing, st:NAME, lm:FOLDER or http://HOST/v1#MODEL."""
    experts: int = Field(default=8, ge=1)
    """Linear maps in the mixture that takes text vectors to the space of items."""
    text_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of a text vector's entries zeroed in training."""


class SASRecText(NetworkModel[SASRecTextTraining]):
    """Knows items by their texts: `add_items` makes new ones recommendable at once."""

    kind = "sasrec-text"
    about = "causal self-attention over item texts, ranks items that nobody has taken"
    searched: ClassVar[SearchSpace] = FIT | {
        "model.dropout": Range(0.0, 0.5),
        "text_dropout": Range(0.0, 0.5),
        "smoothing": (0.0, 0.1, 0.2),
    }

    @classmethod
    def fit(cls, data: TrainingData, settings: SASRecTextTraining) -> Self:
        """The network fitted to the data by the full softmax."""
        vectors = torch.from_numpy(item_vectors(data.catalog, text_encoder(settings.encoder), cache_folder()))
        with noise_from(settings.fit.seed):
            network = cls._over(vectors, settings)
        cls.train(network, data, settings)
        return cls(network, settings)

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: SASRecTextTraining) -> None:
        """By the full softmax."""
        fit = settings.fit
        fit_full_softmax(network, data.interactions, data.valid, smoothing=settings.smoothing, settings=fit, run=data.run, stage=data.stage)

    def add_items(self, items: Catalog) -> range:
        """Take `items` behind the present ones, known by their texts, so that they can be recommended; returns their ids."""
        assert isinstance(self.network.items, TextItems)
        first = self.n_items + 1
        self.network.items.add(torch.from_numpy(item_vectors(items, text_encoder(self.settings.encoder), cache_folder()))[1:])
        self.n_items = self.network.n_items = first + items.n_items - 1
        return range(first, self.n_items + 1)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        settings, tensors = recorded(read_facts(folder, cls.kind), cls.settings_type(), folder), read_tensors(folder)
        network = cls._over(torch.zeros_like(tensors["items.texts"]), settings)
        put_weights(network, tensors, folder)
        return cls(network, settings)

    @classmethod
    def _over(cls, vectors: torch.Tensor, settings: SASRecTextTraining) -> SASRec:
        items = TextItems(vectors, settings.model.width, experts=settings.experts, dropout=settings.text_dropout)
        return SASRec(len(vectors) - 1, settings.model, items=items)
