"""What a recipe of ranked candidates says: which lists, which named models, which language model, and how it is asked."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.errors import suggestion
from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.prompting.rank import RankerSettings
from fathom.settings import Settings


class CandidateSettings(Settings):
    """Where the lists come from."""

    protocol: Literal["stored", "has-target", "retrieved"] = "stored"
    """'stored': the lists beside the source. 'has-target': what came next among random items. 'retrieved': what `retrievers` find, with
    the target or without it, as in service."""
    size: int = Field(default=20, ge=2)
    """Items of a list, unless it is stored."""
    retrievers: tuple[str, ...] = ()
    """Of 'retrieved': rows of `models` whose lists are fused by reciprocal rank; 'chance' draws items."""
    depth: int = Field(default=100, ge=1)
    """Of 'retrieved': so many items of each are looked at."""


class AskedSettings(RankerSettings):
    """One row of the table: the language model, asked in one way."""

    users: int = Field(default=0, ge=0)
    """So many of the test users, drawn by the recipe's seed, are asked; 0: all."""


class RankingRecipe(SequentialRecipe, AskingRecipe):
    """Named models and a language model put the same lists in order."""

    method: Literal["ranking"] = "ranking"  # type: ignore[assignment]
    """Which method it is a recipe of."""
    candidates: CandidateSettings = CandidateSettings()
    """Where the lists come from."""
    asked: dict[str, AskedSettings] = Field(default_factory=dict)
    """Row -> how the language model is asked for it."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.windows is not None:
            raise ValueError("windows of time and candidate lists do not go together: leave windows out")
        if self.mixed:
            raise ValueError("mixed fuses whole rankings, and here lists are given: leave it out, or name retrievers for candidates")
        if self.asked and not self.somebody:
            raise ValueError("asked has rows, but nobody to ask: write language: {} for the built-in model, or endpoint: {base_url, model}")
        for name, settings in self.asked.items():
            if name in self.models.names or name in (OFFERED, CHANCE):
                raise ValueError(f"asked.{name}: another row has this name")
            if settings.answers == "likelihoods" and self.endpoint is not None:
                raise ValueError(f"asked.{name}: an endpoint tells no likelihoods: write answers: words")
        for name in self.candidates.retrievers:
            if name not in (known := (*self.models.names, CHANCE)):
                raise ValueError(f"candidates.retrievers names '{name}'{suggestion(name, known)}")
        if (self.candidates.protocol == "retrieved") != bool(self.candidates.retrievers):
            raise ValueError("candidates.retrievers and protocol: retrieved go together: write both or none of them")
        return self


OFFERED = "as-offered"
"""The row of the lists as they are shown."""

CHANCE = "chance"
"""The row of whoever finds everything equally good: exact, since metrics are means over the orders of ties. As a retriever: drawn items."""
