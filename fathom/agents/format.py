"""Is a response well formed? Ten named checks over who wrote what, read by item id and never by substring.

The checks are those of DeepRec (arXiv:2505.16810, released code), F1 to F10, with the changes that its faults ask for:
text that the environment wrote is never held against the model, list markers that the model wrote itself are never
taken for the environment's, and an answer must be numbered and free of repetitions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from fathom.agents.protocol import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BEGIN_ITEMS,
    BEGIN_PREF,
    END_ITEMS,
    END_PREF,
    THINK_CLOSE,
    THINK_OPEN,
    ProtocolSettings,
    placeholders,
)


class Writer(StrEnum):
    """Who wrote a piece of a response."""

    MODEL = "model"
    RETRIEVAL = "retrieval"
    """An item list."""
    CLOSING = "closing"
    """The end of the thinking and the opening of the answer, for a model whose calls are spent."""
    REMINDER = "reminder"
    """The latest of the history once more, at the head of the answer."""
    FINISH = "finish"
    """An answer that was completed for the model from the likelihoods of the titles."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a response, all from one writer."""

    writer: Writer
    text: str


@dataclass(frozen=True, slots=True)
class Response:
    """Everything after the prompt, piece by piece, and what its answer lines name."""

    segments: tuple[Segment, ...]
    lines: tuple[str, ...]
    answer: tuple[int | None, ...]

    @property
    def text(self) -> str:
        """The whole response."""
        return "".join(segment.text for segment in self.segments)

    @property
    def own(self) -> str:
        """What the model wrote, without the item lists between."""
        return "".join(segment.text for segment in self.segments if segment.writer is Writer.MODEL)

    @property
    def words(self) -> str:
        """What the model wrote outside its answer list."""
        before, _, after = self.own.partition(ANSWER_OPEN)
        return before + after.partition(ANSWER_CLOSE)[2]

    @property
    def calls(self) -> int:
        """How many calls were executed."""
        return sum(segment.writer is Writer.RETRIEVAL for segment in self.segments)

    @property
    def final(self) -> str:
        """What comes after the last item list, by provenance: a list marker that the model forged moves nothing."""
        return final_text(self.segments)


def final_text(segments: tuple[Segment, ...]) -> str:
    """The text after the last item list, without a reminder; all of it where no list was shown."""
    lists = [place for place, segment in enumerate(segments) if segment.writer is Writer.RETRIEVAL]
    last = segments[lists[-1] + 1 if lists else 0 :]
    return "".join(segment.text for segment in last if segment.writer is not Writer.REMINDER)


def list_lines(final: str) -> tuple[str, ...]:
    """The lines between the answer tags of `final`, as written, without blank lines at either end; () without a list.

    >>> list_lines("</think>\\n<recommendation_list>\\n1. Heat\\n2. Alien\\n</recommendation_list>")
    ('1. Heat', '2. Alien')
    """
    _, opened, rest = final.rpartition(ANSWER_OPEN)
    body = rest.partition(ANSWER_CLOSE)[0].strip() if opened else ""
    return tuple(body.split("\n")) if body else ()


def markers(response: Response, settings: ProtocolSettings) -> bool:
    """F1: every call and every item list is whole, as many of each as calls were executed, and no list is forged."""
    del settings
    parts = (BEGIN_PREF, END_PREF, BEGIN_ITEMS, f"{BEGIN_ITEMS}\n", f"{BEGIN_ITEMS}\n1.", END_ITEMS, f"{END_ITEMS}\n")
    forged = BEGIN_ITEMS in response.own or END_ITEMS in response.own
    return not forged and {response.text.count(part) for part in parts} == {response.calls}


def calls(response: Response, settings: ProtocolSettings) -> bool:
    """F2: at least one call was executed."""
    del settings
    return response.calls >= 1


def speaker(response: Response, settings: ProtocolSettings) -> bool:
    """F3: the model does not play both sides; item lists and answer lines may name a 'Virtual Assistant'."""
    del settings
    return "Assistant" not in response.words and "assistant" not in response.words


def echo(response: Response, settings: ProtocolSettings) -> bool:
    """F4: no placeholder of the prompt's layout is copied."""
    return not any(placeholder in response.own for placeholder in placeholders(settings))


def thinking(response: Response, settings: ProtocolSettings) -> bool:
    """F5: the thinking that the prompt opened is closed exactly once, by whomever, and never opened again."""
    del settings
    return THINK_OPEN not in response.own and response.text.count(THINK_CLOSE) == 1


def answer_tags(response: Response, settings: ProtocolSettings) -> bool:
    """F6: one answer list, opened and closed in this order after the thinking, with nothing but white space behind it."""
    del settings
    text = response.text
    if text.count(ANSWER_OPEN) != 1 or text.count(ANSWER_CLOSE) != 1:
        return False
    in_order = text.find(THINK_CLOSE) < text.find(ANSWER_OPEN) < text.find(ANSWER_CLOSE)
    return in_order and THINK_CLOSE in text and not text.partition(ANSWER_CLOSE)[2].strip()


def conclusion(response: Response, settings: ProtocolSettings) -> bool:
    """F7: the model says something between the last item list and the end of its thinking."""
    del settings
    words, closed, _ = response.final.partition(THINK_CLOSE)
    return bool(closed) and bool(words.strip())


def answer_markers(response: Response, settings: ProtocolSettings) -> bool:
    """F8: no call and no item list inside the answer."""
    del settings
    answer = response.text.partition(ANSWER_OPEN)[2]
    return not any(marker.strip("<|>") in answer for marker in (BEGIN_PREF, END_PREF, BEGIN_ITEMS, END_ITEMS))


def answer_lines(response: Response, settings: ProtocolSettings) -> bool:
    """F9: exactly K lines, numbered 1 to K in order (behind a reminder from 2 on), none empty, no item twice."""
    known = [item for item in response.answer if item is not None]
    first = 1 if settings.reminded else 0
    numbered = all(re.match(rf"{place}\. \S", line) for place, line in enumerate(response.lines[first:], start=1 + first))
    return len(response.lines) == settings.answer_length and numbered and len(set(known)) == len(known)


def script(response: Response, settings: ProtocolSettings) -> bool:
    """F10: no character of a foreign script, except in item lists and in answer lines that name an item."""
    if not settings.foreign_script:
        return True
    unknown = [line for line, item in zip(response.lines, response.answer, strict=True) if item is None]
    return not re.search(f"[{settings.foreign_script}]", "\n".join([response.words, *unknown]))


Check: TypeAlias = Callable[[Response, ProtocolSettings], bool]
"""True where the response passes."""

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (markers, calls, speaker, echo, thinking, answer_tags, conclusion, answer_markers, answer_lines, script)
}
"""The checks F1 to F10 by name, in this order."""

PROTOCOL_CHECKS = frozenset({"markers", "calls"})
"""The checks that hold as soon as the tool is used correctly, whatever the answer looks like (F1 and F2)."""


def faults(response: Response, settings: ProtocolSettings) -> tuple[str, ...]:
    """The names of the checks that the response fails, in the order of `CHECKS`; () where it is well formed."""
    return tuple(name for name, check in CHECKS.items() if not check(response, settings))
