"""What a recipe of foretold ratings says: whose, and how a language model is asked."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.prompting.rate import RaterSettings

FLOOR = ("global-mean", "person-mean", "item-mean", "biases", "factors")
"""The rows that ask nobody."""


class RatedSettings(RaterSettings):
    """One row of the table: the language model, asked in one way."""

    users: int = Field(default=0, ge=0)
    """So many of the test users, drawn by the recipe's seed, are asked; 0: all."""


class RatingRecipe(AskingRecipe):
    """How will people rate what they took next?"""

    method: Literal["rating"] = "rating"
    """Which method it is a recipe of."""
    liked: float = 4.0
    """Ratings from this on are told from lower ones by the area under the curve."""
    asked: dict[str, RatedSettings] = Field(default_factory=dict)
    """Row -> how the language model is asked for it."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.asked and not self.somebody:
            raise ValueError("asked has rows, but nobody to ask: write language: {} for the built-in model, or endpoint: {base_url, model}")
        for name, settings in self.asked.items():
            if name in FLOOR:
                raise ValueError(f"asked.{name}: another row has this name")
            if settings.answers == "likelihoods" and self.endpoint is not None:
                raise ValueError(f"asked.{name}: an endpoint tells no likelihoods: write answers: words")
            if settings.lowest >= settings.best:
                raise ValueError(f"asked.{name}: lowest {settings.lowest:g} must be less than best {settings.best:g}")
        return self
