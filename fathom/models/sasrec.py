"""SASRec+: causal self-attention trained by the full softmax at every place (arXiv:1808.09781, arXiv:2309.07602)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from fathom.models.model import Model, TrainingData
from fathom.recommenders.sasrec import SASRec
from fathom.records import Case, Ranking
from fathom.training.sequential import SASRecTraining, train_sasrec


class SASRecPlus(Model[SASRecTraining]):
    """The sequential recommender beside which everything stands."""

    kind = "sasrec+"
    about = "causal self-attention, trained by the full softmax"
    by_gradients = True

    def __init__(self, network: SASRec) -> None:
        self.network = network
        self.n_items = network.n_items

    @classmethod
    def fit(cls, data: TrainingData, settings: SASRecTraining) -> Self:
        """The weights of the best validation."""
        n_items = data.catalog.n_items
        return cls(train_sasrec(data.interactions, data.valid, n_items=n_items, settings=settings, run=data.run, stage=data.stage))

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 products of state and item."""
        return self.network.score(cases)

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items of each case, exactly, without holding all scores."""
        return self.network.recommend(cases, k, exclude_history=exclude_history)

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, whole or not at all."""
        self.network.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The network saved in `folder`."""
        return cls(SASRec.load(folder))
