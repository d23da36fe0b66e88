"""Neighbours among past sessions: V-SkNN (arXiv:1803.09587), STAN (Garg et al., SIGIR 2019) and VSTAN (arXiv:1910.12781).

    s: the present session, |s| its distinct items, p their places in it, 1 the oldest;   n: a past session that shares an item with s
    score(i) = sum over the k most similar n that hold i of  similarity(s, n) * what the item i of n counts

What is written twice in a session stands at its latest place. A user's whole history is one session, unless the data have been cut.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Literal, Self, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from fathom.models.model import TensorModel, TrainingData, ranked_scores, refuse_unknown
from fathom.models.searching import Range, SearchSpace
from fathom.records import PAD, Case, Interactions, Ints
from fathom.settings import Settings

DAY = 86_400
Doubles = npt.NDArray[np.float64]

Fade = Literal["same", "div", "linear", "quadratic", "log"]

PLACES: Mapping[Fade, Callable[[Doubles, int], Doubles]] = {
    "same": lambda place, length: np.ones_like(place),
    "div": lambda place, length: place / length,
    "linear": lambda place, length: np.maximum(0.0, 1 - 0.1 * (length - place)),
    "quadratic": lambda place, length: (place / length) ** 2,
    "log": lambda place, length: 1 / np.log10(length - place + 1.7),
}
"""What the item at a place of the present session weighs; below zero, where the linear one would go after ten steps, it is nothing."""

STEPS: Mapping[Fade, Callable[[Doubles], Doubles]] = {
    "same": lambda step: np.ones_like(step),
    "div": lambda step: 1 / step,
    "linear": lambda step: np.maximum(0.0, 1 - 0.1 * step),
    "quadratic": lambda step: 1 / step**2,
    "log": lambda step: 1 / np.log10(step + 1.7),
}
"""What a neighbour counts whose newest shared item is so many steps from the end of the present session, 1 for its last item."""


class NeighbourSettings(Settings):
    """Which past sessions are asked."""

    neighbours: int = Field(default=500, ge=1)
    """The most similar sessions that are listened to (k)."""
    candidates: int = Field(default=5000, ge=1)
    """Of the past sessions that share an item, so many of the latest are compared."""
    latest: int = Field(default=50, ge=1)
    """The newest distinct items of the present session that are read."""


FADES: tuple[Fade, ...] = get_args(Fade)
NEIGHBOURS: SearchSpace = {
    "neighbours": Range(20, 1500, log=True),
    "candidates": Range(500, 10_000, log=True),
    "latest": Range(3, 100, log=True),
}


class VSkNNSettings(NeighbourSettings):
    """How V-SkNN weighs."""

    weighting: Fade = "linear"
    """How an item of the present session counts for less the older it is."""
    item_weighting: Fade = "linear"
    """How a neighbour counts for less the older the newest item is that both share."""
    rareness: float = Field(default=5.0, ge=0)
    """How much rare items gain: a score is multiplied by 1 + this * log(sessions / sessions with the item)."""


class STANSettings(NeighbourSettings):
    """How STAN weighs; each factor is exp(-distance / range), and 0 switches it off."""

    place_range: float = Field(default=5.0, ge=0)
    """In places: how far back an item of the present session counts (lambda_spw)."""
    day_range: float = Field(default=0.0, ge=0)
    """In days: how long ago a past session may have ended (lambda_snh); nothing where times are unknown."""
    item_range: float = Field(default=1.4, ge=0)
    """In places: how far an item of the neighbour may be from the last one that both share (lambda_inh)."""


class VSTANSettings(STANSettings):
    """How VSTAN weighs: as STAN, and two factors more."""

    shared_range: float = Field(default=5.0, ge=0)
    """In places: how far back the newest shared item may stand in the present session (lambda_ipw)."""
    rareness: float = Field(default=5.0, ge=0)
    """As for V-SkNN."""


AnyNeighbours = TypeVar("AnyNeighbours", bound=NeighbourSettings)


@dataclass(frozen=True, slots=True)
class Session:
    """The present session as it is compared."""

    items: Ints
    """(S,) distinct items, oldest first."""
    places: Doubles
    """(n_items + 1,) where each item stands, from 1; 0 where it does not."""
    time: int
    """Seconds since 1970 of its last event; -1 where nobody knows."""

    @property
    def length(self) -> int:
        """How many distinct items it has."""
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Near:
    """Past sessions beside the present one: their items side by side, `offsets` where each one's begin."""

    sessions: Ints
    """(K,) which ones."""
    items: Ints
    """(M,) their items, one session after the other."""
    places: Doubles
    """(M,) where each stands in its session, from 1."""
    offsets: Ints
    """(K,) where each session begins."""

    def owners(self) -> Ints:
        """(M,) 0..K-1: whose each item is."""
        sizes = np.diff(np.append(self.offsets, len(self.items)))
        return np.repeat(np.arange(len(self.sessions)), sizes)

    def most(self, values: Doubles) -> Doubles:
        """(K,) the largest of each session's `values` (M,)."""
        found: Doubles = np.maximum.reduceat(values, self.offsets)
        return found


class SessionNeighbours(TensorModel[AnyNeighbours], Generic[AnyNeighbours]):
    """Remembers all sessions of the log; a subclass says how alike two are, and what an item of a neighbour counts."""

    goes_on = True

    @classmethod
    def fit(cls, data: TrainingData, settings: AnyNeighbours) -> Self:
        """The sessions of the log."""
        return cls(data.catalog.n_items, settings, _remembered(data.interactions))

    def continued(self, data: TrainingData) -> Self:
        """A model that also knows the sessions of this log, as if fitted to both at once."""
        more = _remembered(data.interactions)
        start = self.tensors["offsets"][-1]
        tensors = {name: torch.cat([self.tensors[name], more[name]]) for name in ("items", "places", "ends")}
        tensors["offsets"] = torch.cat([self.tensors["offsets"], more["offsets"][1:] + start])
        return type(self)(self.n_items, self.settings, tensors)

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32; 0 for items that no neighbour holds."""
        refuse_unknown(cases, self.n_items)
        scores = np.zeros((len(cases), self.n_items + 1), dtype=np.float32)
        for row, case in zip(scores, cases, strict=True):
            session = self._session(case)
            near, similarity = self._nearest(session)
            if len(near.sessions):
                counted = similarity[near.owners()] * self.counts(session, near)
                row += np.bincount(near.items, weights=counted, minlength=self.n_items + 1).astype(np.float32)
        return ranked_scores(scores)

    @abstractmethod
    def similarity(self, session: Session, near: Near) -> Doubles:
        """(K,) how alike the present session and each past one are."""

    @abstractmethod
    def counts(self, session: Session, near: Near) -> Doubles:
        """(M,) what each item of each neighbour counts, beside the similarity."""

    @cached_property
    def rarity(self) -> Doubles:
        """(n_items + 1,) log(sessions / sessions with the item); 0 where no session has it."""
        held = np.bincount(self._items, minlength=self.n_items + 1)
        return np.where(held > 0, np.log(max(len(self._offsets) - 1, 1) / np.maximum(held, 1)), 0.0)

    def days_since(self, session: Session, near: Near) -> Doubles:
        """(K,) days from the end of each past session to the present one's; 0 where a time is not known."""
        ends = self._ends[near.sessions]
        known = (ends >= 0) & (session.time >= 0)
        return np.where(known, np.maximum(session.time - ends, 0) / DAY, 0.0)

    def _session(self, case: Case) -> Session:
        newest_first = list(dict.fromkeys(reversed(case.history)))[: self.settings.latest]
        items = np.array(newest_first[::-1], dtype=np.int64)
        places = np.zeros(self.n_items + 1)
        places[items] = np.arange(1, len(items) + 1)
        return Session(items, places, case.times[-1] if case.times else -1)

    def _nearest(self, session: Session) -> tuple[Near, Doubles]:
        """The most similar sessions, and how similar they are; ties to the later session."""
        starts, stops = self._holders.indptr[session.items], self._holders.indptr[session.items + 1]
        holders = [self._holders.indices[start:stop] for start, stop in zip(starts, stops, strict=True)]
        sharing: Ints = np.unique(np.concatenate(holders)).astype(np.int64) if holders else np.empty(0, dtype=np.int64)
        if len(sharing) > self.settings.candidates:
            sharing = np.sort(sharing[np.argsort(self._age[sharing], kind="stable")[: self.settings.candidates]])
        if not len(sharing):
            return self._near(sharing), np.empty(0)
        similarity = self.similarity(session, self._near(sharing))
        best = np.lexsort((self._age[sharing], -similarity))[: self.settings.neighbours]
        best = np.sort(best[similarity[best] > 0])
        return self._near(sharing[best]), similarity[best]

    def _near(self, sessions: Ints) -> Near:
        starts, sizes = self._offsets[sessions], np.diff(self._offsets)[sessions]
        offsets = np.cumsum(sizes) - sizes
        at = np.repeat(starts - offsets, sizes) + np.arange(int(sizes.sum()))
        return Near(sessions, self._items[at], self._places[at], offsets)

    @cached_property
    def _items(self) -> Ints:
        return self.tensors["items"].numpy().astype(np.int64)

    @cached_property
    def _places(self) -> Doubles:
        return self.tensors["places"].numpy().astype(np.float64)

    @cached_property
    def _offsets(self) -> Ints:
        return self.tensors["offsets"].numpy()

    @cached_property
    def _ends(self) -> Ints:
        return self.tensors["ends"].numpy()

    @cached_property
    def _age(self) -> Ints:
        """(sessions,) 0 for the session that ended last; where times are missing, the one that stands last in the log."""
        age = np.empty(len(self._ends), dtype=np.int64)
        age[np.lexsort((np.arange(len(self._ends)), self._ends))[::-1]] = np.arange(len(self._ends))
        return age

    @cached_property
    def _holders(self) -> "sparse.csr_array[np.float32]":
        """Per item the sessions that hold it, ascending."""
        owners = np.repeat(np.arange(len(self._offsets) - 1), np.diff(self._offsets))
        ones = np.ones(len(owners), dtype=np.float32)
        return sparse.csr_array((ones, (self._items, owners)), shape=(self.n_items + 1, max(len(self._offsets) - 1, 1)))


class VSkNN(SessionNeighbours[VSkNNSettings]):
    """V-SkNN: similarity is the sum of the shared items' weights over |s|."""

    kind = "vsknn"
    about = "what similar past sessions held, recent ones first"
    searched: ClassVar[SearchSpace] = NEIGHBOURS | {"weighting": FADES, "item_weighting": FADES, "rareness": Range(0.0, 20.0)}

    def similarity(self, session: Session, near: Near) -> Doubles:
        """(K,) sum over shared items of w(place) / |s|."""
        weights = PLACES[self.settings.weighting](session.places, session.length) * (session.places > 0)
        found: Doubles = np.add.reduceat(weights[near.items], near.offsets) / session.length
        return found

    def counts(self, session: Session, near: Near) -> Doubles:
        """(M,) (1 + rareness * idf) * d(steps back to the newest shared item)."""
        step = session.length + 1 - near.most(session.places[near.items])
        return (1 + self.settings.rareness * self.rarity[near.items]) * STEPS[self.settings.item_weighting](step)[near.owners()]


class STAN(SessionNeighbours[STANSettings]):
    """STAN: cosine with three exponential decays."""

    kind = "stan"
    about = "past sessions by cosine, faded by place, day and distance"
    searched: ClassVar[SearchSpace] = NEIGHBOURS | {
        "place_range": Range(0.5, 50.0, log=True),
        "item_range": Range(0.5, 50.0, log=True),
        "day_range": (0.0, 10.0, 100.0, 1000.0),
    }

    def similarity(self, session: Session, near: Near) -> Doubles:
        """(K,) the weighted cosine, less the longer ago the past session ended."""
        return _stan_similarity(self, session, near)

    def counts(self, session: Session, near: Near) -> Doubles:
        """(M,) less the farther an item stands from the last shared one."""
        return _near_the_shared(self.settings, session, near)


class VSTAN(SessionNeighbours[VSTANSettings]):
    """VSTAN: STAN's similarity and decays, and rare items and recent agreement count more."""

    kind = "vstan"
    about = "STAN, where rare items and recent agreement count more"
    searched: ClassVar[SearchSpace] = STAN.searched | {"shared_range": Range(0.5, 50.0, log=True), "rareness": Range(0.0, 20.0)}

    def similarity(self, session: Session, near: Near) -> Doubles:
        """(K,) as STAN."""
        return _stan_similarity(self, session, near)

    def counts(self, session: Session, near: Near) -> Doubles:
        """(M,) as STAN, times (1 + rareness * idf), times exp((place of the newest shared item - |s|) / shared_range)."""
        settings = self.settings
        recent = _fading(session.length - near.most(session.places[near.items]), settings.shared_range)[near.owners()]
        return _near_the_shared(settings, session, near) * (1 + settings.rareness * self.rarity[near.items]) * recent


def _stan_similarity(model: SessionNeighbours[STANSettings] | SessionNeighbours[VSTANSettings], session: Session, near: Near) -> Doubles:
    """(K,) sum of the shared items' w / (sqrt(sum w^2) sqrt(|n|)), times the decay of days; w = exp((place - |s|) / place_range)."""
    settings = model.settings
    weights = _fading(session.length - session.places, settings.place_range) * (session.places > 0)
    sizes = np.diff(np.append(near.offsets, len(near.items)))
    shared = np.add.reduceat(weights[near.items], near.offsets)
    found: Doubles = shared / (np.sqrt((weights**2).sum()) * np.sqrt(sizes)) * _fading(model.days_since(session, near), settings.day_range)
    return found


def _near_the_shared(settings: STANSettings, session: Session, near: Near) -> Doubles:
    """(M,) exp(-places between an item of the neighbour and the last one in it that both share / item_range)."""
    last_shared = near.most(np.where(session.places[near.items] > 0, near.places, 0.0))
    return _fading(np.abs(near.places - last_shared[near.owners()]), settings.item_range)


def _fading(distance: Doubles, reach: float) -> Doubles:
    """exp(-distance / reach); 1 everywhere for a reach of 0, which is switched off."""
    return np.exp(-distance / reach) if reach else np.ones_like(distance)


def _remembered(log: Interactions) -> dict[str, Tensor]:
    """The sessions of a log: distinct items with their latest places, oldest first, and when each session ended; empty ones are none."""
    some = np.flatnonzero(np.diff(log.offsets) > 0)
    owners = np.repeat(np.arange(len(some)), np.diff(log.offsets)[some])
    backwards = np.arange(log.n_events)[::-1]
    _, first = np.unique(owners[backwards] * (int(log.items.max(initial=PAD)) + 1) + log.items[backwards], return_index=True)
    kept = np.sort(backwards[first])
    counts = np.bincount(owners[kept], minlength=len(some))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(len(kept)) - np.repeat(offsets[:-1], counts) + 1
    ends = np.full(len(some), -1, dtype=np.int64) if log.times is None else log.times[log.offsets[1:][some] - 1]
    return {
        "items": torch.from_numpy(log.items[kept].astype(np.int32)),
        "places": torch.from_numpy(places.astype(np.int32)),
        "offsets": torch.from_numpy(offsets.astype(np.int64)),
        "ends": torch.from_numpy(ends),
    }
