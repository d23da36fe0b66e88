"""A language model says what items are and what people like; the answers are texts and tags that any recommender can read."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from fathom.contracts import Policy
from fathom.data.titles import single_line
from fathom.prompting.answers import spoken
from fathom.prompting.asking import Answered, AskingSettings, asked, fitted, mark_of
from fathom.prompting.prompts import numbered, prompts_of
from fathom.records import Case, Catalog

_TAGS = re.compile(r"^\W*tags?\W*[:=-]\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_SUMMARY = re.compile(r"^\W*summary\W*[:=-]\s*(.+)$", re.IGNORECASE | re.MULTILINE)

MOST_TAGS = 12
"""More of them are a list of everything."""


class DescriberSettings(AskingSettings):
    """What the model is shown, and how it writes."""

    prompts: str = "describing"
    """The prompts that come with Fathom, or a file of one's own."""
    history_length: int = Field(default=20, ge=1)
    """The latest events of a history that are shown."""
    reply_tokens: int = Field(default=160, ge=1)
    """Tokens of an answer, thoughts included."""


@dataclass(frozen=True, slots=True)
class Described:
    """What was said about an item or a person."""

    of: int
    """Which one."""
    summary: str
    """One sentence; '' where none could be read."""
    tags: tuple[str, ...]
    """In lower case, each once."""
    tally: Mapping[str, int]
    """1 where the answer was `unreadable`; tokens `read` and `written`."""
    prompt: str = ""
    reply: str = ""
    seconds: float = field(default=0.0, compare=False)
    """Its share of the wall clock."""

    @property
    def text(self) -> str:
        """Summary and tags as a text."""
        return " ".join(part for part in (self.summary, ", ".join(self.tags)) if part)


class Describer:
    """Asks about items and people."""

    def __init__(self, policy: Policy, catalog: Catalog, settings: DescriberSettings) -> None:
        self._policy = policy
        self._catalog = catalog
        self._settings = settings
        self._prompts = prompts_of(settings.prompts, "describing")

    def items(self, items: Sequence[int]) -> list[Described]:
        """What each item is."""
        return self._told(items, [self._item(item) for item in items])

    def people(self, cases: Sequence[Case]) -> list[Described]:
        """What each person likes, by the history alone."""
        return self._told([case.user for case in cases], [self._person(case) for case in cases])

    def _told(self, names: Sequence[int], prompts: Sequence[str]) -> list[Described]:
        told: list[Described] = []
        for start in range(0, len(names), self._policy.at_once):
            began, part = time.perf_counter(), prompts[start : start + self._policy.at_once]
            answers = asked(self._policy, part, self._settings, [mark_of(self._settings.seed, prompt) for prompt in part])
            share = (time.perf_counter() - began) / len(part)
            told += [_read(name, prompt, one, share) for name, prompt, one in zip(names[start:], part, answers, strict=False)]
        return told

    def _item(self, item: int) -> str:
        catalog, settings = self._catalog, self._settings
        known = [f"{name}: {', '.join(column[item - 1])}" for name, column in catalog.attributes.items() if column[item - 1]]
        told = [catalog.descriptions[item - 1]] if catalog.descriptions and catalog.descriptions[item - 1] else []
        slots = {"title": catalog.title(item), "about": "; ".join([*known, *told]), "history": ""}
        return self._prompts.render("item", settings.words, slots, needs=("title",))

    def _person(self, case: Case) -> str:
        latest = [self._catalog.title(item) for item in case.history[-self._settings.history_length :]]

        def filled(events: Sequence[str]) -> str:
            slots = {"title": "", "about": "", "history": numbered(events)}
            return self._prompts.render("person", self._settings.words, slots, needs=("history",))

        return fitted(latest, filled, self._policy, self._settings, name="person")


def read_description(reply: str) -> tuple[str, tuple[str, ...]]:
    """Summary and tags of a reply; '' and () for what it does not say.

    >>> read_description("**Summary:** A heist goes wrong.\\nTags: crime, Heist, crime")
    ('A heist goes wrong.', ('crime', 'heist'))
    """
    said = spoken(reply)
    tags, summary = _TAGS.search(said), _SUMMARY.search(said)
    named = [single_line(tag).strip(" .*#\"'").lower() for tag in re.split(r"[,;|]", tags[1])] if tags else []
    return single_line(summary[1]).strip(" *") if summary else "", tuple(dict.fromkeys(tag for tag in named if tag))[:MOST_TAGS]


def _read(name: int, prompt: str, answer: Answered, seconds: float) -> Described:
    summary, tags = read_description(answer.text)
    tally = {"unreadable": int(not summary and not tags), "read": answer.read, "written": answer.written}
    return Described(name, summary, tags, tally, prompt, answer.text, seconds)
