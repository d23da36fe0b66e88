"""What every named model keeps: it is fitted to a log, scores the whole catalogue for any history, and is a folder when it is saved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor, nn

from fathom.data.batches import pad_right
from fathom.errors import ConfigError, suggestion
from fathom.items.search import search
from fathom.models.searching import SearchSpace
from fathom.recommenders.ranked import BATCH, Ranked, joined
from fathom.recommenders.sequence import of_like_length
from fathom.recommenders.weights import read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Case, Catalog, Floats, Interactions, Ints, Ranking
from fathom.settings import Settings
from fathom.training.run import Run

Chosen = TypeVar("Chosen", bound=Settings)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a model may learn from, and where it keeps its log and checkpoints while it learns."""

    interactions: Interactions
    valid: tuple[Case, ...]
    """Cases by which the best weights may be chosen; they are never learned from."""
    catalog: Catalog
    run: Run
    stage: str
    """What the run calls the fitting."""


class Model(ABC, Generic[Chosen]):
    """A fitted model; keeps the Scorer and Recommender seams. Batch mates never change a row, and a history is enough to be known.

    A subclass names its settings as the parameter: `class EASE(TensorModel[EASESettings])`.
    """

    kind: ClassVar[str]
    """The name in recipes and in saved folders."""
    about: ClassVar[str]
    """Half a sentence for people."""
    by_gradients: ClassVar[bool] = False
    """Whether it is trained step by step, which several processes can share."""
    searched: ClassVar[SearchSpace] = {}
    """Which settings `fathom tune` searches; empty: none is worth it."""
    goes_on: ClassVar[bool] = False
    """Whether it can learn a further log without the ones before it (`continued`)."""
    n_items: int
    """How many items it ranks; ids run from 1 to this number."""

    @classmethod
    def settings_type(cls) -> type[Chosen]:
        """The class of its settings."""
        [base] = [base for base in cls.__orig_bases__ if get_args(base)]  # type: ignore[attr-defined]
        found: type[Chosen] = get_args(base)[0]
        return found

    @classmethod
    def worth_searching(cls, settings: Chosen) -> SearchSpace:
        """What of `searched` such settings read."""
        del settings
        return cls.searched

    @classmethod
    @abstractmethod
    def fit(cls, data: TrainingData, settings: Chosen) -> Self:
        """The model fitted to the data; an interrupted call goes on."""

    def continued(self, data: TrainingData) -> Self:
        """The model that knows this log too; `self` stays what it is. An interrupted call goes on."""
        raise ConfigError(f"{self.kind} cannot learn a further log without the ones before it: fit it to all of them")

    @abstractmethod
    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 on the CPU, -inf in column `PAD`."""

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case, ties to the smaller id; with `exclude_history` none of its history."""
        return Ranked(self).recommend(cases, k, exclude_history=exclude_history)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into `folder`, whole or not at all."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """The model saved in `folder`."""


class TensorModel(Model[Chosen], Generic[Chosen]):
    """A model whose state is its settings and some tensors."""

    def __init__(self, n_items: int, settings: Chosen, tensors: Mapping[str, Tensor]) -> None:
        self.n_items = n_items
        self.settings = settings
        self.tensors = dict(tensors)

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, whole or not at all."""
        save_weights(folder, self.tensors, {"kind": self.kind, "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved in `folder`."""
        facts = read_facts(folder, cls.kind)
        return cls(int(str(facts["n_items"])), recorded(facts, cls.settings_type(), folder), read_tensors(folder))


class ProductModel(Model[Chosen], Generic[Chosen]):
    """A model whose scores are products of what it says of a case and of an item: it ranks exactly without holding all scores."""

    _items: tuple[tuple[int, ...], Tensor] | None = None

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """Its weights."""

    @abstractmethod
    def people(self, cases: Sequence[Case]) -> Tensor:
        """(B, d) of the cases; an unknown item is a `ConfigError`."""

    @abstractmethod
    def items(self) -> Tensor:
        """(n_items + 1, d), whose products with `people` are the scores."""

    @torch.inference_mode()
    def sides(self, cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
        """Cases and items, float32 on the CPU. Items are asked for again only when a weight has changed.

        Cases whose histories are of like length are read together, so that little is padding.
        """
        pieces = list(of_like_length([len(case.history) for case in cases]))
        read = torch.cat([self.people([cases[row] for row in rows]) for rows in pieces] or [self.people(())])
        people = torch.empty_like(read, dtype=torch.float32, device="cpu")
        people[[row for rows in pieces for row in rows]] = read.float().cpu()
        versions = tuple(weight._version for weight in self.module.parameters())
        if self._items is None or self._items[0] != versions or len(self._items[1]) != self.n_items + 1:
            self._items = versions, self.items().float().cpu()
        return people, self._items[1]

    @torch.inference_mode()
    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 products, -inf in column `PAD`."""
        people, items = self.sides(cases)
        scores = people @ items.T
        scores[:, PAD] = -torch.inf
        return scores

    @torch.inference_mode()
    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k items of largest product with each case, ties to the smaller id; with `exclude_history` none of its history."""
        parts = []
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            people, items = self.sides(batch)
            parts.append(search(people, items, k, exclude=[case.history if exclude_history else () for case in batch]))
        return joined(parts, k)


AnyModel = Model[Any]


def refuse_unknown(cases: Sequence[Case], n_items: int) -> None:
    """A `ConfigError` that names the first item of a history that is none of the model's."""
    wrong = next((item for case in cases for item in case.history if not 1 <= item <= n_items), None)
    if wrong is not None:
        raise ConfigError(f"a history names item {wrong}, but the model knows the items 1 to {n_items}")


def taste(cases: Sequence[Case], n_items: int, *, decay: float = 1.0, latest: int = 0) -> "sparse.csr_array[np.float32]":
    """(B, n_items + 1): what each history holds; the event `a` places before the last weighs `decay ** a`, a repeated item its latest.

    Only the `latest` events count; 0: all. An id that the model does not know is a `ConfigError`.
    """
    refuse_unknown(cases, n_items)
    rows, columns, weights = [], [], []
    for row, case in enumerate(cases):
        seen: set[int] = set()
        for age, item in enumerate(reversed(case.history[-latest:] if latest else case.history)):
            if item not in seen:
                seen.add(item)
                rows.append(row)
                columns.append(item)
                weights.append(decay**age)
    return sparse.csr_array((np.array(weights, dtype=np.float32), (rows, columns)), shape=(len(cases), n_items + 1))


def people(interactions: Interactions, n_items: int) -> "sparse.csr_array[np.float32]":
    """(n_users, n_items + 1): 1 where somebody took an item, however often."""
    owners = np.repeat(np.arange(interactions.n_users), np.diff(interactions.offsets))
    held = sparse.csr_array(
        (np.ones(interactions.n_events, dtype=np.float32), (owners, interactions.items)), shape=(interactions.n_users, n_items + 1)
    )
    held.data[:] = 1.0  # building it adds up what is repeated
    return held


def numbered(catalog: Catalog, name: str) -> Tensor:
    """(N + 1, H) the values of each item's attribute `name` by number, from 1 in the order of the alphabet, padded with 0."""
    if name not in catalog.attributes:
        raise ConfigError(f"attributes names '{name}', which this catalogue does not have{suggestion(name, list(catalog.attributes))}")
    column = catalog.attributes[name]
    number = {value: place for place, value in enumerate(sorted({value for values in column for value in values}), start=1)}
    return torch.from_numpy(pad_right([(), *([number[value] for value in values] for values in column)], max(1, *map(len, column))))


def among(values: Ints, ordered: Ints) -> npt.NDArray[np.bool_]:
    """Whether each of `values` is one of `ordered`, distinct and ascending: a few against a million, where `np.isin` looks at all of them.

    >>> among(np.array([[3, 4], [9, 0]]), np.array([3, 5, 9])).tolist()
    [[True, False], [True, False]]
    """
    if not len(ordered):
        return np.zeros(values.shape, dtype=np.bool_)
    found: npt.NDArray[np.bool_] = ordered[np.searchsorted(ordered, values).clip(max=len(ordered) - 1)] == values
    return found


def in_batches(order: Ints, size: int) -> list[Ints]:
    """`order` in pieces of `size`; none of nothing."""
    return np.split(order, range(size, len(order), size)) if len(order) else []


def sparse_tensors(name: str, matrix: "sparse.csr_array[np.float32]") -> dict[str, Tensor]:
    """`matrix` as tensors called `name.data`, `name.indices` and `name.offsets`."""
    return {
        f"{name}.data": torch.from_numpy(matrix.data.astype(np.float32)),
        f"{name}.indices": torch.from_numpy(matrix.indices.astype(np.int32)),
        f"{name}.offsets": torch.from_numpy(matrix.indptr.astype(np.int64)),
    }


def sparse_matrix(tensors: Mapping[str, Tensor], name: str, *, columns: int) -> "sparse.csr_array[np.float32]":
    """What `sparse_tensors` took apart."""
    data, indices, offsets = (tensors[f"{name}.{part}"].numpy() for part in ("data", "indices", "offsets"))
    return sparse.csr_array((data, indices, offsets), shape=(len(offsets) - 1, columns))


def ranked_scores(scores: Floats) -> Tensor:
    """`scores` (B, n_items + 1) as the seam wants them: float32, -inf in column `PAD`."""
    found = torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))
    found[:, PAD] = -torch.inf
    return found
