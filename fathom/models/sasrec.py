"""SASRec (arXiv:1808.09781) by its own loss, by gSASRec's (arXiv:2308.07192), and by the full softmax, SASRec+ (arXiv:2309.07602)."""

from typing import Generic, TypeVar

from fathom.models.model import TrainingData
from fathom.models.network_model import NetworkModel
from fathom.recommenders.sasrec import SASRec
from fathom.recommenders.sequence import SequenceNetwork
from fathom.training.sampled import GSASRecTraining, SampledTraining, fit_sampled
from fathom.training.sequential import SASRecTraining, fit_full_softmax

Training = TypeVar("Training", SampledTraining, GSASRecTraining, SASRecTraining)


class _OfSASRec(NetworkModel[Training], Generic[Training]):
    """All three are this network."""

    @classmethod
    def build(cls, n_items: int, settings: Training) -> SequenceNetwork:
        """A SASRec."""
        return SASRec(n_items, settings.model)

    @classmethod
    def seed(cls, settings: Training) -> int:
        """As the fit's."""
        return settings.fit.seed


class PlainSASRec(_OfSASRec[SampledTraining]):
    """As in its paper: binary cross-entropy against one drawn item for each event."""

    kind = "sasrec"
    about = "causal self-attention, one drawn rival for each event"

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: SampledTraining) -> None:
        """Against drawn rivals."""
        fit_sampled(network, data.interactions, data.valid, settings=settings, run=data.run, stage=data.stage)


class GSASRec(_OfSASRec[GSASRecTraining]):
    """Many drawn rivals, and a loss that is not overconfident for it."""

    kind = "gsasrec"
    about = "causal self-attention, many drawn rivals, calibrated"

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: GSASRecTraining) -> None:
        """Against drawn rivals."""
        fit_sampled(network, data.interactions, data.valid, settings=settings, run=data.run, stage=data.stage)


class SASRecPlus(_OfSASRec[SASRecTraining]):
    """All items are rivals: the sequential recommender beside which everything stands."""

    kind = "sasrec+"
    about = "causal self-attention, trained by the full softmax"

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: SASRecTraining) -> None:
        """By the full softmax."""
        fit = settings.fit
        fit_full_softmax(network, data.interactions, data.valid, smoothing=settings.smoothing, settings=fit, run=data.run, stage=data.stage)
