"""SASRec (arXiv:1808.09781) by its own loss, by gSASRec's (arXiv:2308.07192), and by the full softmax, SASRec+ (arXiv:2309.07602)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Self

from torch import Tensor

from fathom.models.model import Chosen, Model, TrainingData
from fathom.recommenders.sasrec import SASRec
from fathom.records import Case, Ranking
from fathom.training.sampled import GSASRecTraining, SampledTraining, train_sampled_sasrec
from fathom.training.sequential import SASRecTraining, train_sasrec


class _OfSASRec(Model[Chosen], Generic[Chosen]):
    """Whatever is a SASRec when it is trained."""

    by_gradients = True

    def __init__(self, network: SASRec) -> None:
        self.network = network
        self.n_items = network.n_items

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


class PlainSASRec(_OfSASRec[SampledTraining]):
    """As in its paper: binary cross-entropy against one drawn item for each event."""

    kind = "sasrec"
    about = "causal self-attention, one drawn rival for each event"

    @classmethod
    def fit(cls, data: TrainingData, settings: SampledTraining) -> Self:
        """The weights of the best validation."""
        return cls(_sampled(data, settings))


class GSASRec(_OfSASRec[GSASRecTraining]):
    """Many drawn rivals, and a loss that is not overconfident for it."""

    kind = "gsasrec"
    about = "causal self-attention, many drawn rivals, calibrated"

    @classmethod
    def fit(cls, data: TrainingData, settings: GSASRecTraining) -> Self:
        """The weights of the best validation."""
        return cls(_sampled(data, settings))


class SASRecPlus(_OfSASRec[SASRecTraining]):
    """All items are rivals: the sequential recommender beside which everything stands."""

    kind = "sasrec+"
    about = "causal self-attention, trained by the full softmax"

    @classmethod
    def fit(cls, data: TrainingData, settings: SASRecTraining) -> Self:
        """The weights of the best validation."""
        n_items = data.catalog.n_items
        return cls(train_sasrec(data.interactions, data.valid, n_items=n_items, settings=settings, run=data.run, stage=data.stage))


def _sampled(data: TrainingData, settings: SampledTraining) -> SASRec:
    n_items = data.catalog.n_items
    return train_sampled_sasrec(data.interactions, data.valid, n_items=n_items, settings=settings, run=data.run, stage=data.stage)
