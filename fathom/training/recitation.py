"""Lists that mean nothing and their repetition: from these a small language model learns to copy what it was shown.

In a history nothing occurs twice, so a model that has only read histories cannot repeat a list, and learns it slowly from
traces, in which each answer mostly repeats the list before it. Recitations have nothing else in them: one or more numbered
lists, long and short, of items drawn at random, and an answer with the items of the first list. In some, an
item stands first that stood elsewhere, as the target of a trace does, and the first one has taken its place. Which one cannot
be known, so it is only read; but where the first one must stand can be known, and is where copying fails: that line weighs more.
"""

from itertools import pairwise
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from fathom.agents.protocol import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BEGIN_ITEMS,
    END_ITEMS,
    HISTORY_OPEN,
    THINK_CLOSE,
    ProtocolSettings,
    answer_numbers,
)
from fathom.language.policy import LocalPolicy
from fathom.records import Catalog
from fathom.settings import Settings
from fathom.training.packing import Document
from fathom.training.traces import brought_forward

DISPLACED = 5.0
"""Weight in the loss of the title that had to make room: one place in an answer, and the only hard one."""


class RecitationSettings(Settings):
    """Recitations in the pretraining of the language model."""

    each_epoch: int = Field(default=0, ge=0)
    """So many new ones in every epoch: some thousands for a model from random weights, none for one that can copy."""
    lists: tuple[float, ...] = (0.7, 0.2, 0.1)
    """How often there are one, two, ... lists, in proportion."""
    moved: float = Field(default=0.5, ge=0, le=1)
    """How often another item stands first in the answer."""

    @model_validator(mode="after")
    def _some_lists(self) -> Self:
        if not self.lists or min(self.lists) < 0 or sum(self.lists) <= 0:
            raise ValueError(f"lists is {self.lists}: write one proportion for each number of lists from 1 on, such as [0.7, 0.2, 0.1]")
        return self


class Recitations:
    """Draws recitations as tokens of a policy."""

    def __init__(
        self, policy: LocalPolicy, catalog: Catalog, *, settings: RecitationSettings, protocol: ProtocolSettings, row: int
    ) -> None:
        """A recitation longer than `row` tokens is drawn again with fewer lists, and left out if even one list is too long."""
        self._settings = settings
        self._row = row
        self._shares = np.asarray(settings.lists) / sum(settings.lists)
        self._each, self._length = min(protocol.items_per_call, catalog.n_items), min(protocol.answer_length, catalog.n_items)
        encode = policy.table.encode_many
        self._titles = [(), *encode([f"{title}\n" for title in catalog.titles])]
        self._numbers = encode([f"{place}. " for place in range(1, max(self._each, self._length) + 1)])
        opening, closing = f"\n{BEGIN_ITEMS}\n", f"{END_ITEMS}\n"
        reminder = f"\n{HISTORY_OPEN}" if protocol.reminded else ""
        answer = f"{THINK_CLOSE}\n{ANSWER_OPEN}{reminder}"
        self._begin, self._end, self._answer, self._close = encode([opening, closing, answer, ANSWER_CLOSE])
        self._leads = encode(answer_numbers(protocol))

    def draw(self, rng: np.random.Generator) -> list[Document]:
        """The recitations of one epoch."""
        drawn = (self._one(rng) for _ in range(self._settings.each_epoch if self._each > 1 else 0))
        return [document for document in drawn if document is not None]

    def _one(self, rng: np.random.Generator) -> Document | None:
        for lists in range(1 + int(rng.choice(len(self._shares), p=self._shares)), 0, -1):
            sizes = rng.integers(2, self._each + 1, size=lists)  # short lists are learned first, and what they teach holds for long ones
            if sizes.sum() < len(self._titles):
                items = (rng.choice(len(self._titles) - 1, size=sizes.sum(), replace=False) + 1).tolist()
                document = self._written(items, np.cumsum([0, *sizes]).tolist(), rng)
                if len(document.tokens) <= self._row:
                    return document
        return None

    def _written(self, items: list[int], bounds: list[int], rng: np.random.Generator) -> Document:
        tokens: list[int] = []
        for start, end in pairwise(bounds):
            tokens += [*self._begin, *self._lines(items[start:end]), *self._end]
        tokens += self._answer
        length = min(self._length, bounds[1])
        answer, weight = items[:length], [1.0] * length
        if rng.random() < self._settings.moved:
            moved = int(rng.integers(1, len(items)))
            answer, place = brought_forward(items, moved, length)
            weight[0], weight[place] = 0.0, DISPLACED
        weights = [0.0] * len(tokens)
        for place, item in enumerate(answer):
            tokens += [*self._leads[place], *self._titles[item]]
            weights += [1.0] * len(self._leads[place]) + [weight[place]] * len(self._titles[item])
        return Document(
            np.asarray([*tokens, *self._close], dtype=np.int64), np.asarray([*weights, *([1.0] * len(self._close))], dtype=np.float32)
        )

    def _lines(self, items: list[int]) -> list[int]:
        return [token for number, item in zip(self._numbers, items, strict=False) for token in (*number, *self._titles[item])]
