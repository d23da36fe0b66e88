"""What one epoch learns from: so many lessons of each task, drawn anew, each a template filled from an event of the training part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fathom.errors import ConfigError, DataError
from fathom.p5.lexicon import Encoded, Lexicon
from fathom.p5.moments import Moments
from fathom.p5.network import IGNORED, Padded, padded, refuse_cut
from fathom.p5.sentences import SEPARATORS, Draw, Moment, Sentences, can_say
from fathom.p5.templates import Asks, Family, Template
from fathom.records import Ints

SAMPLING: Mapping[Asks, float] = {
    "next": 5.0,
    "candidates": 5.0,
    "taken": 10.0,
    "stars": 1.0,
    "stars-right": 1.0,
    "liked": 1.0,
    "explanation": 1.0,
    "headline": 1.0,
    "review-stars": 1.0,
}
"""Lessons of an epoch where a recipe says nothing else (P5, section 4.3): of each person of what asks for items and their verdicts, of
each event of the others."""

OF_PEOPLE: frozenset[Asks] = frozenset({"next", "candidates", "taken"})
"""What is drawn for each person, a random event of theirs each time."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question and its answer in tokens."""

    family: str
    source: Encoded
    target: tuple[int, ...]
    """With the end."""


class Said(NamedTuple):
    """One question and its answer in words."""

    family: str
    asks: Asks
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """Lessons that are learned from together."""

    source: Padded
    targets: Tensor
    """(B, T), `IGNORED` behind the ends."""
    families: tuple[str, ...]


class LessonPlan:
    """Draws the lessons of epochs; it knows the training part alone."""

    def __init__(
        self,
        families: Mapping[str, Family],
        moments: Moments,
        sentences: Sentences,
        *,
        sampling: Mapping[str, Mapping[str, float]],
        candidates: int,
        candidate_titles: int,
    ) -> None:
        """`sampling`: family -> what it asks for -> lessons of an epoch; what is left out is as in `SAMPLING`. `candidates`: how many an
        answer is chosen from, `candidate_titles`: where they are titles."""
        self.families = tuple(families)
        """Their names."""
        self._moments = moments
        self._sentences = sentences
        self._n_items = len(sentences.ids)
        for name, count in (("candidates", candidates), ("candidate_titles", candidate_titles)):
            if count > self._n_items:
                raise ConfigError(f"{name} is {count}: write at most {self._n_items}, the number of items")
        self._offered = {"candidates": candidates, "candidate_titles": candidate_titles}
        self._taken = [frozenset(moments.log.history(user).tolist()) for user in range(moments.log.n_users)]
        self.counts: dict[str, int] = {}
        """Family, what it asks for -> lessons of an epoch; 'unsaid' behind it: events of which none can be made."""
        self._groups = [
            self._group(family, asks, float(sampling.get(name, {}).get(asks, SAMPLING[asks])))
            for name, family in families.items()
            for asks in family.asked()
        ]
        if not any(group.lessons for group in self._groups):
            raise DataError(f"no event of this log says what the templates of {', '.join(families)} need: nothing can be learned")

    def _group(self, family: Family, asks: Asks, share: float) -> "_Group":
        """What one task of a family is drawn from."""
        log, templates = self._moments.log, family.asking(asks)
        name = f"{family.family} {asks}"
        if asks in OF_PEOPLE:
            lengths = np.diff(log.offsets)
            stretch = self._sentences.settings.latest if any("latest" in one.slots for one in templates.values()) else 0
            each = np.maximum(1, np.ceil(lengths / stretch)) if stretch else np.ones(len(lengths))
            times = np.where(lengths > 1, share * each, 0.0)
            self.counts[name] = round(float(times.sum()))
            return _Group(family.family, tuple(templates.values()), times, None)
        events = np.unique(np.concatenate([self._moments.knowing(template.needed) for template in templates.values()]))
        self.counts[name] = round(share * len(events))
        if unsaid := log.n_events - len(events):
            self.counts[f"{name} unsaid"] = unsaid
        return _Group(family.family, tuple(templates.values()), np.full(len(events), share), events)

    def texts(self, rng: np.random.Generator) -> list[Said]:
        """An epoch's lessons in words, in a drawn order."""
        found = [lesson for group in self._groups for lesson in self._drawn(group, rng)]
        return [found[place] for place in rng.permutation(len(found)).tolist()]

    def lessons(self, lexicon: Lexicon, rng: np.random.Generator, *, longest: int) -> list[Lesson]:
        """An epoch's lessons; one whose candidates do not fit into `longest` tokens is a `ConfigError`, since its answer might be cut."""
        said = self.texts(rng)
        sources = lexicon.encode_many([one.source for one in said])
        targets = lexicon.encode_many([one.target for one in said])
        for one, source in zip(said, sources, strict=True):
            if one.asks == "candidates":
                refuse_cut(source, longest)
        return [
            Lesson(one.family, source, (*target.tokens, lexicon.end)) for one, source, target in zip(said, sources, targets, strict=True)
        ]

    def _drawn(self, group: "_Group", rng: np.random.Generator) -> list[Said]:
        log, found = self._moments.log, []
        times = np.floor(group.times + rng.random(len(group.times))).astype(np.int64)
        for place in np.repeat(np.arange(len(times)), times).tolist():
            if group.events is None:
                start, stop = log.offsets[place : place + 2].tolist()
                event = int(rng.integers(start + 1, stop))
            else:
                event = int(group.events[place])
            moment = self._moments.at(event)
            fit = [one for one in group.templates if can_say(one, moment)]
            template = fit[int(rng.integers(len(fit)))]
            source, target = self._sentences.say(template, moment, self._draw(template, moment, rng))
            found.append(Said(group.family, template.asks, source, target))
        return found

    def _draw(self, template: Template, moment: Moment, rng: np.random.Generator) -> Draw:
        """What the question proposes: half of the verdicts are on something else than the event's own."""
        separator = SEPARATORS[int(rng.integers(len(SEPARATORS)))]
        user, target = moment.case.user, moment.case.target
        if template.asks == "candidates":
            others = self._others(user, target, min(self._offered[slot] for slot in self._offered if slot in template.slots) - 1, rng)
            listed = [target, *others]
            return Draw(tuple(listed[place] for place in rng.permutation(len(listed)).tolist()), separator=separator)
        right = bool(rng.integers(2))
        if template.asks == "taken" and not right:
            return Draw(item=self._others(user, target, 1, rng)[0], right=False, separator=separator)
        if template.asks == "stars-right" and not right:
            wrong = [value for value in self._sentences.scale if value != moment.stars]
            if wrong:
                return Draw(stars=wrong[int(rng.integers(len(wrong)))], right=False, separator=separator)
        return Draw(separator=separator)

    def _others(self, user: int, target: int, count: int, rng: np.random.Generator) -> list[int]:
        """Different random items that the person has not taken in training; all of those where there are fewer."""
        taken = self._taken[user] | {target}
        if self._n_items - len(taken) <= count:
            return [item for item in range(1, self._n_items + 1) if item not in taken] or [1 + target % self._n_items]
        found: dict[int, None] = {}
        while len(found) < count:
            for item in (rng.integers(self._n_items, size=2 * count) + 1).tolist():
                if item not in taken and len(found) < count:
                    found[item] = None
        return list(found)


@dataclass(frozen=True, slots=True)
class _Group:
    """One task of a family: its templates, and how often each person or event is drawn in an epoch."""

    family: str
    templates: tuple[Template, ...]
    times: npt.NDArray[np.float64]
    events: Ints | None
    """None: people are drawn."""

    @property
    def lessons(self) -> float:
        """Lessons of an epoch."""
        return float(self.times.sum())


class LessonEpoch:
    """The batches of one epoch: lessons of like length lie together, so that little is padding."""

    def __init__(self, lessons: Sequence[Lesson], lexicon: Lexicon, *, batch_size: int, longest: int, rng: np.random.Generator) -> None:
        self._lessons = lessons
        self._lexicon = lexicon
        self._longest = longest
        order = rng.permutation(len(lessons))
        sizes = np.array([len(lesson.source.tokens) + 2 * len(lesson.target) for lesson in lessons])
        pool = 50 * batch_size
        pieces = [part[np.argsort(sizes[part], kind="stable")] for part in np.split(order, range(pool, len(order), pool)) if len(part)]
        batches = [part[start : start + batch_size] for part in pieces for start in range(0, len(part), batch_size)]
        self._batches = [batches[place] for place in rng.permutation(len(batches)).tolist()]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> LessonBatch:
        return batch_of([self._lessons[place] for place in self._batches[index].tolist()], self._lexicon, longest=self._longest)


def batch_of(lessons: Sequence[Lesson], lexicon: Lexicon, *, longest: int) -> LessonBatch:
    """The lessons as tensors; an answer of more than `longest` tokens loses its end."""
    targets = [lesson.target[:longest] for lesson in lessons]
    width = max(map(len, targets))
    rows = torch.tensor([[*target, *(IGNORED,) * (width - len(target))] for target in targets], dtype=torch.int64)
    return LessonBatch(padded([lesson.source for lesson in lessons], lexicon, longest=longest), rows, tuple(one.family for one in lessons))


def pieces_of(batch: LessonBatch, size: int) -> list[LessonBatch]:
    """The batch in pieces of at most `size` lessons, for memory's sake."""
    count = len(batch.families)
    if count <= size:
        return [batch]
    return [
        LessonBatch(
            Padded(*(part[start : start + size] for part in cast(tuple[Tensor, ...], batch.source))),
            batch.targets[start : start + size],
            batch.families[start : start + size],
        )
        for start in range(0, count, size)
    ]
