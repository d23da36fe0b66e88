"""How an order is got out of somebody who can be asked: all at once, in windows, by pairs, or one by one.

Each way is a generator: it yields questions that can be asked side by side, is sent their answers, and returns an order. It knows places
0..n-1 alone, in the order in which they came (the retriever's, best first); what nobody decides stays in that order. Whom it asks, how
that is put into words and what it costs are others' business (`prompting/rank.py`).
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from fathom.recommenders.mix import DAMPING
from fathom.settings import Settings


class Whole(NamedTuple):
    """Put these in order; answered by the same places, best first, or by some of them."""

    shown: tuple[int, ...]
    """Places, in the order in which they are shown."""


class Pair(NamedTuple):
    """Which of the two comes first? Answered by 1 for `first`, 0 for `second`, 1/2 where nobody can tell."""

    first: int
    second: int


class Point(NamedTuple):
    """How good is it? Answered by a number."""

    place: int


Question: TypeAlias = Whole | Pair | Point
Said: TypeAlias = Sequence[int] | float


@dataclass(frozen=True, slots=True)
class Ordered:
    """What comes out."""

    order: tuple[int, ...]
    """Places, best first."""
    scores: tuple[float, ...]
    """What speaks for each place, by place; equal ones are ties, which stand in `order` as they came."""


Exchange: TypeAlias = Generator[Sequence[Question], Sequence[Said], Ordered]


class WaySettings(Settings):
    """How often and how much at a time is asked."""

    rounds: int = Field(default=1, ge=1)
    """Of 'listwise': how often all are put in order, each time shown in an order of its own."""
    shuffled: bool = True
    """Of 'listwise': whether what is shown is in a drawn order, or as the retriever has it."""
    merge: Literal["borda", "reciprocal"] = "borda"
    """Of 'listwise': 'borda' adds n - 1 for a first place to 0 for a last one; 'reciprocal' adds 1 / (60 + rank)."""
    window: int = Field(default=10, ge=2)
    """Of 'sliding': so many are put in order at a time."""
    step: int = Field(default=5, ge=1)
    """Of 'sliding': how far the window moves, from the end to the front."""
    passes: int = Field(default=10, ge=1)
    """Of 'passes': so many first places are settled."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.step >= self.window:
            raise ValueError(f"step {self.step} leaves nothing in common between windows of {self.window}: write a smaller step")
        return self


def borda(rank: int, n: int) -> float:
    """n - 1 for the first place (rank 0), 0 for the last."""
    return n - 1.0 - rank


def reciprocal(rank: int, n: int) -> float:
    """Reciprocal rank fusion (Cormack et al. 2009)."""
    del n
    return 1 / (DAMPING + 1 + rank)


MERGES: Mapping[str, Callable[[int, int], float]] = {"borda": borda, "reciprocal": reciprocal}
"""How the places of several orders become a score."""


def listwise(n: int, settings: WaySettings, draw: np.random.Generator) -> Exchange:
    """Everything at once; over several rounds, each shown in another order, what was liked for its place alone evens out."""
    shown = [tuple(draw.permutation(n).tolist() if settings.shuffled else range(n)) for _ in range(settings.rounds)]
    orders = yield [Whole(one) for one in shown]
    scores = [0.0] * n
    for order in orders:
        assert isinstance(order, Sequence)
        # What is not named stays as the retriever has it, not as it was shown this time.
        for rank, place in enumerate([*order, *sorted(set(range(n)) - set(order))]):
            scores[place] += MERGES[settings.merge](rank, n)
    return _by(scores)


def sliding(n: int, settings: WaySettings, draw: np.random.Generator) -> Exchange:
    """Windows from the end to the front, so that the best can rise all the way (Sun et al., arXiv:2304.09542)."""
    del draw
    order = list(range(n))
    end = n
    while True:
        start = max(0, end - settings.window)
        [said] = yield [Whole(tuple(order[start:end]))]
        assert isinstance(said, Sequence)
        order[start:end] = [*said, *(place for place in order[start:end] if place not in said)]
        if start == 0:
            return Ordered(tuple(order), _ranks(order))
        end -= settings.step


def all_pairs(n: int, settings: WaySettings, draw: np.random.Generator) -> Exchange:
    """Each pair in both orders: n (n - 1) questions (Qin et al., arXiv:2306.17563)."""
    del settings, draw
    asked = [Pair(one, other) for one in range(n) for other in range(n) if one != other]
    wins = yield asked
    votes: defaultdict[frozenset[int], list[float]] = defaultdict(list)
    for pair, win in zip(asked, wins, strict=True):
        assert isinstance(win, float | int)
        votes[frozenset(pair)].append(win if pair.first < pair.second else 1 - win)
    scores = [0.0] * n
    for both, said in votes.items():
        one, other = sorted(both)
        share = _settled(said)
        scores[one] += share
        scores[other] += 1 - share
    return _by(scores)


def heapsort(n: int, settings: WaySettings, draw: np.random.Generator) -> Exchange:
    """A heap by pairs in both orders: O(n log n) questions (Qin et al., arXiv:2306.17563)."""
    del settings, draw
    heap = list(range(n))
    for root in reversed(range(n // 2)):
        yield from _sift(heap, root, n)
    for size in range(n - 1, 0, -1):
        heap[0], heap[size] = heap[size], heap[0]
        yield from _sift(heap, 0, size)
    return Ordered(tuple(heap), _ranks(heap))


def passes(n: int, settings: WaySettings, draw: np.random.Generator) -> Exchange:
    """Bubbles from the end to the front, each of which settles one more first place: O(k n) questions (Qin et al., arXiv:2306.17563)."""
    del draw
    order = list(range(n))
    for settled in range(min(settings.passes, n - 1)):
        for place in range(n - 1, settled, -1):
            if (yield from _before(order[place], order[place - 1])):
                order[place - 1], order[place] = order[place], order[place - 1]
    return Ordered(tuple(order), _ranks(order))


def pointwise(n: int, settings: WaySettings, draw: np.random.Generator) -> Exchange:
    """One by one: n questions."""
    del settings, draw
    said = yield [Point(place) for place in range(n)]
    return _by([float(one) for one in said if isinstance(one, float | int)])


WAYS: Mapping[str, Callable[[int, WaySettings, np.random.Generator], Exchange]] = {
    "listwise": listwise,
    "sliding": sliding,
    "pairwise": all_pairs,
    "heapsort": heapsort,
    "passes": passes,
    "pointwise": pointwise,
}
"""Name -> how an order comes about. A new one is a function and a line."""


def _sift(heap: list[int], root: int, size: int) -> Generator[Sequence[Question], Sequence[Said], None]:
    """Let heap[root] sink below whatever comes before it; the last of all is at the top in the end."""
    while (child := 2 * root + 1) < size:
        if child + 1 < size and (yield from _before(heap[child], heap[child + 1])):
            child += 1
        if not (yield from _before(heap[root], heap[child])):
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


def _before(one: int, other: int) -> Generator[Sequence[Question], Sequence[Said], bool]:
    """Whether `one` comes before `other`, asked in both orders; where the answers disagree, it stays as they came."""
    straight, turned = yield [Pair(one, other), Pair(other, one)]
    assert isinstance(straight, float | int)
    assert isinstance(turned, float | int)
    share = _settled([straight, 1 - turned])
    return share > 0.5 or (share == 0.5 and one < other)


def _settled(said: Sequence[float]) -> float:
    """A point where the answers in both orders agree; half of one where they do not."""
    mean = sum(said) / len(said)
    return 1.0 if mean > 0.5 and min(said) >= 0.5 else 0.0 if mean < 0.5 and max(said) <= 0.5 else 0.5


def _by(scores: Sequence[float]) -> Ordered:
    return Ordered(tuple(sorted(range(len(scores)), key=lambda place: (-scores[place], place))), tuple(scores))


def _ranks(order: Sequence[int]) -> tuple[float, ...]:
    """Scores that say the same as an order without ties."""
    scores = [0.0] * len(order)
    for rank, place in enumerate(order):
        scores[place] = float(-rank)
    return tuple(scores)
