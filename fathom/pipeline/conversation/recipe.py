"""What a recipe of conversations says: which dialogues, which signals each row learns to weigh, which language model reads along."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.conversation.asked import OrderSettings
from fathom.conversation.shelves import Signal
from fathom.pipeline.asking.recipe import AskingRecipe

FIXED = ("popularity", "text", "by-hand")
"""Rows that learn nothing from conversations: what most people name; texts near to what is asked for and to what was named; all signals
as they are weighed where nothing is known."""

LISTENING = "with-lm"
"""The row of the language model, over the list of `learned`'s last row."""


LEARNED: Mapping[str, tuple[Signal, ...]] = {
    "named-alone": ("popularity", "profile", "taken"),
    "said-alone": ("popularity", "words", "lexical"),
    "conversation": ("popularity", "words", "lexical", "likes", "dislikes", "profile", "taken"),
}
"""What is learned where a recipe does not say: from titles alone, from words alone, from all of it."""


class AskedTurns(OrderSettings):
    """One row of the table: a language model behind an address orders what the last row of `learned` finds."""

    users: int = Field(default=0, ge=0)
    """So many of the turns, drawn by the recipe's seed, are asked about; 0: all."""


class ConversationRecipe(AskingRecipe):
    """Recommenders listen to dialogues between two people, and say what they would name where one of them recommends."""

    method: Literal["conversation"] = "conversation"
    """Which method it is a recipe of."""
    folds: int = Field(default=4, ge=3)
    """The dialogues are cut into so many parts, nobody recommending in two. What is asked about one is learned from the others: most of
    them, and how to weigh what was learned from one more."""
    learned: dict[str, tuple[Signal, ...]] = Field(default_factory=lambda: dict(LEARNED))
    """Row -> the signals whose weights it learns; the last row is who serves."""
    looked_at: int = Field(default=100, ge=2)
    """With `language` the built-in model reads the dialogues and titles that may be learned from, and re-orders so many of the first items
    of the last row, for the row `with-lm`."""
    asked: dict[str, AskedTurns] = Field(default_factory=dict)
    """Row -> how the language model behind `endpoint` is asked for it."""

    @model_validator(mode="after")
    def _about_dialogues(self) -> Self:
        if self.source is None:
            raise ValueError("the built-in world does not talk: write source: {name: a folder of ReDial's files} instead of world")
        if self.sessions is not None or self.split != type(self).model_fields["split"].default:
            raise ValueError("dialogues are cut by folds: leave sessions and split out")
        if not self.learned:
            raise ValueError("learned has no row: write at least one, such as conversation: [popularity, words, taken]")
        for name, signals in self.learned.items():
            if name in FIXED or name == LISTENING:
                raise ValueError(f"learned.{name}: another row has this name")
            if not signals or len(set(signals)) < len(signals):
                raise ValueError(f"learned.{name}: write one or more signals, each once")
        if self.asked and self.endpoint is None:
            raise ValueError("asked has rows, but nobody to ask: write endpoint: {base_url, model}")
        for name in self.asked:
            if name in (*FIXED, LISTENING, *self.learned):
                raise ValueError(f"asked.{name}: another row has this name")
        if self.language is not None and self.language.model != "builtin":
            raise ValueError("language.model: only the built-in model learns from dialogues here; leave it out")
        return self
