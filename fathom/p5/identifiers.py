"""What items are called in sentences (arXiv:2305.06569): by numbers, by tokens of their own, by paths through clusters, by titles.

Every scheme reads the training part alone, so that no id tells of an event that is asked for; P5's own numbering, which walks whole
histories, test item included, gives neighbours neighbouring numbers and leaks. A scheme gives each item its pieces; their text is the id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field

from fathom.errors import DataError
from fathom.p5.clusters import co_occurrence, spectral_paths
from fathom.p5.lexicon import CLOSE, OPEN, Lexicon, plain
from fathom.p5.quantised import residual_codes
from fathom.records import PAD, Catalog, Floats, Interactions, Ints
from fathom.settings import Settings

Scheme = Literal["random", "sequential", "one-token", "collaborative", "semantic", "title", "hybrid"]
"""How ids come about."""

Order = Literal["file", "short-to-long", "long-to-short", "random"]
"""In which order people are walked while items are numbered."""


class IdentifierSettings(Settings):
    """What items are called."""

    scheme: Scheme = "collaborative"
    """'random' and 'sequential' numbers, 'one-token' each, paths through 'collaborative' or 'semantic' clusters, the 'title', or 'hybrid':
    a collaborative path and a token of one's own."""
    order: Order = "file"
    """Of 'sequential': people are walked as they stand, by the length of their training histories, or at random."""
    clusters: int = Field(default=16, ge=2)
    """Of 'collaborative' and 'hybrid': clusters that a cluster is cut into."""
    leaf: int = Field(default=64, ge=1)
    """Of 'collaborative' and 'hybrid': clusters of more items are cut again."""
    window: int = Field(default=0, ge=0)
    """Of 'collaborative' and 'hybrid': items count as taken together within so many events of one person; 0: within the whole history."""
    levels: int = Field(default=3, ge=1)
    """Of 'semantic': codes of an id, before the one that tells items of equal codes apart."""
    codes: int = Field(default=64, ge=2)
    """Of 'semantic': codes of a level."""
    seed: int = Field(default=42, ge=0)
    """Of shuffles and clusters."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a scheme may know: never an event that is asked for."""

    train: Interactions
    catalog: Catalog
    vectors: Callable[[], Floats]
    """(n_items + 1, d) unit vectors of the items' texts, made when they are asked for."""


class Identifiers:
    """The ids of a catalogue: unique words, and back."""

    def __init__(self, pieces: Sequence[Sequence[str]]) -> None:
        """`pieces[i - 1]`: of item i, each a token of its own, '‹a3›', or words. Two items of one text are a `DataError`."""
        self.pieces = tuple(tuple(one) for one in pieces)
        self.texts = tuple("".join(one) for one in self.pieces)
        """The id of item i is entry i - 1."""
        self._item: dict[str, int] = {}
        for item, text in enumerate(self.texts, start=1):
            if not text.strip():
                raise DataError(f"item {item} has an empty id: every item needs one")
            if text in self._item:
                raise DataError(f"items {self._item[text]} and {item} have one id, '{text}': nobody could tell them apart")
            self._item[text] = item

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.texts)

    @cached_property
    def added(self) -> tuple[str, ...]:
        """The tokens that ids are made of and that no text has, each once."""
        return tuple(dict.fromkeys(piece for pieces in self.pieces for piece in pieces if piece.startswith(OPEN)))

    def item(self, text: str) -> int:
        """The item of this id; `PAD` where it is nobody's."""
        return self._item.get(text, PAD)

    def sequences(self, lexicon: Lexicon) -> list[tuple[int, ...]]:
        """The tokens of each id; with the end behind all of them where one begins another."""
        found = [tuple(encoded.tokens) for encoded in lexicon.encode_many(self.texts)]
        if len(set(found)) < len(found):
            first: dict[tuple[int, ...], int] = {}
            for item, tokens in enumerate(found, start=1):
                if (other := first.setdefault(tokens, item)) != item:
                    told = f"'{self.texts[other - 1]}' and '{self.texts[item - 1]}'"
                    raise DataError(f"the ids of items {other} and {item}, {told}, have the same tokens: write a larger vocabulary")
        ordered = sorted(found)
        begins = any(longer[: len(shorter)] == shorter for shorter, longer in pairwise(ordered))
        return [(*tokens, lexicon.end) for tokens in found] if begins else found


def identifiers(known: Known, settings: IdentifierSettings) -> Identifiers:
    """The ids of a catalogue by the scheme that the settings name."""
    return Identifiers(SCHEMES[settings.scheme](known, settings))


def walked(log: Interactions, n_items: int, *, order: Order = "file", seed: int = 0) -> Ints:
    """(n_items,) all items in the order of first appearance while people are walked; behind them, shuffled, those that nobody took."""
    lengths = np.diff(log.offsets)
    people = {
        "file": np.arange(log.n_users),
        "short-to-long": np.argsort(lengths, kind="stable"),
        "long-to-short": np.argsort(-lengths, kind="stable"),
        "random": np.random.default_rng(seed).permutation(log.n_users),
    }[order]
    events = np.concatenate([log.history(user) for user in people.tolist()] or [np.zeros(0, dtype=np.int64)])
    distinct, places = np.unique(events, return_index=True)
    never = np.setdiff1d(np.arange(1, n_items + 1), distinct)
    return np.concatenate([distinct[np.argsort(places)], np.random.default_rng(seed).permutation(never)])


def numbers(order: Ints) -> list[tuple[str]]:
    """Items numbered in this order, from 1001 or the like: all numbers have as many digits, an even number of them."""
    digits = 4
    while 10**digits - 10 ** (digits - 1) <= len(order):
        digits += 2
    found = np.zeros(len(order), dtype=np.int64)
    found[order - 1] = np.arange(len(order)) + 10 ** (digits - 1) + 1
    return [(str(number),) for number in found.tolist()]


def _random(known: Known, settings: IdentifierSettings) -> list[tuple[str]]:
    """A shuffled number each."""
    return numbers(np.random.default_rng(settings.seed).permutation(known.catalog.n_items) + 1)


def _sequential(known: Known, settings: IdentifierSettings) -> list[tuple[str]]:
    """Numbers in the order of first appearance in training histories."""
    return numbers(walked(known.train, known.catalog.n_items, order=settings.order, seed=settings.seed))


def _one_token(known: Known, settings: IdentifierSettings) -> list[tuple[str]]:
    """One token each; which one says nothing."""
    del settings
    return [(_token("item", item),) for item in range(1, known.catalog.n_items + 1)]


def _paths(known: Known, settings: IdentifierSettings) -> list[tuple[int, ...]]:
    counts = co_occurrence(known.train, known.catalog.n_items, window=settings.window)
    return spectral_paths(counts, clusters=settings.clusters, leaf=settings.leaf, seed=settings.seed)


def _collaborative(known: Known, settings: IdentifierSettings) -> list[tuple[str, ...]]:
    """The path to a cluster of items that are taken together, and a place in it; the token of a place is shared by all clusters."""
    return _with_places("c", _paths(known, settings), known)


def _hybrid(known: Known, settings: IdentifierSettings) -> list[tuple[str, ...]]:
    """The path to such a cluster, and a token of one's own."""
    return [(*_steps("c", path), _token("item", item)) for item, path in enumerate(_paths(known, settings), start=1)]


def _semantic(known: Known, settings: IdentifierSettings) -> list[tuple[str, ...]]:
    """Codes of the item's text, and one more that tells items of equal codes apart."""
    codes = residual_codes(known.vectors()[1:], levels=settings.levels, codes=settings.codes, seed=settings.seed)
    return _with_places("s", [tuple(row) for row in codes.tolist()], known)


def _title(known: Known, settings: IdentifierSettings) -> list[tuple[str]]:
    """The display title, which is unique."""
    del settings
    return [(plain(title),) for title in known.catalog.titles]


def _steps(kind: str, path: Sequence[int]) -> list[str]:
    return [_token(f"{kind}{level}", step) for level, step in enumerate(path, start=1)]


def _token(kind: str, number: int) -> str:
    """A token that no text has.

    >>> _token("c1", 3)
    '‹c1_3›'
    """
    return f"{OPEN}{kind}_{number}{CLOSE}"


def _with_places(kind: str, paths: Sequence[tuple[int, ...]], known: Known) -> list[tuple[str, ...]]:
    """Each path and a place among the items of it: what training holds most often comes first, so that a place says something too."""
    counts = np.bincount(known.train.items, minlength=len(paths) + 1)[1:]
    places = np.zeros(len(paths), dtype=np.int64)
    taken: dict[tuple[int, ...], int] = {}
    for row in np.argsort(-counts, kind="stable").tolist():
        places[row] = taken.get(paths[row], 0)
        taken[paths[row]] = int(places[row]) + 1
    return [(*_steps(kind, path), _token("place", place)) for path, place in zip(paths, places.tolist(), strict=True)]


SCHEMES: Mapping[str, Callable[[Known, IdentifierSettings], Sequence[Sequence[str]]]] = {
    "random": _random,
    "sequential": _sequential,
    "one-token": _one_token,
    "collaborative": _collaborative,
    "semantic": _semantic,
    "title": _title,
    "hybrid": _hybrid,
}
"""Name in recipes -> scheme."""
