"""One run at work: histories and wishes in, lists with their reasons out. Knows nothing of HTTP; everything here runs in threads."""

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import polars as pl

from fathom.agents.play import Listener
from fathom.contracts import Rater, Recommender
from fathom.conversation.assistant import KNOWN, reason
from fathom.conversation.shelves import Mask, Shelves
from fathom.conversation.state import NOTHING, Wishes
from fathom.data.titles import catalog_with
from fathom.errors import ConfigError, suggestion
from fathom.records import PAD, Case, Catalog, Episode, Ranking, Turn
from fathom.serving.live import LiveCatalog, NewItem, Shown, as_catalog
from fathom.serving.offer import Offer
from fathom.serving.store.store import TAKEN, Feedback, Store

NOBODY = Case(-1, (), PAD)
"""Somebody of whom nothing is known."""

MORE = 4
"""So many times as many items as are wanted are asked for where some of them may not be shown."""


class Hears(Protocol):
    """Follows one conversation of an agent while it is played."""

    def turn(self, turn: Turn) -> None:
        """A turn is over."""
        ...

    def gone(self) -> bool:
        """Whether nobody waits any more."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to a model."""

    history: tuple[int, ...]
    """Taken, oldest first; of somebody who is known by name, beside what is known of them."""
    k: int
    user: str | None = None
    """Somebody known by name."""
    hidden: frozenset[int] = frozenset()
    """Items that may not be shown, beside those of the history."""
    wishes: Wishes = NOTHING
    """Filters that every item satisfies."""
    preference: str = ""
    explain: bool = False
    """Whether a reason for each item is wanted."""
    hears: Hears | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one question."""

    items: tuple[int, ...]
    """Best first, at most k."""
    scores: tuple[float, ...]
    reasons: tuple[str, ...] = ()
    """One for each item, where they were asked for."""
    episode: Episode | None = None
    """What an agent said."""


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of somebody at this moment."""

    history: tuple[int, ...]
    """Taken, oldest first: in the data, then by what was told to the service."""
    ratings: tuple[float, ...] = ()
    """Of each event of the history, NaN where none was given; empty where the data has none."""
    disliked: frozenset[int] = frozenset()
    number: int = -1
    """As whom the models know the person; -1 for nobody."""


class Desk:
    """Answers for one run."""

    def __init__(self, offer: Offer, store: Store) -> None:
        self.offer = offer
        self.store = store
        self.live = LiveCatalog(offer.catalog, offer.name, store)
        self._made: dict[str, Any] = {}
        self._grown: dict[str, int] = {}
        self._titles: tuple[Catalog, pl.Series] | None = None
        self._lock = threading.Lock()

    # Who is there -------------------------------------------------------------------------------------------------------------------

    def people(self, names: Sequence[str]) -> dict[str, Person]:
        """Everybody asked for, and the catalogue as it is by then; who has never been heard of has an empty history."""
        shown = self.live.refresh()
        found = {}
        for name, acts in self.store.of_people(self.offer.name, names).items():
            case, disliked = self.offer.people.get(name, NOBODY), set[int]()
            events = list(zip_longest(case.history, case.ratings, fillvalue=math.nan))
            for act in acts:
                item = shown.ids.get(act.item)
                if item is None:
                    continue  # of a catalogue that this run had before
                if act.kind in TAKEN:
                    events.append((item, math.nan))
                    disliked.discard(item)
                else:
                    disliked.add(item)
                    events = [event for event in events if event[0] != item]
            history, ratings = (tuple(event[side] for event in events) for side in (0, 1))
            found[name] = Person(tuple(map(int, history)), ratings, frozenset(disliked), case.user)
        return found

    def model(self, name: str) -> Recommender:
        """The model of that name, made when it is first asked for, and with every item that it can take."""
        recommender: Recommender = self._get(name, self.offer.models[name])
        if name in self.offer.growing:
            self._grow(name, recommender)
        return recommender

    def rater(self, name: str) -> Rater:
        """The model of that name that foretells ratings."""
        found: Rater = self._get(f"rater {name}", self.offer.raters[name])
        return found

    @property
    def shelves(self) -> Shelves:
        """Of the catalogue as it is now."""
        return self.offer.shelves.of(self.live.now.catalog)

    def make_ready(self) -> None:
        """Make what everybody is asked for, so that nobody waits for it."""
        self.model(self.offer.default)
        self.offer.shelves.of(self.live.now.catalog)

    # What it answers ----------------------------------------------------------------------------------------------------------------

    def answer(self, name: str, asked: Sequence[Asked]) -> list[Answered]:
        """An answer to each question, by the model `name`. Questions of one batch change each other's answers in nothing."""
        people = self.people([one.user for one in asked if one.user is not None])
        shown, recommender = self.live.now, self.model(name)
        shelves = self.offer.shelves.of(shown.catalog)
        asked = [one if one.user is None else _known(one, people[one.user]) for one in asked]
        n_items = getattr(recommender, "n_items", shown.n_trained)
        cases = [Case(-1, tuple(item for item in one.history if item <= n_items), PAD) for one in asked]
        hidden = [one.hidden | shown.removed for one in asked]
        allowed = [None if one.wishes == NOTHING else shelves.allowed(one.wishes) for one in asked]
        wanted = [one.k + MORE * one.k * (mask is not None) + len(away) for one, mask, away in zip(asked, allowed, hidden, strict=True)]
        k = min(n_items, max(wanted, default=1))
        found, episodes = self._ranked(name, recommender, cases, k, asked)
        kept = [_kept(row, mask, away) for row, mask, away in zip(_rows(found), allowed, hidden, strict=True)]
        short = [place for place, one in enumerate(asked) if len(kept[place]) < one.k and k < n_items]
        if short and name not in self.offer.agents:  # an agent's list is as long as its fallback can make it already
            again, _ = self._ranked(name, recommender, [cases[place] for place in short], n_items, [asked[place] for place in short])
            for place, row in zip(short, _rows(again), strict=True):
                kept[place] = _kept(row, allowed[place], hidden[place])
        answers = []
        for place, one in enumerate(asked):
            items = tuple(item for item, _ in kept[place][: one.k])
            scores = tuple(score for _, score in kept[place][: one.k])
            reasons = tuple(self.reasons(items, one.history, one.wishes)) if one.explain else ()
            answers.append(Answered(items, scores, reasons, episodes[place] if episodes else None))
        return answers

    def reasons(self, items: Sequence[int], history: Sequence[int], wishes: Wishes) -> list[str]:
        """Why each of `items` may stand in a list for whoever has this history: by what it goes with and what it is."""
        shelves, known = self.shelves, tuple(history[-KNOWN:])
        companions = shelves.companions(items, known)
        return [reason(shelves, item, wishes, known, companion) for item, companion in zip(items, companions, strict=True)]

    def similar(self, item: int, k: int) -> list[tuple[int, float]]:
        """The k items that are most like this one: taken together with it, and of like text."""
        self.live.refresh()
        shelves = self.shelves
        wishes = Wishes(likes=(item,))
        values = shelves.signals(wishes, (), ("likes", "taken"))
        scores = sum((shelves.weights[name] * signal for name, signal in values.items()), np.zeros(shelves.catalog.n_items + 1))
        hidden = {PAD, item, *self.live.now.removed}
        order = np.argsort(-scores, kind="stable").tolist()
        return [(other, float(scores[other])) for other in order if other not in hidden][:k]

    def search(self, words: str, k: int) -> list[int]:
        """Items by title: one that is called so, those that begin so, those that hold the words, then those whose texts share some.

        Of equal ones the commoner first.
        """
        shown, wanted = self.live.refresh(), words.casefold().strip()
        shelves = self.offer.shelves.of(shown.catalog)  # of this very catalogue, whatever comes meanwhile
        popular = shelves.popular
        lexical = shelves.lexical(words)
        titles = self._folded(shown.catalog)
        begins, holds = (found.to_numpy() for found in (titles.str.starts_with(wanted), titles.str.contains(wanted, literal=True)))
        ranks = np.where((titles == wanted).to_numpy(), 4, np.where(begins, 3, np.where(holds, 2, 0)))
        ranks[(ranks == 0) & (lexical[1:] > 0)] = 1
        order = np.lexsort((-popular[1:], -lexical[1:] * (ranks == 1), -ranks)) + 1
        return [item for item in order.tolist() if ranks[item - 1] and item not in shown.removed][:k]

    def first_seen(self, episode: Episode) -> Mapping[int, tuple[int, str]]:
        """Item -> in which turn it first came back, and what had been asked for."""
        found: dict[int, tuple[int, str]] = {}
        for number, turn in enumerate(episode.turns, start=1):
            for item in turn.shown:
                found.setdefault(item, (number, turn.preference))
        return found

    def rate(self, name: str, user: str | None, history: Sequence[int], items: Sequence[int]) -> list[float]:
        """What the model `name` foretells that somebody would give to each of `items`."""
        person = self.people([user])[user] if user is not None else Person(())
        events = [*zip(person.history, person.ratings, strict=True), *((item, math.nan) for item in history)]
        known = [event for event in events if event[0] <= self.offer.catalog.n_items]
        taken, given = (tuple(event[side] for event in known) for side in (0, 1))
        ratings = self.rater(name).rate([Case(person.number, tuple(map(int, taken)), item, ratings=given) for item in items])
        return [float(rating) for rating in ratings]

    # What changes it ----------------------------------------------------------------------------------------------------------------

    def write(self, acts: Sequence[Feedback]) -> None:
        """Keep what people did; the next recommendation knows it."""
        self.store.write(self.offer.name, acts)

    def add(self, item: NewItem) -> int:
        """Put an item behind all others; its id. A name or a title that is taken is a `DataError`."""
        shown = self.live.refresh()
        unknown = [name for name in item.attributes if name not in shown.catalog.attributes]
        if unknown:
            told = f"attributes: the catalogue has no '{unknown[0]}'{suggestion(unknown[0], shown.catalog.attributes)}"
            raise ConfigError(told)
        catalog_with(shown.catalog, as_catalog(item))
        self.store.change(self.offer.name, item.id, "added", item.model_dump_json())
        return self.live.refresh().ids[item.id]

    def remove(self, item: int) -> None:
        """Show the item to nobody any more."""
        self.store.change(self.offer.name, self.live.now.catalog.names[item - 1], "removed")
        self.live.refresh()

    def restore(self, item: int) -> None:
        """Show it again."""
        self.store.change(self.offer.name, self.live.now.catalog.names[item - 1], "restored")
        self.live.refresh()

    # How it asks --------------------------------------------------------------------------------------------------------------------

    def _ranked(
        self, name: str, recommender: Recommender, cases: Sequence[Case], k: int, asked: Sequence[Asked]
    ) -> tuple[Ranking, Sequence[Episode]]:
        if name in self.offer.agents:
            listener = _Everybody([one.hears for one in asked])
            heard: Any = recommender
            return heard.recommend(cases, k, listener=listener), heard.episodes
        if any(one.preference for one in asked):
            aware: Any = recommender
            return aware.recommend(cases, k, preferences=[one.preference for one in asked]), ()
        return recommender.recommend(cases, k), ()

    def _get(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._made:  # who is there already does not wait for one that is being made
            with self._lock:
                if key not in self._made:
                    self._made[key] = make()
        return self._made[key]

    def _folded(self, catalog: Catalog) -> pl.Series:
        """The titles in small letters, made once for each state of the catalogue."""
        made = self._titles
        if made is None or made[0] is not catalog:
            made = self._titles = (catalog, pl.Series([title.casefold() for title in catalog.titles], dtype=pl.String))
        return made[1]

    def _grow(self, name: str, recommender: Any) -> None:
        """Give the model the items that came after it was trained, each once and in their order."""
        with self._lock:
            shown = self.live.now
            for item in range(self._grown.get(name, shown.n_trained) + 1, shown.catalog.n_items + 1):
                recommender.add_items(_alone(shown, item))
                self._grown[name] = item


class _Everybody(Listener):
    """Tells each of several people of the turns of their own conversation."""

    def __init__(self, hearing: Sequence[Hears | None]) -> None:
        self._hearing = hearing

    def turn(self, place: int, turn: Turn) -> None:
        if (one := self._hearing[place]) is not None:
            one.turn(turn)

    def gone(self, place: int) -> bool:
        one = self._hearing[place]
        return one is not None and one.gone()


def _alone(shown: Shown, item: int) -> Any:
    """One item of the catalogue as a catalogue."""
    catalog = shown.catalog
    return replace(
        catalog,
        names=(catalog.names[item - 1],),
        titles=(catalog.titles[item - 1],),
        attributes={name: (column[item - 1],) for name, column in catalog.attributes.items()},
        descriptions=(catalog.descriptions[item - 1],) if catalog.descriptions else (),
    )


def _known(asked: Asked, person: Person) -> Asked:
    """The question with all that is known of who asks."""
    return replace(asked, history=(*person.history, *asked.history), hidden=asked.hidden | person.disliked)


def _rows(ranking: Ranking) -> list[list[tuple[int, float]]]:
    """Of each case items and their scores, best first."""
    return [
        [(item, score) for item, score in zip(items, scores, strict=True) if item != PAD]
        for items, scores in zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)
    ]


def _kept(row: Sequence[tuple[int, float]], allowed: Mask | None, hidden: Collection[int]) -> list[tuple[int, float]]:
    return [(item, score) for item, score in row if item not in hidden and (allowed is None or allowed[item])]
