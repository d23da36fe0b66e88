"""What flows from stage to stage: frozen records, each defined once.

Item ids inside Fathom are the integers 1..n_items; 0 is `PAD` and never an item. Users are 0..n_users-1.
The catalogue and the interactions keep the names under which the outside world knows them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from fathom.errors import DataError

PAD = 0
"""The id that stands for 'no item': column 0 of every score matrix, row 0 of every item table."""

REVIEW, HEADLINE = "review", "headline"
"""The columns of events that hold what somebody wrote of an item, and what stands above it."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The items, one entry each: entry `i - 1` of every tuple belongs to item id `i`."""

    names: tuple[str, ...]
    """The ids of the outside world (a MovieLens movieId, an ASIN), unique."""
    titles: tuple[str, ...]
    """Display titles, unique under `data.titles.canonical`, free of protocol markers and line breaks."""
    attributes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Attribute name (genres, decade, director, category ...) -> per item its values, often none."""
    descriptions: tuple[str, ...] = ()
    """One text per item, '' where there is none; the empty tuple where the source has no descriptions."""

    @property
    def n_items(self) -> int:
        """How many items there are; ids run from 1 to this number."""
        return len(self.names)

    def title(self, item: int) -> str:
        """The display title of item id `item`; a number that is nobody's id is a `DataError`."""
        if not 0 < item <= len(self.titles):
            raise DataError(f"there is no item {item}: ids run from 1 to {len(self.titles)}")
        return self.titles[item - 1]

    def values(self, item: int) -> tuple[str, ...]:
        """All attribute values of item id `item`, in the order of the attributes."""
        return tuple(value for column in self.attributes.values() for value in column[item - 1])


@dataclass(frozen=True, slots=True)
class EventColumn:
    """What else is known of each event: a number, or a name."""

    values: Floats
    """(n_events,) the number, or of names their own numbers from 1; NaN where nothing is told."""
    names: tuple[str, ...] = ()
    """The name that stands for 1, for 2, and so on; none where values are numbers."""

    def taken(self, events: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "EventColumn":
        """The same of some of the events, given by a mask or by their places."""
        return EventColumn(self.values[events], self.names)


@dataclass(frozen=True, slots=True)
class Interactions:
    """Who took what, in order: user u's events are `items[offsets[u]:offsets[u + 1]]`, oldest first."""

    users: tuple[str, ...]
    """The outside names of the users; user u is entry u."""
    offsets: Ints
    """(n_users + 1,) where each user's events start."""
    items: Ints
    """(n_events,) item ids."""
    ratings: Floats | None = None
    """(n_events,) ratings as given; NaN where one is missing; None where the source has none."""
    times: Ints | None = None
    """(n_events,) seconds since 1970; -1 where one is missing; None where only the order is known."""
    columns: Mapping[str, EventColumn] = field(default_factory=dict)
    """Name -> what else the source tells of each event (a price, a device, a page); none in most sources."""

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.users)

    @property
    def n_events(self) -> int:
        """How many interactions there are."""
        return len(self.items)

    def history(self, user: int) -> Ints:
        """The item ids of `user`, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


@dataclass(frozen=True, slots=True)
class Case:
    """One question put to a recommender: after this history, what came next?"""

    user: int
    """Index of the user; -1 for somebody who was never seen."""
    history: tuple[int, ...]
    """Item ids, oldest first; the event of `target` is never among them."""
    target: int
    """The item id that came next; `PAD` where nobody knows (serving)."""
    ratings: tuple[float, ...] = ()
    """The user's rating of each event of `history` (NaN: not rated); empty where the source has none."""
    times: tuple[int, ...] = ()
    """Seconds since 1970 of each event of `history` (-1: unknown); empty where only the order is known."""
    later: tuple[int, ...] = ()
    """What the user took after `target` and what counts as relevant beside it."""
    columns: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    """Name -> the value of each event of `history`, as in `Interactions.columns`; empty where the source has none."""

    def follows(self, before: "Case") -> bool:
        """Whether it is the same person's very next question: all that `before` knew, and what it asked for, is its history."""
        return self.user == before.user and self.history == (*before.history, before.target)


@dataclass(frozen=True, slots=True)
class Split:
    """Interactions cut into what may be learned from and what is asked."""

    train: Interactions
    valid: tuple[Case, ...]
    test: tuple[Case, ...]
    rule: str
    """Name of the split, such as 'leave-one-out'."""
    leaks: str
    """One sentence: which leak this split leaves open."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best items of each case, best first."""

    items: Ints
    """(B, k) item ids; `PAD` where fewer than k could be recommended."""
    scores: Floats
    """(B, k) non-increasing; -inf where `items` is `PAD`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question to the retriever."""

    history: tuple[int, ...]
    preference: str
    """What the language model asks for; '' asks for what the history alone suggests."""
    k: int
    exclude: frozenset[int] = frozenset()
    """Item ids that must not come back."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a language model wrote in one go."""

    text: str
    """Ends with the stop string that ended it, if one did."""
    tokens: tuple[int, ...] = ()
    """The ids as they stand on the row: as sampled, but for the last `spill`; empty from an endpoint that gives none."""
    logprobs: tuple[float, ...] = ()
    """Natural log-probability of each sampled id under the policy, unheated; as long as `tokens`, 0.0 for the last `spill`."""
    stop: str | None = None
    """The stop string that ended it; None: the token limit, or the model's own end of text."""
    spill: int = 0
    """How many trailing `tokens` the model did not sample: they stand for the part, up to the stop string, of a token that ran past it."""
    barred: tuple[int, ...] = ()
    """The ids that were not among those it was sampled from."""
    usage: tuple[int, int] | None = None
    """Tokens read and written as an endpoint counts them; None for a model that gives its ids."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Between what a token was chosen where that was not the whole vocabulary."""

    node: int | None
    """The tokens of the title so far, as a node of the catalogue's trie: the next one is among its children. None: it may be any token
    but the `blocked` ones."""
    blocked: tuple[int, ...] = ()
    """Children that lead only to titles that may not be written, or other tokens that may not."""
    favoured: tuple[tuple[int, float], ...] = ()
    """Children that lead to titles for which something speaks beside the model, and what is added to their logits."""


@dataclass(frozen=True, slots=True)
class Written:
    """A list of titles that a model wrote under constraint: numbers and tags stood there already, titles it chose."""

    text: str
    tokens: tuple[int, ...]
    sampled: tuple[bool, ...]
    """True where the model chose the token."""
    logprobs: tuple[float, ...]
    """Of each chosen token among those allowed there; 0.0 elsewhere."""
    choices: tuple[Choice, ...]
    """One for each chosen token, in order."""
    whole: bool
    """Whether the list was ended; False: it was cut off by a limit, or the catalogue had no title left."""
    fork: int | None = None
    """Of the list's tokens so many stand before its first title, if every title was drawn there; None: if each follows those above it."""


@dataclass(frozen=True, slots=True)
class Tape:
    """Everything one episode put before the language model, token by token; it only ever grew."""

    tokens: tuple[int, ...]
    sampled: tuple[bool, ...]
    """True where the model itself wrote the token; False for the prompt and for what the environment wrote."""
    logprobs: tuple[float, ...]
    """Log-probability at sampling time; 0.0 where `sampled` is False."""
    prompt: int
    """How many tokens the opening has."""
    choices: Mapping[int, Choice] = field(default_factory=dict)
    """Place in `tokens` -> between what it was chosen, where that was not the whole vocabulary."""
    fork: int | None = None
    """So many tokens stand before the answer, if its titles were drawn or scored there; None: each token follows all before it."""

    @property
    def positions(self) -> list[int]:
        """As which token of its text the model read each one: behind a fork every title begins where the first one does."""
        positions = list(range(len(self.tokens)))
        for place in range(len(self.tokens) if self.fork is None else self.fork, len(self.tokens)):
            choice = self.choices.get(place)
            positions[place] = positions[place - 1] + 1 if choice is not None and choice.node else self.fork or 0
        return positions


class Ending(StrEnum):
    """Why an episode ended."""

    ANSWERED = "answered"
    TOO_MANY_CALLS = "too_many_calls"
    TOO_LONG = "too_long"
    EMPTY_PREFERENCE = "empty_preference"
    BAD_CALL = "bad_call"
    UNREADABLE = "unreadable"
    RETRIEVAL_FAILED = "retrieval_failed"
    ABANDONED = "abandoned"
    """Whoever had asked went away."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thought, the preference it led to, and what the retriever returned for it."""

    thought: str
    preference: str
    shown: tuple[int, ...]
    """Item ids, best first."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished conversation between a language model and a retriever, for one case."""

    case: Case
    turns: tuple[Turn, ...]
    """The executed calls."""
    conclusion: str
    """The model's words between the last item list and the end of its thinking."""
    lines: tuple[str, ...]
    """The lines of the written answer, as written."""
    answer: tuple[int | None, ...]
    """The item id each line resolves to; None where it names no item."""
    scored: tuple[int, ...]
    """Scored finish: everything retrieved, by the model's likelihood of each title; empty where not asked for."""
    faults: tuple[str, ...]
    """Names of the format checks that failed; empty: the episode is well formed."""
    ending: Ending
    text: str
    """The response after the prompt: the model's words and the item lists."""
    tape: Tape | None = None
    seconds: float = 0.0

    @property
    def well_formed(self) -> bool:
        """Whether every format check passed."""
        return not self.faults

    @property
    def retrieved(self) -> tuple[int, ...]:
        """Every item shown, in order of first appearance."""
        return tuple(dict.fromkeys(item for turn in self.turns for item in turn.shown))


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model wrote about one case before it was read out."""

    case: Case
    text: str
    """Its words; the read-out string, with which it may have ended them, is not among them."""
    tape: Tape
    """Prompt, reasoning and read-out; `sampled` where the model wrote, which the read-out may be or not."""
    words: int
    """How many tokens of the tape are the reasoning: they stand behind the prompt, and the read-out behind them."""
    forced: bool
    """Whether it was read out because its tokens had run out, or its text had ended, without the read-out string."""
    seconds: float = 0.0
    cut: bool = False
    """Whether its prompt had no room for the oldest of the events that it should show."""

    @property
    def written(self) -> int:
        """How many tokens the model sampled."""
        return sum(self.tape.sampled)


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that was said in a conversation about what to take."""

    speaker: Literal["seeker", "recommender"]
    text: str
    """With titles in the place of numbers."""
    items: tuple[int, ...]
    """The items that it names, in order."""


def cases_of(histories: Sequence[Sequence[int]]) -> tuple[Case, ...]:
    """Cases without a known target for people never seen before, one a history."""
    return tuple(Case(user=-1, history=tuple(history), target=PAD) for history in histories)
