"""Conversations with any model of a run: rules read what is said and keep to it, the model ranks for whoever says it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fathom.conversation.assistant import LOOKED_AT, Assistant
from fathom.conversation.shelves import Shelves
from fathom.conversation.state import Answer, Standing, State, Wishes
from fathom.data.titles import TitleIndex, canonical
from fathom.serving.desk import Answered, Asked, Hears

Ask = Callable[[Asked], Answered]
"""Asks the model and waits for what it says."""

FUSED = 60.0
"""Of reciprocal rank fusion (Cormack et al. 2009): an item at place p of a list counts 1 / (60 + p)."""


def assistant_of(shelves: Shelves, ask: Ask, *, hears: Hears | None = None) -> Assistant:
    """An assistant whose lists are the model's, for the history and what was named as good since.

    What somebody wants in words the shelves know; the two lists are fused then. Behind the model's `LOOKED_AT` best the shelves go on.
    """

    def rank(wishes: Wishes, history: Sequence[int], hidden: Sequence[int]) -> tuple[list[int], list[float]]:
        others, scores = shelves.ranked(wishes, history, hidden)
        known = (*history, *(item for item in wishes.likes if item not in history))
        if not known:
            return others, scores
        asked = Asked(known, LOOKED_AT, hidden=frozenset(hidden), wishes=wishes, hears=hears)
        own = ask(asked).items
        if not wishes.words:
            order = list(dict.fromkeys((*own, *others)))
            return order, [1 / (FUSED + place) for place in range(len(order))]
        fused: dict[int, float] = {}
        for listed in (own, others):
            for place, item in enumerate(listed, start=1):
                fused[item] = fused.get(item, 0.0) + 1 / (FUSED + place)
        order = sorted(fused, key=lambda item: (-fused[item], item))
        return order, [fused[item] for item in order]

    return Assistant(shelves, rank=rank)


def written(answer: Answer, title: Callable[[int], str]) -> str:
    """The answer as one text, its list numbered, as chats without lists show it."""
    lines = [
        f"{number}. {title(item)}" + (f" ({answer.reasons[number - 1]})" if answer.reasons else "")
        for number, item in enumerate(answer.items, start=1)
    ]
    return "\n".join([answer.text, *lines])


def listed_in(text: str, titles: TitleIndex) -> tuple[int, ...]:
    """The items of a list that `written` wrote."""
    found = []
    for line in text.splitlines():
        if line[:1].isdigit():
            item = titles.resolve(line) or next((one for cut in _cuts(line) if (one := titles.resolve(cut))), None)
            found += [item] if item is not None else []
    return tuple(found)


def _cuts(line: str) -> list[str]:
    """The line without one, two, ... of the brackets at its end: titles have brackets too."""
    return [canonical(line[:place]) for place in range(len(line) - 1, 0, -1) if line[place] == "("]


def replayed(assistant: Assistant, said: Sequence[tuple[str, str]], titles: TitleIndex, history: Sequence[int] = ()) -> State:
    """How a conversation stands after these pairs of what was said and what was answered, taken from the texts alone."""
    state = State(tuple(history))
    for message, answer in said:
        after, _ = assistant.reply(state, message)
        listed = listed_in(answer, titles)
        if listed and after.turns:
            now: Standing = after.now
            shown = tuple(dict.fromkeys((*state.now.shown, *listed)))
            after = replace(after, now=replace(now, listed=listed, shown=shown))
        state = after
    return state
