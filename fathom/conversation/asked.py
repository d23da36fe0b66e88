"""A language model that is asked as it is puts in order what the shelves have found for a conversation."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from fathom.contracts import Policy
from fathom.prompting.answers import read_order
from fathom.prompting.asking import Answered, AskingSettings, asked, fitted, mark_of
from fathom.prompting.prompts import numbered, prompts_of
from fathom.records import Catalog, Utterance


class OrderSettings(AskingSettings):
    """What the model is shown, and how it writes."""

    prompts: str = "conversation"
    """The prompts that come with Fathom, or a file of one's own."""
    shown: int = Field(default=20, ge=2)
    """So many of the first items are put in order; the others stay behind them."""


class Put(NamedTuple):
    """What came out for a conversation."""

    items: tuple[int, ...]
    """All that was given; what the model does not name stays as it came, behind what it names."""
    unreadable: bool
    prompt: str
    answer: Answered


class PromptedOrder:
    """An `Order` by asking."""

    def __init__(self, policy: Policy, catalog: Catalog, settings: OrderSettings) -> None:
        self._policy = policy
        self._catalog = catalog
        self._settings = settings
        self._prompts = prompts_of(settings.prompts, "conversation")

    def __call__(self, script: Sequence[Utterance], items: Sequence[int], scores: Sequence[float]) -> Sequence[int]:
        """The items in order; ties are no matter."""
        del scores
        [put] = self.put([script], [items])
        return put.items

    def put(self, scripts: Sequence[Sequence[Utterance]], lists: Sequence[Sequence[int]]) -> list[Put]:
        """The items of each conversation in order, as many conversations side by side as suits the model."""
        found: list[Put] = []
        for start in range(0, len(scripts), self._policy.at_once):
            part = list(zip(scripts, lists, strict=True))[start : start + self._policy.at_once]
            prompts = [self._prompt(script, items[: self._settings.shown]) for script, items in part]
            answers = asked(self._policy, prompts, self._settings, [mark_of(self._settings.seed, prompt) for prompt in prompts])
            found += [self._read(items, prompt, answer) for (_, items), prompt, answer in zip(part, prompts, answers, strict=True)]
        return found

    def _prompt(self, script: Sequence[Utterance], items: Sequence[int]) -> str:
        settings = self._settings
        slots = {"candidates": numbered([self._catalog.title(item) for item in items]), "count": str(len(items))}

        def filled(lines: Sequence[str]) -> str:
            return self._prompts.render("order", settings.words, slots | {"dialogue": "\n".join(lines)}, needs=("dialogue", "candidates"))

        lines = [f"{one.speaker.capitalize()}: {' '.join([one.text, *self._named(one)])}" for one in script]
        return fitted(lines, filled, self._policy, settings, name="order")

    def _named(self, one: Utterance) -> list[str]:
        """Titles of an utterance that its words do not hold: a list that was shown."""
        titles = [self._catalog.title(item) for item in one.items]
        return [f"({', '.join(missing)})"] if (missing := [title for title in titles if title not in one.text]) else []

    def _read(self, items: Sequence[int], prompt: str, answer: Answered) -> Put:
        shown = items[: self._settings.shown]
        told = read_order(answer.text, [self._catalog.title(item) for item in shown])
        first = [shown[place] for place in told.order]
        return Put((*first, *(item for item in items if item not in set(first))), not told.order, prompt, answer)
