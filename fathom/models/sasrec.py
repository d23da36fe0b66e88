"""SASRec (arXiv:1808.09781) by its own loss, by gSASRec's (arXiv:2308.07192), and by the full softmax, SASRec+ (arXiv:2309.07602)."""

from typing import ClassVar, Generic, Self, TypeVar

from pydantic import Field, model_validator

from fathom.models.model import TrainingData
from fathom.models.network_model import BuiltModel
from fathom.models.searching import FIT, Range, SearchSpace
from fathom.recommenders.sasrec import SASRec
from fathom.recommenders.sequence import SequenceNetwork
from fathom.recommenders.text_vectors import TextVectorSettings
from fathom.training.sampled import GSASRecTraining, SampledTraining, fit_sampled
from fathom.training.sequential import SASRecTraining, fit_full_softmax


class SASRecPlusTraining(SASRecTraining):
    """SASRec and how it is trained by a softmax."""

    texts: TextVectorSettings | None = None
    """Item vectors from item texts; left out: they are drawn."""
    negatives: int = Field(default=0, ge=0)
    """Rivals drawn for each batch, for catalogues of which not all items can be; 0: all items."""

    @model_validator(mode="after")
    def _smoothed_over_all(self) -> Self:
        if self.negatives and self.smoothing:
            raise ValueError(f"smoothing {self.smoothing:g} spreads over all items, but negatives draws {self.negatives}: leave one out")
        return self


Training = TypeVar("Training", bound=SampledTraining | SASRecPlusTraining)


class _OfSASRec(BuiltModel[Training], Generic[Training]):
    """All three are this network."""

    @classmethod
    def build(cls, n_items: int, settings: Training) -> SequenceNetwork:
        """A SASRec."""
        return SASRec(n_items, settings.model)

    @classmethod
    def texts(cls, settings: Training) -> TextVectorSettings | None:
        """As the settings say."""
        return settings.texts

    @classmethod
    def seed(cls, settings: Training) -> int:
        """As the fit's."""
        return settings.fit.seed


class PlainSASRec(_OfSASRec[SampledTraining]):
    """As in its paper: binary cross-entropy against one drawn item for each event."""

    kind = "sasrec"
    about = "causal self-attention, one drawn rival for each event"
    searched: ClassVar[SearchSpace] = FIT | {"model.dropout": Range(0.0, 0.5)}

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: SampledTraining) -> None:
        """Against drawn rivals."""
        fit_sampled(network, data.interactions, data.valid, settings=settings, run=data.run, stage=data.stage)


class GSASRec(_OfSASRec[GSASRecTraining]):
    """Many drawn rivals, and a loss that is not overconfident for it."""

    kind = "gsasrec"
    about = "causal self-attention, many drawn rivals, calibrated"
    searched: ClassVar[SearchSpace] = FIT | {
        "model.dropout": Range(0.0, 0.5),
        "negatives": (64, 256, 1024),
        "calibration": Range(0.0, 1.0),
    }

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: GSASRecTraining) -> None:
        """Against drawn rivals."""
        fit_sampled(network, data.interactions, data.valid, settings=settings, run=data.run, stage=data.stage)


class SASRecPlus(_OfSASRec[SASRecPlusTraining]):
    """All items are rivals: the sequential recommender beside which everything stands."""

    kind = "sasrec+"
    about = "causal self-attention, trained by the full softmax"
    searched: ClassVar[SearchSpace] = FIT | {"model.dropout": Range(0.0, 0.5), "smoothing": (0.0, 0.1, 0.2)}

    @classmethod
    def train(cls, network: SequenceNetwork, data: TrainingData, settings: SASRecPlusTraining) -> None:
        """By the full softmax, or one over drawn rivals."""
        fit, drawn = settings.fit, settings.negatives
        if drawn:
            sampled = SampledTraining(model=settings.model, fit=fit, loss="sampled_softmax", negatives=drawn, drawn_for="batch")
            fit_sampled(network, data.interactions, data.valid, settings=sampled, run=data.run, stage=data.stage)
            return
        fit_full_softmax(network, data.interactions, data.valid, smoothing=settings.smoothing, settings=fit, run=data.run, stage=data.stage)
