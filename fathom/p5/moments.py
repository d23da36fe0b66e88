"""What a log knows of each event: what came before it, how it was rated, what was written of it."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np

from fathom.errors import ConfigError
from fathom.p5.features import Spoken, feature_words, spoken
from fathom.p5.sentences import Moment
from fathom.records import HEADLINE, REVIEW, Case, Interactions, Ints


class Moments:
    """Events of a log as moments, and cases as moments; features are learned from the log's reviews."""

    def __init__(self, log: Interactions, *, features: Sequence[str] | None = None) -> None:
        """`features`: the words that reviews speak of, where they were learned from another log."""
        self.log = log
        self._given = features
        self._owner = np.repeat(np.arange(log.n_users), np.diff(log.offsets))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The words that reviews speak of, the commonest first."""
        if self._given is not None:
            return tuple(self._given)
        told = self.log.columns.get(REVIEW)
        if told is None:
            return ()
        return feature_words([told.names[int(value) - 1] for value in told.values.tolist() if not math.isnan(value)])

    @cached_property
    def _spoken(self) -> list[Spoken]:
        """What each review of the log says, by its number from 1."""
        told = self.log.columns.get(REVIEW)
        return [] if told is None else [spoken(name, self.features) for name in told.names]

    def at(self, event: int) -> Moment:
        """The event number `event` of the log."""
        log, user = self.log, int(self._owner[event])
        start = int(log.offsets[user])
        ratings = () if log.ratings is None else tuple(log.ratings[start:event].tolist())
        case = Case(user, tuple(log.items[start:event].tolist()), int(log.items[event]), ratings=ratings)
        return self._told(case, event)

    def of(self, cases: Sequence[Case]) -> list[Moment]:
        """Cases of this log, whose targets are events of it; one whose target stands elsewhere is a `ConfigError`."""
        found = []
        for case in cases:
            event = int(self.log.offsets[case.user]) + len(case.history)
            if event >= self.log.offsets[case.user + 1] or self.log.items[event] != case.target:
                raise ConfigError(f"the case of user {case.user} is no event of this log: its history does not begin where theirs does")
            found.append(self._told(case, event))
        return found

    def _told(self, case: Case, event: int) -> Moment:
        log = self.log
        stars = math.nan if log.ratings is None else float(log.ratings[event])
        said = int(self._numbers[REVIEW][event])
        words = self._spoken[said - 1] if said else Spoken("", "")
        texts = {}
        for name in (REVIEW, HEADLINE):
            number = int(self._numbers[name][event])
            texts[name] = log.columns[name].names[number - 1] if number else ""
        return Moment(case, stars, texts[REVIEW], texts[HEADLINE], words.feature, words.explanation)

    @property
    def scale(self) -> tuple[float, ...]:
        """Every rating of the log, the worst first; none where nothing is rated."""
        ratings = self.log.ratings
        return () if ratings is None else tuple(np.unique(ratings[~np.isnan(ratings)]).tolist())

    def knowing(self, facts: Collection[str]) -> Ints:
        """The numbers of the events of which all of these is known: `stars`, `review`, `headline`, `feature`, `explanation`."""
        known = np.ones(self.log.n_events, dtype=np.bool_)
        if "stars" in facts:
            known &= np.zeros_like(known) if self.log.ratings is None else ~np.isnan(self.log.ratings)
        for name in (REVIEW, HEADLINE):
            if name in facts:
                known &= self._numbers[name] > 0
        for name in ("feature", "explanation"):
            if name in facts:
                said = np.array([False, *(bool(getattr(one, name)) for one in self._spoken)])
                known &= said[self._numbers[REVIEW]]
        return np.flatnonzero(known)

    @cached_property
    def _numbers(self) -> Mapping[str, Ints]:
        """(n_events,) the number of each event's review and headline; 0 where there is none."""
        told = {name: self.log.columns.get(name) for name in (REVIEW, HEADLINE)}
        nothing = np.zeros(self.log.n_events, dtype=np.int64)
        return {name: nothing if one is None else np.nan_to_num(one.values).astype(np.int64) for name, one in told.items()}
