"""Candidates are put in order by a language model that is asked as it is.

Who is asked, how, and how often never depends on what came next (`Case.target` is not read), nor on who else is asked. What the model
does not name stays as it came, behind what it names.
"""

import re
import string
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, assert_never

import numpy as np
from pydantic import Field

from fathom.contracts import Conversation, Policy
from fathom.errors import ConfigError, ModelError
from fathom.prompting.answers import read_order, spoken
from fathom.prompting.asking import Answered, AskingSettings, asked, fitted, mark_of, opened
from fathom.prompting.matching import Titles
from fathom.prompting.orders import WAYS, Exchange, Ordered, Pair, Point, Question, Said, WaySettings, Whole
from fathom.prompting.prompts import numbered, prompts_of
from fathom.prompting.ratings import expected_rating, read_rating
from fathom.records import Case, Catalog

BEST = 10
"""A single candidate is rated from 0 to this."""

NEEDS: Mapping[type[Question], tuple[str, ...]] = {Whole: ("candidates",), Pair: ("first", "second"), Point: ("candidate",)}
"""What a prompt must show of a question."""


class RankerSettings(AskingSettings):
    """What the model is shown, how it is asked, how its answers are read."""

    prompts: str = "ranking"
    """The prompts that come with Fathom, or a file of one's own."""
    strategy: str = "sequential"
    """Which of them shows the history, where candidates are put in order together: sequential, recency or in-context."""
    way: str = "listwise"
    """How the order comes about: listwise, sliding, pairwise, heapsort, passes or pointwise."""
    asking: WaySettings = WaySettings()
    """How often and how much at a time is asked."""
    history: Literal["true", "shuffled", "fake", "none"] = "true"
    """What the model sees: the person's own history, the same in an order drawn for each person, one of drawn items, or none."""
    answers: Literal["words", "likelihoods"] = "words"
    """How answers are read: from what the model writes, or from how likely it would write each of them; the latter needs a local model."""
    temperature: float = Field(default=0.2, ge=0)
    """Of what the model writes; 0 is greedy."""
    reply_tokens: int = Field(default=1024, ge=1)
    """Tokens of an answer, thoughts included."""


@dataclass(frozen=True, slots=True)
class RankedCandidates:
    """What came out for a case."""

    user: int
    """Whose it is."""
    items: tuple[int, ...]
    """The candidates, best first."""
    scores: tuple[float, ...]
    """What speaks for each of `items`; equal ones are ties."""
    tally: Mapping[str, int]
    """How many `questions` were asked; how many answers were `unreadable`, how many `compliant` (a list names everything once and nothing
    else); of lists the lines that were `unknown`, `repeated` or `missing`, of so many `lines` as there should be; `read` and `written`
    tokens."""
    prompt: str = ""
    """The first question, as it was put."""
    reply: str = ""
    """The answer to it, in words."""
    seconds: float = field(default=0.0, compare=False)
    """Its share of the wall clock: a round's time is divided among the cases that asked in it."""


class PromptedRanker:
    """Puts candidates in order by asking a language model."""

    def __init__(
        self, policy: Policy, catalog: Catalog, settings: RankerSettings, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """An unknown way or strategy, or one that does not show what is asked, is a `ConfigError`."""
        if settings.way not in WAYS:
            raise ConfigError(f"way '{settings.way}' is not known: write {', '.join(WAYS)}")
        self._policy = policy
        self._catalog = catalog
        self._settings = settings
        self._prompts = prompts_of(settings.prompts, "ranking")
        self._progress = progress

    @property
    def prompts(self) -> str:
        """Which prompts it asks by, and in which version."""
        return self._prompts.label

    def rank(self, cases: Sequence[Case], candidates: Sequence[Sequence[int]]) -> list[RankedCandidates]:
        """Each case's candidates in order; as they are given is as they came, and so are their ties."""
        return [live.ranked(items) for live, items in zip(self._played(cases, candidates), candidates, strict=True)]

    def _played(self, cases: Sequence[Case], candidates: Sequence[Sequence[int]]) -> list["_Live"]:
        rows = [_Live(case, items, self._catalog, self._settings) for case, items in zip(cases, candidates, strict=True)]
        asking = list(rows)
        while asking:
            questions = [(row, question) for row in asking for question in row.pending]
            began = time.perf_counter()
            answers = iter(self._answers(questions))
            share = (time.perf_counter() - began) / len(asking)
            for row in asking:
                row.seconds += share
                row.send([next(answers) for _ in row.pending])
            left = [row for row in asking if row.result is None]
            if self._progress is not None and len(left) < len(asking):
                self._progress(len(asking) - len(left))
            asking = left
        return rows

    def _answers(self, questions: Sequence[tuple["_Live", Question]]) -> list[Said]:
        """What is said to all of them, as many side by side as suits the model."""
        said: list[Said] = []
        for start in range(0, len(questions), self._policy.at_once):
            part = questions[start : start + self._policy.at_once]
            labels = [row.labels(question) for row, question in part]
            prompts = [self._prompt(row, question, label) for (row, question), label in zip(part, labels, strict=True)]
            seeds = [row.next_seed() for row, _ in part]
            if self._settings.answers == "likelihoods":
                said += self._weighed(opened(self._policy, prompts, self._settings, seeds), part, labels)
                for (row, _), prompt in zip(part, prompts, strict=True):
                    row.note(prompt, Answered("", len(self._policy.encode(prompt)), 0))
                continue
            answers = asked(self._policy, prompts, self._settings, seeds)
            for (row, question), prompt, answer, label in zip(part, prompts, answers, labels, strict=True):
                said.append(row.read(question, answer.text, label))
                row.note(prompt, answer)
        return said

    def _prompt(self, row: "_Live", question: Question, labels: tuple[str, str]) -> str:
        settings = self._settings
        strategy = {Whole: settings.strategy, Pair: "pair", Point: "point"}[type(question)]
        needs = NEEDS[type(question)] if settings.answers == "words" or not isinstance(question, Whole) else ()

        def filled(history: Sequence[str]) -> str:
            return self._prompts.render(strategy, settings.words, row.slots(question, labels, history), needs=needs)

        return fitted(row.shown, filled, self._policy, settings, name=strategy)

    def _weighed(
        self, conversation: Conversation, part: Sequence[tuple["_Live", Question]], labels: Sequence[tuple[str, str]]
    ) -> list[Said]:
        """Answers by their likelihoods."""
        offered = [row.offered(question, label) for (row, question), label in zip(part, labels, strict=True)]
        weights = conversation.score(range(len(part)), offered)
        return [row.weigh(question, weight.tolist()) for (row, question), weight in zip(part, weights, strict=True)]


class _Live:
    """A case whose order is coming about."""

    def __init__(self, case: Case, items: Sequence[int], catalog: Catalog, settings: RankerSettings) -> None:
        if not items:
            raise ModelError(f"the case of user {case.user} has no candidates to be put in order")
        self._user = case.user
        self._titles = [catalog.title(item) for item in items]
        self._settings = settings
        # Of the person and what they are shown, never of the place in a batch and never of what came next.
        mark = mark_of(case.user, case.history, tuple(items))
        self._draw = np.random.default_rng([settings.seed, mark])
        self.shown = [catalog.title(item) for item in _shown(case, catalog, settings, self._draw)]
        self._seeds = np.random.default_rng([settings.seed, mark, 1])
        self._way: Exchange = WAYS[settings.way](len(items), settings.asking, self._draw)
        self.tally: Counter[str] = Counter()
        self.result: Ordered | None = None
        self.pending: Sequence[Question] = ()
        self._first: tuple[str, str] | None = None
        self.seconds = 0.0
        self._go_on(None)

    def ranked(self, items: Sequence[int]) -> RankedCandidates:
        """What came out, with `items` in the places."""
        assert self.result is not None
        order, scores = self.result.order, self.result.scores
        prompt, reply = self._first or ("", "")
        ordered = tuple(items[place] for place in order)
        told = tuple(scores[place] for place in order)
        return RankedCandidates(self._user, ordered, told, dict(self.tally), prompt, reply, self.seconds)

    def note(self, prompt: str, answer: Answered) -> None:
        """A question that was asked, and what it cost."""
        self._first = self._first or (prompt, answer.text)
        self.tally["read"] += answer.read
        self.tally["written"] += answer.written

    def send(self, said: Sequence[Said]) -> None:
        """Go on with the answers to what was pending."""
        self._go_on(said)

    def _go_on(self, said: Sequence[Said] | None) -> None:
        try:
            self.pending = next(self._way) if said is None else self._way.send(said)
        except StopIteration as over:
            self.pending, self.result = (), over.value

    def next_seed(self) -> int:
        """Of the next question."""
        return int(self._seeds.integers(2**31))

    def labels(self, question: Question) -> tuple[str, str]:
        """Two letters, drawn afresh for each pair so that none of them is the first one's."""
        if not isinstance(question, Pair):
            return "", ""
        first, second = self._draw.choice(len(string.ascii_uppercase), size=2, replace=False).tolist()
        return string.ascii_uppercase[first], string.ascii_uppercase[second]

    def slots(self, question: Question, labels: tuple[str, str], history: Sequence[str]) -> dict[str, str]:
        """What the prompt is filled with, of so much of the history."""
        slots = dict.fromkeys(("candidates", "count", "candidate", "first", "second"), "")
        slots |= {"first_label": labels[0], "second_label": labels[1]}
        slots |= {"history": numbered(history), "earlier": numbered(history[:-1]), "latest": history[-1] if history else ""}
        slots["lines"] = "\n".join(history)
        match question:
            case Whole(shown):
                return slots | {"candidates": numbered([self._titles[place] for place in shown]), "count": str(len(shown))}
            case Pair(first, second):
                return slots | {"first": self._titles[first], "second": self._titles[second]}
            case Point(place):
                return slots | {"candidate": self._titles[place]}
            case _:
                assert_never(question)

    def read(self, question: Question, reply: str, labels: tuple[str, str]) -> Said:
        """What a reply says."""
        self.tally["questions"] += 1
        match question:
            case Whole(shown):
                answer = read_order(reply, [self._titles[place] for place in shown])
                self.tally["unreadable"] += not answer.order
                self.tally["compliant"] += answer.compliant
                self.tally["lines"] += len(shown)
                self.tally["unknown"] += len(answer.unknown)
                self.tally["repeated"] += answer.repeated
                self.tally["missing"] += len(answer.missing)
                return [shown[place] for place in answer.order]
            case Pair(first, second):
                chosen = read_choice(reply, labels, (self._titles[first], self._titles[second]))
                return self._counted(None if chosen is None else 1.0 - chosen, otherwise=0.5)
            case Point(_):
                return self._counted(read_rating(reply, lowest=0, best=BEST), otherwise=BEST / 2)
            case _:
                assert_never(question)

    def offered(self, question: Question, labels: tuple[str, str]) -> list[str]:
        """The answers that are weighed."""
        match question:
            case Whole(shown):
                return [f"{self._titles[place]}\n" for place in shown]
            case Pair(_, _):
                return list(labels)
            case Point(_):
                return [str(rating) for rating in range(BEST + 1)]
            case _:
                assert_never(question)

    def weigh(self, question: Question, logprobs: Sequence[float]) -> Said:
        """What likelihoods say."""
        self.tally["questions"] += 1
        self.tally["compliant"] += 1
        match question:
            case Whole(shown):
                order = sorted(range(len(shown)), key=lambda place: (-logprobs[place], shown[place]))
                return [shown[place] for place in order]
            case Pair(_, _):
                return 0.5 if logprobs[0] == logprobs[1] else float(logprobs[0] > logprobs[1])
            case Point(_):
                return expected_rating(logprobs, range(BEST + 1))
            case _:
                assert_never(question)

    def _counted(self, said: float | None, *, otherwise: float) -> float:
        self.tally["unreadable"] += said is None
        self.tally["compliant"] += said is not None
        return otherwise if said is None else said


def read_choice(reply: str, labels: tuple[str, str], titles: tuple[str, str]) -> int | None:
    """0 for the first of two, 1 for the second, None where nobody can tell: by the last label that stands alone, else by a title.

    >>> read_choice("**K.**", ("K", "C"), ("Heat", "Alien")), read_choice("Alien!", ("K", "C"), ("Heat", "Alien"))
    (0, 1)
    """
    said = spoken(reply)
    # 'A' and 'I' are words, too: a letter counts where nothing but marks stands around it, or where an option or answer is spoken of.
    alone = re.findall(rf"(?m)^\W*({labels[0]}|{labels[1]})\W*$", said)
    named = re.findall(rf"(?i:answer|option|choice|choose|prefer)\w*\W+(?:is\W+|would be\W+)?({labels[0]}|{labels[1]})\b", said)
    begun = re.findall(rf"\A\W*({labels[0]}|{labels[1]})[.):]", said)
    for found in (alone, named, begun):
        if found:
            return labels.index(found[-1])
    known = Titles(titles)
    matches = {match.place for line in said.splitlines() if (match := known.find(line.strip(" .!*\"'")))}
    return matches.pop() if len(matches) == 1 else None


def _shown(case: Case, catalog: Catalog, settings: RankerSettings, draw: np.random.Generator) -> tuple[int, ...]:
    """The items of the history that the model is told of."""
    latest = case.history[-settings.history_length :]
    match settings.history:
        case "true":
            return latest
        case "shuffled":
            return tuple(draw.permutation(latest).tolist())
        case "fake":
            return tuple((draw.choice(catalog.n_items, size=min(len(latest), catalog.n_items), replace=False) + 1).tolist())
        case "none":
            return ()
