"""How the conversation is written down: markers, prompts, item lists and answers, character by character.

Everything that turns records into protocol text lives here, so that prompts, traces and the environment cannot
drift apart. Two prompts share one protocol: `long` explains the task in words for language models that have never
seen it, `compact` explains nothing, for small models that learned it from traces.
"""

import math
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.data.titles import single_line
from fathom.language.prompt import Count, within
from fathom.records import Case, Catalog
from fathom.settings import Settings

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
ANSWER_OPEN = "<recommendation_list>"
ANSWER_CLOSE = "</recommendation_list>"
BEGIN_PREF = "<|begin_of_preference|>"
END_PREF = "<|end_of_preference|>"
BEGIN_ITEMS = "<|begin_of_item_list|>"
END_ITEMS = "<|end_of_item_list|>"

MARKERS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE, BEGIN_PREF, END_PREF, BEGIN_ITEMS, END_ITEMS)
"""Every marker of the protocol; none of them may occur in catalogue text."""

HISTORY_OPEN = "User:\n"
"""What stands before a history in the compact prompt; reminders, pretraining and the row `lm` begin histories alike."""

STOPS = (END_PREF, ANSWER_CLOSE)
"""Where the language model hands over: a preference is complete, or the answer is."""

NONE_FOUND = "none found"
"""What line 1 of an item list says when the retriever had nothing to show."""

CATEGORY_NAMES = frozenset({"genre", "genres", "category", "categories"})
"""Attributes that say what kind of thing an item is: never cut, and the only ones shown in item lists."""

ATTRIBUTE_CHARACTERS = 750
"""Longer attribute lines of other kinds are cut here and end in '...'."""

ELAPSED = (
    (60, "1 minute"),
    (600, "10 minutes"),
    (3_600, "1 hour"),
    (21_600, "6 hours"),
    (86_400, "1 day"),
    (259_200, "3 days"),
    (604_800, "1 week"),
    (2_592_000, "1 month"),
    (15_552_000, "6 months"),
    (63_072_000, "2 years"),
)
"""The marks of elapsed time; the longest that has passed is written. Few and roughly logarithmic: a small model can learn them."""


class ProtocolSettings(Settings):
    """How long a conversation may get and what the language model is shown."""

    prompt: Literal["compact", "long"] = "compact"
    """`compact` shows the history alone, for models trained on traces; `long` explains the task in words."""
    answer_length: int = Field(default=10, ge=1, le=100)
    """Titles in the final list (K)."""
    items_per_call: int = Field(default=20, ge=1, le=200)
    """Items that one retrieval call returns (k)."""
    items_taught: int = Field(default=0, ge=0, le=200)
    """Items of each list in what is imitated before anything is rewarded: traces (but for the share `traces.as_played`), recitations, the
    tokenizer's text. 0: `items_per_call`. Long lists teach a small model more; short ones leave more to ask for."""
    max_calls: int = Field(default=8, ge=1)
    """Retrieval calls that are executed; one more ends the episode."""
    history_length: int = Field(default=20, ge=1)
    """The latest events of the history that the language model reads."""
    segment_tokens: int = Field(default=2_048, ge=1)
    """Tokens the language model may write before it hands over."""
    trajectory_tokens: int = Field(default=16_384, ge=2)
    """Tokens of the prompt and everything after it."""
    prompt_tokens: int = Field(default=4_096, ge=1)
    """Tokens of the prompt; the oldest events are left out, whole, until it fits."""
    exclude_history: bool = True
    """The retriever never returns what the person already has."""
    exclude_shown: bool = True
    """The retriever never returns what an earlier call of the same conversation returned."""
    reminded: int = Field(default=0, ge=0)
    """The latest events of the history that stand once more between the answer's opening tag and its first title, which then has no
    number. A small model knows what comes next right behind a history and nowhere else (docs/lab-notes.md): so there it is asked."""
    listed: float = Field(default=0.0, ge=0)
    """How much the retriever's own opinion of a title it has shown counts in the answer beside the model's: an exponent of the
    probability that it gives the title after the history alone; 1: both count alike; 0: not at all. In the written answer only if it is
    constrained."""
    history_ratings: bool = False
    """Each rated event of the history is followed by a line such as '  4/5'."""
    best_rating: float = Field(default=5.0, gt=0)
    """What a rating is out of: the 5 of '4/5'."""
    history_times: bool = False
    """A line such as '  later: 3 days' stands where at least a minute passed between two events."""
    item_attributes: bool | None = None
    """Attribute lines below titles; left out: yes in the long prompt, no in the compact one."""
    constrained: bool = False
    """The answer is decoded under constraint: K numbered titles of the catalogue, none twice and, with `exclude_history`, none that the
    person has; the model only chooses among them. A preference that says a phrase again or begins another line is closed, and after
    `max_calls` the model ends its line and its answer is opened for it. Off: it writes freely; the format checks say what came of it."""
    answer: Literal["sequential", "plackett_luce"] = "sequential"
    """How a constrained answer is drawn. `sequential`: each title after those above it. `plackett_luce`: every title at the first place,
    from what is left (Plackett 1975): a ranking by what the model holds likely to come next, the one thing a small model knows well."""
    foreign_script: str = "\u4e00-\u9fff"
    """Characters, as the inside of a regular expression's brackets, that the model's own words must not contain; '' allows all."""

    def taught(self) -> Self:
        """The same, with lists as long as the ones that are imitated."""
        return self.model_copy(update={"items_per_call": self.items_taught or self.items_per_call})

    @model_validator(mode="after")
    def _prompt_leaves_room(self) -> Self:
        if self.prompt_tokens >= self.trajectory_tokens:
            raise ValueError(
                f"prompt_tokens is {self.prompt_tokens}, but the whole trajectory has trajectory_tokens {self.trajectory_tokens}: "
                "write a smaller prompt_tokens, so that the model has room to answer"
            )
        return self

    @model_validator(mode="after")
    def _who_is_reminded(self) -> Self:
        if self.reminded and not (self.constrained and self.prompt == "compact"):
            raise ValueError(
                f"reminded is {self.reminded}, but only the environment can remind, and only a small model needs it: "
                "write constrained: true and prompt: compact, or reminded: 0"
            )
        return self

    @model_validator(mode="after")
    def _who_draws_rankings(self) -> Self:
        if self.answer != "sequential" and not self.constrained:
            raise ValueError(f"answer is {self.answer}, but a model that writes freely writes in sequence: write constrained: true")
        return self

    @model_validator(mode="after")
    def _script_compiles(self) -> Self:
        try:
            re.compile(f"[{self.foreign_script}]" if self.foreign_script else "")
        except re.error as error:
            raise ValueError(f"foreign_script is {self.foreign_script!r}, not the inside of a character class: {error}") from error
        return self

    @property
    def shows_attributes(self) -> bool:
        """Whether attribute lines stand below titles."""
        return self.prompt == "long" if self.item_attributes is None else self.item_attributes


def byte_length(text: str) -> int:
    """The length of `text` in UTF-8: what it costs at most under any byte-level tokenizer."""
    return len(text.encode())


def attribute_lines(item: int, catalog: Catalog, *, categories_only: bool = False) -> str:
    """The indented lines that describe `item`, '' where the catalogue has none.

    A category line is whole; any other line is cut at `ATTRIBUTE_CHARACTERS` and ends in '...'.
    """
    lines = []
    for name, column in catalog.attributes.items():
        is_category = name.casefold() in CATEGORY_NAMES
        if not column[item - 1] or (categories_only and not is_category):
            continue
        text = single_line(", ".join(column[item - 1]))
        if not is_category and len(text) > ATTRIBUTE_CHARACTERS:
            text = text[:ATTRIBUTE_CHARACTERS] + "..."
        lines.append(f"  - {single_line(name)}: {text}\n")
    return "".join(lines)


def elapsed(seconds: int) -> str:
    """The mark for a pause of that many seconds; '' for less than a minute.

    >>> elapsed(300_000), elapsed(59)
    ('3 days', '')
    """
    passed = [mark for length, mark in ELAPSED if seconds >= length]
    return passed[-1] if passed else ""


def history_lines(case: Case, catalog: Catalog, settings: ProtocolSettings) -> list[str]:
    """The latest `history_length` events of the case, oldest first, one text per event; each ends in a line break.

    In this order: the pause before the event, its title, its attributes, its rating. Numbers are not written yet,
    because events may still be dropped.
    """
    blocks = []
    first = max(0, len(case.history) - settings.history_length)
    for place in range(first, len(case.history)):
        item = case.history[place]
        block = ""
        if settings.history_times and place > 0 and len(case.times) == len(case.history):
            before, now = case.times[place - 1 : place + 1]
            pause = elapsed(now - before) if min(before, now) >= 0 else ""
            block += f"  later: {pause}\n" if pause else ""
        block += catalog.title(item) + "\n"
        if settings.shows_attributes:
            block += attribute_lines(item, catalog)
        if settings.history_ratings and len(case.ratings) == len(case.history) and not math.isnan(case.ratings[place]):
            block += f"  {case.ratings[place]:g}/{settings.best_rating:g}\n"
        blocks.append(block)
    return blocks


def opening(case: Case, catalog: Catalog, settings: ProtocolSettings, *, count: Count | None = None) -> str:
    """The prompt; it ends where the model begins to think.

    With `count`, the oldest events are left out until the prompt has at most `prompt_tokens` tokens; an event is left
    out with all its lines or not at all. A prompt that does not even fit without a history is a `ConfigError`.
    """
    return within(
        history_lines(case, catalog, settings),
        lambda events: _filled(settings, events),
        name=settings.prompt,
        most=settings.prompt_tokens,
        count=count,
    )


def item_block(items: Sequence[int], catalog: Catalog, settings: ProtocolSettings) -> str:
    """What the environment appends after END_PREF: the numbered list between its markers, with its own line breaks."""
    lines = []
    for place, item in enumerate(items, start=1):
        lines.append(f"{place}. {catalog.title(item)}\n")
        if settings.shows_attributes:
            lines.append(attribute_lines(item, catalog, categories_only=True))
    apart = "\n" if settings.prompt == "compact" else "\n\n"
    return f"{apart}{BEGIN_ITEMS}\n{''.join(lines) or f'1. {NONE_FOUND}' + chr(10)}{END_ITEMS}{apart}"


def reminder(case: Case, catalog: Catalog, settings: ProtocolSettings) -> str:
    """What the environment puts behind the answer's opening tag: a history of the latest `reminded` events, laid out as in the prompt."""
    return f"\n{HISTORY_OPEN}{''.join(history_lines(case, catalog, settings.model_copy(update={'history_length': settings.reminded})))}"


def preference_block(phrases: Sequence[str]) -> str:
    """A call as the model writes it: the phrases, joined by semicolons, between their markers."""
    return f"{BEGIN_PREF}{'; '.join(single_line(phrase) for phrase in phrases)}{END_PREF}"


def answer_lines(items: Sequence[int], catalog: Catalog) -> str:
    """The numbered titles of an answer, each line ending in a line break."""
    return "".join(f"{place}. {catalog.title(item)}\n" for place, item in enumerate(items, start=1))


def answer_numbers(settings: ProtocolSettings) -> list[str]:
    """What stands before each title of an answer, from right behind the opening tag or the reminder on."""
    return ["" if settings.reminded else "\n1. ", *(f"{place}. " for place in range(2, settings.answer_length + 1))]


def answer_body(items: Sequence[int], catalog: Catalog, settings: ProtocolSettings) -> str:
    """What stands between the opening tag, or the reminder, and the closing tag of an answer with at most K items."""
    return "".join(f"{number}{catalog.title(item)}\n" for number, item in zip(answer_numbers(settings), items, strict=False))


def answer_block(items: Sequence[int], catalog: Catalog) -> str:
    """A whole answer as the model writes it, from the end of its thinking to the closing tag."""
    return f"{THINK_CLOSE}\n{ANSWER_OPEN}\n{answer_lines(items, catalog)}{ANSWER_CLOSE}"


@cache
def placeholders(settings: ProtocolSettings) -> frozenset[str]:
    """The bracketed words of the prompt's layout that stand for the model's own; echoing one is a format fault."""
    return frozenset(re.findall(r"\[[^\[\]\n]+\]", _filled(settings, [])))


@cache
def _template(prompt: str) -> Template:
    return Template(files("fathom.agents").joinpath("prompts", f"{prompt}.txt").read_text(encoding="utf-8"))


def _filled(settings: ProtocolSettings, blocks: Sequence[str]) -> str:
    """The template with its slots filled. The long prompt numbers the events; their titles come first after any pause."""
    if settings.prompt == "long":
        blocks = [re.sub(r"^(?=\S)", f"{place}. ", block, count=1, flags=re.MULTILINE) for place, block in enumerate(blocks, start=1)]
    return _template(settings.prompt).substitute(
        history="".join(blocks),
        answer_length=settings.answer_length,
        items_per_call=settings.items_per_call,
        max_calls=settings.max_calls,
        begin_preference=BEGIN_PREF,
        end_preference=END_PREF,
        begin_items=BEGIN_ITEMS,
        end_items=END_ITEMS,
    )
