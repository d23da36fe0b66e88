"""Turn by turn: read what is said, keep to it, retrieve, order, answer. Works by rules and retrieval; a language model may order better."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeAlias, TypeVar

from fathom.conversation.requests import Request, read_request
from fathom.conversation.shelves import Shelves
from fathom.conversation.state import START, Answer, Standing, State, Wishes
from fathom.records import Utterance

Thing = TypeVar("Thing", int, str)

Order: TypeAlias = Callable[[Sequence[Utterance], Sequence[int], Sequence[float]], Sequence[int]]
"""Puts items in order for whoever has heard all that was said; what speaks for each of them so far is told. What it leaves out stays
behind."""

Rank: TypeAlias = Callable[[Wishes, Sequence[int], Sequence[int]], tuple[list[int], list[float]]]
"""All items that satisfy the wishes and are not hidden, best first for whoever has this history, with what speaks for each."""

KNOWN = 20
"""So many of the latest events of a history may be named as reasons."""

LOOKED_AT = 100
"""So many of the best are given to whoever orders."""


class Assistant:
    """Answers what is said. What is shown satisfies every filter, and was not shown, seen, taken or turned down before."""

    def __init__(self, shelves: Shelves, *, order: Order | None = None, rank: Rank | None = None) -> None:
        """`rank` takes the place of the shelves' own ranking; `order` puts the best of whichever it is in another order."""
        self._shelves = shelves
        self._rank = rank if rank is not None else shelves.ranked
        self._language = shelves.language
        self._order = order

    def reply(self, state: State, said: str) -> tuple[State, Answer]:
        """The conversation with one turn more, and what is said back. A turn that is taken back leaves no trace."""
        now = state.now
        request = read_request(said, self._language, now.listed)
        if request.undo:
            if not state.turns:
                return state, Answer("There is nothing to take back.")
            back = state.undone()
            return back, Answer("I took that back." + (" So we are here again:" if back.now.listed else ""), back.now.listed)
        if request.restart:
            now = replace(START, count=now.count)
        changed = updated(now, request)
        if clash := contradiction(changed.wishes):
            return _told(state, said, Answer(clash, asks=True), now)
        if request.accepted and request == Request(accepted=request.accepted):
            titles = " and ".join(self._shelves.catalog.title(item) for item in request.accepted)
            return _told(state, said, Answer(f"Enjoy {titles}!"), changed)
        if changed.wishes.empty and not state.history and not now.asked:
            return _told(state, said, Answer(QUESTION, asks=True), changed)
        answer, standing = self._recommended(state, said, request, changed)
        return _told(state, said, answer, standing)

    def _recommended(self, state: State, said: str, request: Request, now: Standing) -> tuple[Answer, Standing]:
        hidden = {*state.history, *now.shown, *now.seen, *now.accepted, *now.wishes.likes, *now.wishes.dislikes}
        ranked, scores = self._rank(now.wishes, state.history, sorted(hidden))
        if self._order is not None and len(ranked) > 1:
            first = list(self._order(script_of(state, said), ranked[:LOOKED_AT], scores[:LOOKED_AT]))
            ranked = [*first, *(item for item in ranked if item not in set(first))]
        if request.swaps:
            fresh = iter(ranked)
            swapped = [item if item not in request.swaps else next(fresh, 0) for item in now.listed]
            listed = tuple(item for item in swapped if item)
            new = tuple(item for item in listed if item not in now.listed)
        else:
            listed = new = tuple(ranked[: now.count])
        if not new:
            return Answer(self._nothing_left(now.wishes), asks=True), now
        known = now.wishes.likes or state.history[-KNOWN:]
        companions = self._shelves.companions(listed, known)
        reasons = tuple(
            reason(self._shelves, item, now.wishes, known, companion) for item, companion in zip(listed, companions, strict=True)
        )
        words = "Here is something else instead:" if request.swaps else "You may like:"
        return Answer(words, listed, reasons), replace(now, listed=listed)

    def _nothing_left(self, wishes: Wishes) -> str:
        asked = [*(value for values in wishes.wanted.values() for value in values)]
        asked += [f"not {value}" for values in wishes.barred.values() for value in values]
        told = f" that is {', '.join(asked)}" if asked else ""
        return f"Nothing new is left{told}. What may I leave out of account: a kind, the years, the price?"


QUESTION = "What are you in the mood for? Name something that you liked, a kind, or a time."
"""Asked where there is nothing to go on."""


def reason(shelves: Shelves, item: int, wishes: Wishes, known: Sequence[int], companion: int | None) -> str:
    """Why an item stands in a list, by what is known alone: what it goes with or is like, what it is, when it is from.

    `known`: what somebody took or named as good; `companion`: the one of them that the item is taken together with most, if any is.
    """
    told = []
    near = shelves.nearest(item, known)
    if companion is not None:
        told.append(f"goes with {shelves.catalog.title(companion)}")
    elif near is not None:
        told.append(f"near to {shelves.catalog.title(near)}")
    own = {name: column[item - 1] for name, column in shelves.catalog.attributes.items()}
    told += [value for name, values in wishes.wanted.items() for value in values if value in own[name]]
    if wishes.years and (year := shelves.year(item)) is not None:
        told.append(f"from {year}")
    if wishes.words:
        told.append(f"for '{wishes.words[-1]}'")
    return ", ".join(told) or "liked by many"


def script_of(state: State, said: str) -> list[Utterance]:
    """All that was said in the conversation, `said` last; items stand where they were shown."""
    script = []
    for turn in state.turns:
        script += [Utterance("seeker", turn.said, ()), Utterance("recommender", turn.answer.text, turn.answer.items)]
    return [*script, Utterance("seeker", said, ())]


def _told(state: State, said: str, answer: Answer, now: Standing) -> tuple[State, Answer]:
    return state.after(said, answer, now), answer


def updated(now: Standing, request: Request) -> Standing:
    """How things stand with this request: each move changes what it is about, and nothing else.

    A value that is wanted replaces those of the same attribute that were wanted before, and is no longer barred, or the other way around.
    """
    wishes = now.wishes
    likes = _with(wishes.likes, (*request.likes, *request.accepted), without=request.dislikes)
    dislikes = _with(wishes.dislikes, request.dislikes, without=request.likes)
    wanted = {**wishes.wanted, **_by_attribute(request.wanted)}
    barred = _joined(wishes.barred, _by_attribute(request.barred))
    wishes = Wishes(
        likes,
        dislikes,
        _without(wanted, request.barred),
        _without(barred, request.wanted),
        request.years or wishes.years,
        request.price or wishes.price,
        (*wishes.words, request.words)[-3:] if request.words else wishes.words,
    )
    seen = _with(now.seen, request.seen)
    accepted = _with(now.accepted, request.accepted)
    return replace(now, wishes=wishes, seen=seen, accepted=accepted, count=request.count or now.count)


def contradiction(wishes: Wishes) -> str:
    """What cannot be at once, as a question; '' where all can."""
    if wishes.years.empty:
        return f"Nothing is from {wishes.years.low:.0f} on and until {wishes.years.high:.0f} at once: which of them do you mean?"
    if wishes.price.empty:
        return f"Nothing costs {wishes.price.low:g} or more and {wishes.price.high:g} or less at once: which of them do you mean?"
    return ""


def _by_attribute(pairs: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found


def _joined(one: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: _with(one.get(name, ()), other.get(name, ())) for name in dict.fromkeys((*one, *other))}


def _without(values: Mapping[str, tuple[str, ...]], gone: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    kept = {name: tuple(value for value in own if (name, value) not in gone) for name, own in values.items()}
    return {name: own for name, own in kept.items() if own}


def _with(there: Iterable[Thing], more: Iterable[Thing], *, without: Collection[Thing] = ()) -> tuple[Thing, ...]:
    return tuple(one for one in dict.fromkeys(chain(there, more)) if one not in without)
