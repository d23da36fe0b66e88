"""What a recipe of enhanced recommenders says: who writes, about what, and which models read it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.errors import suggestion
from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.prompting.describe import DescriberSettings
from fathom.settings import Settings

TAGS = "tags"
"""The attribute under which what was written about an item joins the catalogue."""


class PseudoSettings(Settings):
    """Items that are put before short histories: those nearest to what was written about the person."""

    shorter: int = Field(default=6, ge=1)
    """Histories of fewer training events get some."""
    items: int = Field(default=3, ge=1)
    """So many."""


class EnhancedRecipe(SequentialRecipe, AskingRecipe):
    """Named models, some of which read what a language model has written."""

    method: Literal["enhanced"] = "enhanced"  # type: ignore[assignment]
    """Which method it is a recipe of."""
    writing: DescriberSettings = DescriberSettings()
    """How the language model is asked."""
    readers: tuple[str, ...]
    """The rows of `models` that read what was written: a summary in each description, an attribute 'tags'. 'sasrec-text_written' beside
    'sasrec-text' shows what it is worth."""
    pseudo: PseudoSettings | None = None
    """What readers get where histories are short; left out: nothing, and nobody is written about."""
    shuffled: bool = False
    """A control: each item gets what was written about another one, drawn by `seed`."""

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if self.windows is not None or self.mixed:
            raise ValueError("windows of time and mixed rows do not go together with what is written: leave them out")
        if not self.somebody:
            raise ValueError("nobody is there to write: write language: {} for the built-in model, or endpoint: {base_url, model}")
        for name in self.readers:
            if name not in self.models.names:
                raise ValueError(f"readers names '{name}'{suggestion(name, self.models.names)}")
        if not self.readers:
            raise ValueError("readers names none: write one or more rows of models")
        return self
