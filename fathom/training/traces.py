"""Protocol traces for the warm start: conversations by a scripted writer, with the real environment and real retrievals.

The tokens stand exactly as the rollout engine would put them. Three kinds of traces teach three different things, and none
teaches what another does:

- A *hindsight* trace knows the target and asks for what it is like, as long as no list has shown it. Only its preferences are
  learned: so the model learns what this person may want that has not been found yet. It ends with the last preference.
- An *answer* trace asks for things like those already shown or taken. Only its answer (and the layout around it) is learned.
  The target, if it was retrieved or the answer is kept to titles, stands first: so the model learns p(target | context) there, which
  the scored finish asks for.
  The order of the others is that of the lists, or of a *teacher*: a recommender that knows what the language model knows when it is
  asked directly, so that every answer teaches it to use that, whether the target was found or not.
- A *sequel* trace asks like an answer trace. Behind the reminder, where an answer would begin, it goes on with all that the person
  really took next, as a history goes on: so the model learns to know there what it knows right behind a history, from several events
  for the price of one conversation. What it reads of the lists counts as evidence like anything else.

Learned from one and the same trace, answer after hindsight wish, the model would take its own wishes for evidence of what the
person wants, since in the traces they were (a delusion in the sense of Ortega et al., arXiv:2110.10819).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from fathom.agents.dialogue import Dialogue
from fathom.agents.protocol import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BEGIN_PREF,
    END_PREF,
    THINK_CLOSE,
    ProtocolSettings,
    answer_numbers,
    history_lines,
)
from fathom.contracts import Encodes, Recommender, Retrieve
from fathom.data.titles import TitleIndex, canonical, neutral, single_line
from fathom.errors import DataError
from fathom.recommenders.mix import reciprocal_ranks
from fathom.records import PAD, Call, Case, Catalog, Ending, Episode, Floats, Ints, Reply
from fathom.settings import Settings
from fathom.training.preferences import PreferenceSettings, facts, wish
from fathom.training.preferences import neutral as nothing_particular

BATCH = 256
"""Conversations played at a time; it changes memory and speed, not the traces."""
RECIPROCAL = 10.0
"""Added to a rank before its reciprocal is taken: the smaller, the more the first places count."""
ATTEMPTS = 8
"""How often a wish that repeats an earlier one is drawn again before the writer stops asking."""


class TraceSettings(Settings):
    """What the warm start imitates. Weights are of a token in the loss; 0 means it is only read."""

    most: int = Field(default=0, ge=0)
    """The most cases that become traces, drawn by the seed; 0: all."""
    hindsight: float = Field(default=0.4, gt=0, lt=1)
    """Share of the cases that teach what to ask for."""
    sequels: float = Field(default=0.0, ge=0, lt=1)
    """Share of the cases that teach what follows the reminder, event by event; all others teach what to answer."""
    calls: tuple[float, ...] = (0.3, 0.4, 0.2, 0.1)
    """How often an answer trace has one, two, ... calls, in proportion: what the model begins with before it is rewarded."""
    as_played: float = Field(default=0.25, ge=0, le=1)
    """Share of the traces whose lists have `protocol.items_per_call` items, where others have `protocol.items_taught`: who never saw a list
    end where the lists of its own conversations will end may take that one for a finished answer."""
    neutral_first: float = Field(default=1.0, ge=0, le=1)
    """How often the first call wishes for nothing in particular, so that the retriever's own list is seen."""
    shown: float = Field(default=0.7, ge=0, le=1)
    """How often a wish of an answer trace speaks of an item shown before, the sooner the higher it stood; otherwise of one taken lately."""
    recent: int = Field(default=5, ge=1)
    """How many of the newest items wishes and thoughts speak of."""
    thought_values: int = Field(default=2, ge=0, le=5)
    """How many attribute values a thought names; 0 for a thought without content."""
    later_lists: float = Field(default=0.5, gt=0, le=1)
    """What a place in the list of a later call counts when lists are fused by reciprocal rank; the first call's counts 1."""
    teacher: Literal["lists", "mix"] = "lists"
    """Who orders the titles of an answer: `lists` the retriever's lists, fused; `mix` what the retriever without a wish and the language
    model, asked directly, recommend together, in the place of the first list. Neither has seen the targets."""
    promoted: float = Field(default=1.0, ge=0, le=1)
    """How often the target stands first in the answer, if it was found or the answer is kept to titles; otherwise where others leave it."""
    missed: float = Field(default=0.3, ge=0, le=1)
    """Share of the answer traces that are kept although the target is not among what the answer is made of."""
    thought_weight: float = Field(default=0.3, ge=0)
    """Of the words of thoughts and conclusions."""
    preference_weight: float = Field(default=1.0, gt=0)
    """Of the words of preferences."""
    target_weight: float = Field(default=3.0, gt=0)
    """Of the target's title in the answer; the number before a title always weighs 1."""
    rest_weight: float = Field(default=0.3, ge=0)
    """Of the titles below the target, and of all titles where the target was missed."""
    sequel_weight: float = Field(default=1.0, gt=0)
    """Of the events behind the reminder."""
    displaced: float = Field(default=1.0, gt=0)
    """How many times more the title counts that had to make room for the target: the only one of an answer that is hard to copy."""

    @model_validator(mode="after")
    def _some_answers(self) -> Self:
        if self.hindsight + self.sequels >= 1:
            raise ValueError(
                f"hindsight is {self.hindsight} and sequels {self.sequels}: together less than 1, or no case is left that teaches answers"
            )
        return self

    @model_validator(mode="after")
    def _some_calls(self) -> Self:
        if not self.calls or min(self.calls) < 0 or sum(self.calls) <= 0:
            raise ValueError(
                f"calls is {self.calls}: write one proportion for each number of calls from 1 on, such as [0.3, 0.4, 0.2, 0.1]"
            )
        return self


@dataclass(frozen=True, slots=True)
class Trace:
    """A conversation to imitate."""

    tokens: Ints
    """(T,) token ids: the prompt and everything after it."""
    weights: Floats
    """(T,) weight of predicting each token from those before it; 0 in the prompt and in item lists."""
    episode: Episode


Kind: TypeAlias = Literal["hindsight", "sequel", "answer"]
"""What a trace teaches: what to ask for, what follows, what to answer."""

Piece: TypeAlias = tuple[str, float]
"""A text that is encoded by itself, and the weight of its tokens."""


@dataclass(slots=True)
class _Writer:
    """Writes one conversation; only in hindsight does it look at the target before it answers."""

    dialogue: Dialogue
    case: Case
    rng: np.random.Generator
    kind: Kind
    calls: int
    """How many calls it means to make."""
    pieces: list[Piece] = field(default_factory=list)
    wishes: list[str] = field(default_factory=list)
    lists: list[tuple[int, ...]] = field(default_factory=list)
    best: tuple[int, ...] = ()
    """What the teacher recommends; empty without one."""
    taught: int = 0
    """Hindsight: how many pieces there are up to the last wish for the target."""

    @property
    def hindsight(self) -> bool:
        """Whether it knows the target when it asks."""
        return self.kind == "hindsight"

    @property
    def found(self) -> bool:
        """Whether a list has shown the target."""
        return any(self.case.target in items for items in self.lists)


def build_traces(
    policy: Encodes,
    cases: Sequence[Case],
    catalog: Catalog,
    *,
    retrieve: Retrieve,
    settings: TraceSettings,
    preferences: PreferenceSettings,
    protocol: ProtocolSettings,
    seed: int,
    longest: int = 0,
    teacher: Recommender | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Trace]:
    """Traces of the cases, in their order, as tokens of `policy`; every one of them is well formed.

    Cases must be interactions that `retrieve` was not trained on, or the model would learn to copy its first line. A trace
    is left out if it is malformed (an attribute that breaks a format rule), has more than `longest` tokens (0: any), had too
    few items to answer with, if an answer's target was missed and it is not among the share that is kept, or if hindsight
    had nothing to wish for because the first list already showed the target. Case i's trace depends on `seed`, i and the
    recommenders alone, so several processes may each make those of some case `numbers` (all that `chosen` names, unless given).
    The `teacher` takes the place of the first list where answers are ordered. Lists are as long as `protocol` teaches them, but for
    the share that is as long as it plays them. No trace at all is a `DataError`.
    """
    taught = protocol.taught()
    order = chosen(len(cases), settings, seed=seed) if numbers is None else numbers
    titles = TitleIndex(catalog)
    traces: list[Trace] = []
    for start in range(0, len(order), BATCH):
        writers = []
        for index in order[start : start + BATCH]:
            rng = np.random.default_rng([seed, index])
            drawn = rng.random()
            kind: Kind = "answer"
            if drawn < settings.hindsight + settings.sequels:
                kind = "hindsight" if drawn < settings.hindsight else "sequel"
            shares = np.asarray(settings.calls) / sum(settings.calls)
            calls = 1 + int(rng.choice(len(shares), p=shares))
            # Drawn apart: what a conversation says does not depend on the share.
            played = np.random.default_rng([seed, index, 1]).random() < settings.as_played
            dialogue = Dialogue(cases[index], catalog, titles, protocol if played else taught, count=lambda text: len(policy.encode(text)))
            # In hindsight one call more than usual: the first one, for nothing in particular, teaches little.
            writers.append(_Writer(dialogue, cases[index], rng, kind, min(protocol.max_calls, calls + (kind == "hindsight"))))
        _converse(writers, retrieve, catalog, settings=settings, preferences=preferences)
        answering = [writer for writer in writers if writer.kind == "answer"]
        if teacher is not None and answering:
            ranking = teacher.recommend(
                [writer.case for writer in answering], taught.items_per_call, exclude_history=protocol.exclude_history
            )
            for writer, row in zip(answering, ranking.items.tolist(), strict=True):
                writer.best = tuple(item for item in row if item != PAD)
        for writer, index in zip(writers, order[start : start + BATCH], strict=True):
            followed = sequel(cases, index, catalog, protocol) if writer.kind == "sequel" else ""
            trace = _finished(writer, policy, catalog, followed, settings=settings, protocol=protocol)
            if trace is not None and not (longest and len(trace.tokens) > longest):
                traces.append(trace)
    if not traces:
        raise DataError(f"none of {len(cases)} cases became a trace: allow longer ones (context, trajectory_tokens) or check the retriever")
    return traces


def chosen(cases: int, settings: TraceSettings, *, seed: int) -> list[int]:
    """Which of so many cases become traces, in order."""
    if not settings.most or settings.most >= cases:
        return list(range(cases))
    drawn: list[int] = np.sort(np.random.default_rng(seed).choice(cases, size=settings.most, replace=False)).tolist()
    return drawn


def fused(lists: Sequence[Sequence[int]], later: float) -> list[int]:
    """All items of the lists, best first: the sum of reciprocal ranks, where a place in a later list counts `later`; ties by appearance.

    >>> fused([[1, 2, 3], [4, 2]], 0.5)
    [2, 1, 3, 4]
    """
    scores = reciprocal_ranks(lists, RECIPROCAL, later=later)
    return sorted(scores, key=lambda item: -scores[item])


def _wish(writer: _Writer, catalog: Catalog, *, settings: TraceSettings, preferences: PreferenceSettings) -> str | None:
    """What the writer asks for next, unlike everything it asked for before; None where it can think of nothing."""
    rng = writer.rng
    if not writer.wishes and rng.random() < settings.neutral_first:
        return nothing_particular(rng)
    for _ in range(ATTEMPTS):
        item = writer.case.target if writer.hindsight else _imagined(writer, settings)
        # In the catalogue's order, so that a small model need not remember what it has said already.
        text = single_line(neutral(wish(catalog, item, rng=rng, settings=preferences, shuffled=False)).replace('"', ""))
        if text and canonical(text) not in {canonical(earlier) for earlier in writer.wishes}:
            return text
    return None


def _imagined(writer: _Writer, settings: TraceSettings) -> int:
    """An item that may be like what comes next, chosen without a look at the target."""
    recent = writer.case.history[-settings.recent :]
    shown = [item for items in writer.lists for item in items]
    if shown and (not recent or writer.rng.random() < settings.shown):
        chances = np.array([1 / (RECIPROCAL + place) for items in writer.lists for place in range(1, len(items) + 1)])
        return shown[int(writer.rng.choice(len(shown), p=chances / chances.sum()))]
    return int(writer.rng.choice(recent)) if recent else writer.case.target


def _converse(
    writers: Sequence[_Writer], retrieve: Retrieve, catalog: Catalog, *, settings: TraceSettings, preferences: PreferenceSettings
) -> None:
    """Let all writers ask, turn by turn, with one retrieval for all of them."""
    asking = list(writers)
    while asking:
        calls: list[tuple[_Writer, Call]] = []
        for writer in asking:
            preference = _wish(writer, catalog, settings=settings, preferences=preferences)
            call = None if preference is None else _ask(writer, preference, catalog, settings=settings)
            if call is not None:
                calls.append((writer, call))
        asking = []
        answers = retrieve.retrieve([call for _, call in calls]) if calls else []
        for (writer, _), items in zip(calls, answers, strict=True):
            text = writer.dialogue.show(items)
            if text is not None:
                writer.pieces.append((text, 0.0))
                writer.lists.append(items)
                if len(writer.lists) < writer.calls and not (writer.hindsight and writer.found):
                    asking.append(writer)


def _ask(writer: _Writer, preference: str, catalog: Catalog, *, settings: TraceSettings) -> Call | None:
    """Write a thought and a preference; what each teaches depends on the kind of trace."""
    seen = writer.lists[-1][:10] if writer.lists else writer.case.history[-settings.recent :]
    values = " and ".join(_common(catalog, seen, settings.thought_values))
    thought = f"{'Shown' if writer.lists else 'Lately'}: {values or 'much'}.\n"
    wished, asked = (settings.preference_weight, 0.0) if writer.hindsight else (0.0, 1.0)
    writer.pieces += [(thought, settings.thought_weight * asked), (BEGIN_PREF, asked), (preference, wished), (END_PREF, wished)]
    writer.wishes.append(preference)
    if writer.hindsight and writer.lists:
        writer.taught = len(writer.pieces)
    return writer.dialogue.hear(Reply(f"{thought}{BEGIN_PREF}{preference}{END_PREF}", stop=END_PREF))


def sequel(cases: Sequence[Case], index: int, catalog: Catalog, protocol: ProtocolSettings) -> str:
    """What the person of case `index` took from its target on, as lines of a history: as far as the cases that follow it tell."""
    first = last = cases[index]
    for place in range(index + 1, len(cases)):
        case = cases[place]
        if not case.follows(last):
            break
        last = case
    told = len(last.history) - len(first.history)
    lines = history_lines(last, catalog, protocol.model_copy(update={"history_length": told})) if told else []
    text = "".join([*lines, f"{catalog.title(last.target)}\n"])
    return text[text.index(catalog.title(first.target)) :]  # an answer begins with a title, not with the pause before it


def _finished(
    writer: _Writer, policy: Encodes, catalog: Catalog, followed: str, *, settings: TraceSettings, protocol: ProtocolSettings
) -> Trace | None:
    """The trace with its answer, or what `followed` in its place, or neither in hindsight; None where there is nothing to imitate."""
    if writer.dialogue.ending is not None or (writer.hindsight and not writer.taught):
        return None
    order = fused([writer.best or writer.lists[0], *writer.lists[1:]], settings.later_lists)
    target = writer.case.target if writer.rng.random() < settings.promoted else PAD
    items, weights = _answer(order, target, settings=settings, length=protocol.answer_length, constrained=protocol.constrained)
    kept = writer.kind != "answer" or writer.case.target in order or writer.rng.random() < settings.missed
    if len(items) < protocol.answer_length or not kept:
        return None
    values = _common(catalog, writer.case.history[-settings.recent :], settings.thought_values)
    words = f"Fits best: {' and '.join(values) or 'these'}.\n"
    final: list[Piece] = [(words, settings.thought_weight), (f"{THINK_CLOSE}\n{ANSWER_OPEN}", 1.0)]
    answer: list[Piece] = []
    for number, item, weight in zip(answer_numbers(protocol), items, weights, strict=True):
        answer += [(number, 1.0), (f"{catalog.title(item)}\n", weight)]  # the form is always taught
    answer.append((ANSWER_CLOSE, 1.0))
    before, after = ("".join(text for text, _ in pieces) for pieces in (final, answer))
    if protocol.reminded:
        reminder = writer.dialogue.remind(Reply(before, stop=ANSWER_OPEN))
        if reminder is None:
            return None
        final, before = [*final, (reminder, 0.0)], ""
    final += [(followed, settings.sequel_weight)] if followed else answer
    writer.dialogue.hear(Reply(before + after, stop=ANSWER_CLOSE))
    episode = writer.dialogue.episode()
    if episode.ending is not Ending.ANSWERED or not episode.well_formed:
        return None
    pieces = writer.pieces[: writer.taught] if writer.hindsight else [*writer.pieces, *final]
    encoded = [(policy.encode(text), weight) for text, weight in [(writer.dialogue.opening, 0.0), *pieces]]
    tokens = np.asarray([token for ids, _ in encoded for token in ids], dtype=np.int64)
    return Trace(tokens, np.asarray([weight for ids, weight in encoded for _ in ids], dtype=np.float32), episode)


def _answer(order: Sequence[int], target: int, *, settings: TraceSettings, length: int, constrained: bool) -> tuple[list[int], list[float]]:
    """The answer and the weight of each of its titles: the fused order, with the target, if it was found, first.

    Who is kept to titles, none twice, needs no help to avoid repetitions: then the others move down by one, and stay in their order;
    and a target that was not found stands first as well, for it can be written, and nothing else there would be true.
    """
    if constrained and target != PAD:
        others = [item for item in order if item != target]
        return [target, *others[: length - 1]], [settings.target_weight, *[settings.rest_weight] * (length - 1)]
    if target not in order:
        return list(order[:length]), [settings.rest_weight] * length
    answer, place = brought_forward(order, order.index(target), length)
    weights = [settings.rest_weight] * len(answer)
    weights[place] = settings.displaced * settings.rest_weight
    weights[0] = settings.target_weight
    return answer, weights


def brought_forward(order: Sequence[int], found: int, length: int) -> tuple[list[int], int]:
    """The first `length` items, where the one at place `found` (from 0) stands first and the first has its place, or else the last.

    All others keep their places, so that line n of an answer is line n of the list: a small model copies by number with ease,
    but not lines that have all moved down by one (docs/lab-notes.md). Also returned: the place of the item that made room.

    >>> brought_forward([1, 2, 3, 4, 5], 2, 4), brought_forward([1, 2, 3, 4, 5], 4, 3)
    (([3, 2, 1, 4], 2), ([5, 2, 1], 2))
    """
    answer, place = list(order[:length]), min(found, length - 1)
    answer[place], answer[0] = answer[0], order[found]
    return answer, place


def _common(catalog: Catalog, items: Sequence[int], most: int) -> list[str]:
    """The attribute values that the most of `items` share, the most frequent first; ties by appearance."""
    counts = Counter(single_line(neutral(value)) for item in items for value, _ in facts(catalog, item))
    return [value for value, _ in counts.most_common(most)]
