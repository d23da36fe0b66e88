"""What a recipe of free recommendation says: which named models, which language model, how it is asked, what fills its lists up."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.errors import suggestion
from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.prompting.generate import GeneratorSettings

CATALOGUE = "lm-catalogue"
"""The row of the language model as a recommender by itself: the whole catalogue by the likelihood of each title behind the history."""


class GeneratedSettings(GeneratorSettings):
    """One row of the table: the language model, asked for titles in one way."""

    users: int = Field(default=0, ge=0)
    """So many of the test users, drawn by the recipe's seed, are asked; 0: all."""


class NextRecipe(SequentialRecipe, AskingRecipe):
    """Named models, and a language model that is shown no candidates."""

    method: Literal["next"] = "next"  # type: ignore[assignment]
    """Which method it is a recipe of."""
    generated: dict[str, GeneratedSettings] = Field(default_factory=dict)
    """Row -> how the language model is asked to name titles."""
    filled_by: str = ""
    """The row of `models` that fills up what it leaves empty; '': the last one."""
    alike: float = Field(default=0.7, gt=0, le=1)
    """Cosine from which on a text that names nothing is taken for the item whose text is nearest."""
    catalogue: bool = True
    """Whether a language model that is here ranks the whole catalogue too, for the row `lm-catalogue`."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.windows is not None:
            raise ValueError("windows of time and a language model do not go together: leave windows out")
        if not self.somebody:
            raise ValueError("nobody is there to ask: write language: {} for the built-in model, or endpoint: {base_url, model}")
        for name in self.generated:
            if name in (*self.models.names, *self.mixed, CATALOGUE):
                raise ValueError(f"generated.{name}: another row has this name")
            if self.language is None and self.generated[name].constrained:
                raise ValueError(f"generated.{name}: an endpoint cannot be kept to titles: write constrained: false, or language")
        if self.filled_by and self.filled_by not in self.models.names:
            raise ValueError(f"filled_by is '{self.filled_by}'{suggestion(self.filled_by, self.models.names)}")
        return self

    @property
    def ranks_catalogue(self) -> bool:
        """Whether there is the row `lm-catalogue`."""
        return self.catalogue and self.language is not None
