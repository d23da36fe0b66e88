"""What a recipe of R²ec says: one settings class for each stage, in the order of the stages."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.pipeline.recipe import LanguageRecipe
from fathom.reasoners.prompts import ReasonerSettings
from fathom.training.contrastive import ContrastiveSettings
from fathom.training.recpo import RecPOSettings
from fathom.training.supervised import FitSettings


class MatchSettings(ContrastiveSettings):
    """As without reasoning, and the language head learns what it may say."""

    words: float = Field(default=0.5, ge=0)
    """Weight of the words' loss beside the match's: of the events of windows, and of reasonings."""
    named: float = Field(default=0.25, ge=0, le=1)
    """Share of the windows' events behind which the titles that followed are learned as a reasoning: as many as `reasoner.titles` says."""


class LessonSettings(MatchSettings):
    """The model learns to match behind its own reasonings, among histories, so that these are not forgotten."""

    histories: float = Field(default=0.3, ge=0, le=1)
    """Share of the people whose whole histories are read beside the reasonings, drawn by the recipe's seed."""
    most: int = Field(default=0, ge=0)
    """The most cases that are reasoned about, all those of people drawn by the recipe's seed; 0: everybody's."""
    draws: int = Field(default=1, ge=1)
    """Reasonings that are written about each of them."""
    temperature: float = Field(default=0.7, gt=0, le=2)
    """Logits of words are divided by it when they are written."""
    cut: float = Field(default=0.2, ge=0, le=1)
    """Share of the reasonings that end early, anywhere, so that the model can be read out after any number of words."""
    own_weight: float = Field(default=0.0, ge=0)
    """Of its own words in the words' loss."""


class R2ecRecipe(LanguageRecipe):
    """R²ec from random weights, or from a language model that exists."""

    method: Literal["r2ec"] = "r2ec"
    """Which method it is a recipe of."""
    reasoner: ReasonerSettings = ReasonerSettings()
    """What the model is shown, how long it reasons, how it is read out."""
    match: MatchSettings = MatchSettings()
    """People and items are matched without reasoning, and titles named, on histories without their held-out ends."""
    match_refit: ContrastiveSettings = ContrastiveSettings(fit=FitSettings(epochs=1, batch_size=16, learning_rate=1e-3))
    """Continued on whole histories, for the row `r2ec-no-reason`."""
    warm: LessonSettings = LessonSettings(fit=FitSettings(epochs=1, batch_size=16, learning_rate=1e-3), draws=4)
    """It reasons about the held-out events of half of the people, and learns to match behind its words, for the row `r2ec-warm`."""
    recpo: RecPOSettings = RecPOSettings()
    """Words and match learn from ranks, for the row `r2ec-recpo`."""
    questions: int = Field(default=0, ge=0)
    """The most held-out events, of the other half of the people, that reinforcement learning asks for, drawn by `seed`; 0: all of them."""
    refit: LessonSettings = LessonSettings(fit=FitSettings(epochs=1, batch_size=16, learning_rate=1e-3))
    """Continued on whole histories and its own reasonings, for the row `r2ec`: it serves."""
    budgets: tuple[int, ...] = (0, 2, 4, 8)
    """After so many tokens of its reasoning `r2ec` is read out as well: what are they worth?"""

    @model_validator(mode="after")
    def _it_reasons(self) -> Self:
        if not self.reasoner.reasoning_tokens:
            raise ValueError("reasoner.reasoning_tokens is 0, but every row except r2ec-no-reason reasons: write how many tokens")
        return self
