"""Named models that are one network over sequences of ids: trained, asked, saved with their settings."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Generic, Self

from torch import Tensor, nn

from fathom.files import Json
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.models.model import Chosen, ProductModel, TrainingData
from fathom.recommenders.sequence import SequenceNetwork
from fathom.recommenders.text_vectors import ORIGINAL, TextVectorSettings, furnish, project
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import Case, Catalog
from fathom.training.run import noise_from


class NetworkModel(ProductModel[Chosen], Generic[Chosen]):
    """A network and its settings; a subclass says how it is trained."""

    by_gradients = True
    goes_on = True

    def __init__(self, network: SequenceNetwork, settings: Chosen) -> None:
        self.network = network.eval()
        self.n_items = network.n_items
        self.settings = settings

    @classmethod
    @abstractmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: Chosen) -> None:
        """Fit the network in place; the weights of the best validation remain. An interrupted call goes on."""

    def continued(self, data: TrainingData) -> Self:
        """The network trained further on this log, by the same settings."""
        network = deepcopy(self.network)
        self.train(network, data, self.settings)
        return type(self)(network, self.settings)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def people(self, cases: Sequence[Case]) -> Tensor:
        """(B, d) states."""
        return self.network.users([case.history for case in cases])

    def items(self) -> Tensor:
        """(N + 1, d)"""
        return self.network.items.weight

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, whole or not at all."""
        facts: dict[str, Json] = {"kind": self.kind, "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")}
        save_weights(folder, self.network.state_dict(), facts)


def with_texts(table: nn.Module, catalog: Catalog, settings: TextVectorSettings | None) -> None:
    """Item vectors from the catalogue's texts, where that is asked for."""
    if settings is not None:
        assert isinstance(table, nn.Embedding)
        furnish(table, item_vectors(catalog, text_encoder(settings.encoder), cache_folder()), settings)


def shaped_for(root: nn.Module, table: nn.Module, settings: TextVectorSettings | None, tensors: Mapping[str, Tensor]) -> None:
    """Prepare the item vectors `table` of `root` for what was saved of them."""
    if settings is not None and settings.use == "projected":
        assert isinstance(table, nn.Embedding)
        name = next(name for name, part in root.named_modules() if part is table)
        if (saved := tensors.get(f"{name}.{ORIGINAL}")) is not None:
            project(table, saved.shape[1])


class BuiltModel(NetworkModel[Chosen], Generic[Chosen]):
    """A network that follows from the number of items and the settings."""

    @classmethod
    @abstractmethod
    def build(cls, n_items: int, settings: Chosen) -> SequenceNetwork:
        """The network from random weights."""

    @classmethod
    @abstractmethod
    def seed(cls, settings: Chosen) -> int:
        """Of the first weights."""

    @classmethod
    def texts(cls, settings: Chosen) -> TextVectorSettings | None:
        """Where its item vectors come from; None: they are drawn."""
        del settings
        return None

    @classmethod
    def fit(cls, data: TrainingData, settings: Chosen) -> Self:
        """The network fitted to the data."""
        with noise_from(cls.seed(settings)):
            network = cls.build(data.catalog.n_items, settings)
            with_texts(network.items, data.catalog, cls.texts(settings))
        cls.train(network, data, settings)
        return cls(network, settings)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        settings = recorded(facts, cls.settings_type(), folder)
        network, tensors = cls.build(int(str(facts["n_items"])), settings), read_tensors(folder)
        shaped_for(network, network.items, cls.texts(settings), tensors)
        put_weights(network, tensors, folder)
        return cls(network, settings)
