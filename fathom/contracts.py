"""The seams: small structural protocols. What keeps one can stand wherever another does that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fathom.records import Call, Case, Episode, Ranking, Reply, Written

if TYPE_CHECKING:
    from torch import Tensor


class Scorer(Protocol):
    """Scores the whole catalogue; a higher number means more likely next."""

    n_items: int

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 on the CPU: the column is the item id, column 0 (`PAD`) is -inf."""
        ...


class Recommender(Protocol):
    """Ranks items for cases. Batch mates never change a row."""

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best item ids of each case, best first; ties go to the smaller id."""
        ...


class PreferenceAware(Recommender, Protocol):
    """A recommender that also hears what is wanted, in free text."""

    def recommend(
        self, cases: Sequence[Case], k: int, *, exclude_history: bool = True, preferences: Sequence[str] | None = None
    ) -> Ranking:
        """As any recommender, by what each case's preference says too; none, or '', asks for what the history suggests."""
        ...


class Rater(Protocol):
    """Foretells ratings. Batch mates never change a row."""

    def rate(self, cases: Sequence[Case]) -> npt.NDArray[np.float64]:
        """(B,) the rating that each person would give to `case.target`."""
        ...


class Retrieve(Protocol):
    """Answers calls in batches."""

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        """Per call at most `call.k` item ids, best first, none of `call.exclude`."""
        ...


class Tool(Retrieve, Protocol):
    """The agent's tool: it also says how sure it is of what it shows."""

    def weigh(self, histories: Sequence[Sequence[int]], items: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        """Per history what speaks for each of its `items` as the next one, whatever is wished for, in nats.

        Differences are logarithms of ratios of probabilities; what is added to all items of a history says nothing.
        """
        ...


class TextEncoder(Protocol):
    """Texts become unit vectors."""

    name: str
    """Says which encoder and version made a vector; part of every cache key."""

    @property
    def width(self) -> int:
        """How many dimensions a vector has."""
        ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, width) float32, unit norm; the row of an empty text is zero."""
        ...


Over: TypeAlias = Callable[[str], bool]
"""Says of a reply's text so far whether it is enough."""


class Conversation(Protocol):
    """A batch of growing token sequences whose key-value cache is kept between turns; rows are 0..B-1."""

    def reply(
        self,
        rows: Sequence[int],
        stops: Sequence[str],
        limits: Sequence[int],
        over: Over | None = None,
        barred: Sequence[str] = (),
    ) -> list[Reply]:
        """Let the model write on each of `rows` until a stop string, its end of text, `limits` tokens, or until `over` says so.

        `barred`: markers that it may not write.
        """
        ...

    def extend(self, rows: Sequence[int], texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Append the environment's text to each of `rows`; returns the ids that were appended."""
        ...

    def score(self, rows: Sequence[int], continuations: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """Per row the log-likelihood of each continuation at the present end; the rows stay as they are."""
        ...

    def write_list(
        self,
        rows: Sequence[int],
        titles: Sequence[str],
        *,
        numbers: Sequence[str],
        closing: str,
        forbidden: Sequence[Collection[int]],
        limits: Sequence[int],
        favour: Sequence[Mapping[int, float]] | None = None,
        forked: bool = False,
    ) -> list[Written]:
        """On each of `rows` a title, allowed and not yet written, behind every one of `numbers`, and then `closing`.

        `favour`: per row what speaks for some items beside the model, in nats. `forked`: every title is drawn where the first one is.
        """
        ...


class Encodes(Protocol):
    """Turns text into tokens."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, no special tokens added."""
        ...


class Policy(Encodes, Protocol):
    """A language model that can be talked to."""

    @property
    def at_once(self) -> int:
        """How many conversations it holds side by side with profit."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, nothing skipped or cleaned up."""
        ...

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> Conversation:
        """Open one conversation per prompt; temperature 0 is greedy. Row i depends on `seeds[i]`, not on its batch mates."""
        ...


Reward = Callable[[Episode], float]
"""A finished episode -> a number; pure, over item ids."""

Validate = Callable[[], Mapping[str, float]]
"""Called by a training loop now and then; returns named figures, higher is better for the one selected by."""
