"""Who is asked: the built-in language model, one from a folder, or one behind an address."""

from typing import Self

from pydantic import model_validator

from fathom.language.remote_settings import RemoteSettings
from fathom.pipeline.recipe import LanguageSettings, Recipe


class AskingRecipe(Recipe):
    """What the recipes say that ask a language model."""

    language: LanguageSettings | None = None
    """A language model here: the built-in one, pretrained on the training histories, or one from outside."""
    encoder: str = "minilm"
    """Makes vectors of item texts: minilm, hashing, st:NAME, lm:FOLDER or http://HOST/v1#MODEL."""
    endpoint: RemoteSettings | None = None
    """One behind an OpenAI-compatible address; either this or `language`."""

    @property
    def somebody(self) -> bool:
        """Whether there is anybody to ask."""
        return self.language is not None or self.endpoint is not None

    @model_validator(mode="after")
    def _asks_one(self) -> Self:
        if self.language is not None and self.endpoint is not None:
            raise ValueError("language and endpoint are both there: a recipe asks one language model, leave one of them out")
        return self
