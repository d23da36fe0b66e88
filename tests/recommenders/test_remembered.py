"""What was answered once is answered again from memory, alike and at the price it had."""

from collections.abc import Sequence

import numpy as np
from worlds import film_case

from fathom.recommenders.remembered import Remembered
from fathom.records import Case, Ranking


class Counting:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        self.asked += [case.user for case in cases]
        items = np.stack([np.arange(1, k + 1) + 100 * case.user + exclude_history for case in cases])
        return Ranking(items, -items.astype(np.float32))


def case(user: int) -> Case:
    return Case(user, film_case().history, 3)


def test_only_what_is_new_is_asked() -> None:
    inner = Counting()
    once = Remembered(inner)
    first = once.recommend([case(1), case(2)], 5)
    assert once.saved == 0
    again = once.recommend([case(2), case(3), case(1)], 3)
    assert inner.asked == [1, 2, 3]
    assert again.items.tolist() == [first.items[1, :3].tolist(), [302, 303, 304], first.items[0, :3].tolist()]
    assert again.scores[0].tolist() == first.scores[1, :3].tolist()
    assert once.saved > 0


def test_longer_lists_and_other_exclusions_are_asked_anew() -> None:
    inner = Counting()
    once = Remembered(inner)
    once.recommend([case(1)], 2)
    assert len(once.recommend([case(1)], 4).items[0]) == 4
    assert once.recommend([case(1)], 2, exclude_history=False).items.tolist() == [[101, 102]]
    assert inner.asked == [1, 1, 1]
    assert once.saved == 0
