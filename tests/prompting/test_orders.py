"""The right order from who knows it, an even one from who looks at places alone, and how much is asked (R3 to R5, R7, L5)."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fathom.prompting.orders import WAYS, Ordered, Pair, Point, Question, Said, WaySettings, Whole

Judge = Callable[[Question], Said]


def knowing(worth: list[float]) -> Judge:
    """Knows what everything is worth."""

    def judge(question: Question) -> Said:
        match question:
            case Whole(shown):
                return sorted(shown, key=lambda place: -worth[place])
            case Pair(first, second):
                return float(worth[first] > worth[second]) if worth[first] != worth[second] else 0.5
            case Point(place):
                return worth[place]

    return judge


def first_liked(question: Question) -> Said:
    """Likes what stands first, whatever it is."""
    return question.shown if isinstance(question, Whole) else 1.0


def played(way: str, n: int, judge: Judge, *, seed: int = 0, **settings: object) -> tuple[Ordered, int, int]:
    """The order, how many questions were asked, and how many times somebody waited for answers."""
    questions = WAYS[way](n, WaySettings.model_validate(settings), np.random.default_rng(seed))
    asked, turns, answers = 0, 0, None
    while True:
        try:
            batch = next(questions) if answers is None else questions.send(answers)
        except StopIteration as over:
            return over.value, asked, turns
        asked, turns, answers = asked + len(batch), turns + 1, [judge(question) for question in batch]


@pytest.mark.parametrize("way", WAYS)
@given(worth=st.lists(st.integers(0, 10**6), min_size=1, max_size=24, unique=True))
def test_who_knows_gives_the_true_order(way: str, worth: list[int]) -> None:
    truth = sorted(range(len(worth)), key=lambda place: -worth[place])
    found, _, _ = played(way, len(worth), knowing([float(one) for one in worth]), passes=30, window=30, step=1)
    assert list(found.order) == truth
    assert [found.scores[place] for place in found.order] == sorted(found.scores, reverse=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 21])
def test_an_order_has_every_place_once(way: str, n: int) -> None:
    luck = np.random.default_rng(3)

    def guessing(question: Question) -> Said:
        return luck.permutation(question.shown).tolist() if isinstance(question, Whole) else float(luck.integers(3)) / 2

    found, _, _ = played(way, n, guessing, window=4, step=2, passes=3, rounds=3)
    assert sorted(found.order) == list(range(n))


def test_how_much_is_asked() -> None:
    n, judge = 20, knowing([float(place * 7 % 20) for place in range(20)])
    assert played("listwise", n, judge, rounds=3)[1:] == (3, 1)
    assert played("pointwise", n, judge)[1:] == (n, 1)
    assert played("pairwise", n, judge)[1:] == (n * (n - 1), 1)
    windows = math.ceil((n - 8) / 4) + 1
    assert played("sliding", n, judge, window=8, step=4)[1:] == (windows, windows)
    bubbles = sum(n - 1 - settled for settled in range(5))
    assert played("passes", n, judge, passes=5)[1:] == (2 * bubbles, bubbles)
    # Building a heap takes at most 2 n comparisons, taking one from it at most 2 log2 n; each is asked in both orders.
    assert played("heapsort", n, judge)[1] <= 2 * (2 * n + 2 * n * math.log2(n))
    long = played("heapsort", 320, knowing([float(place * 7 % 320) for place in range(320)]))[1]
    assert long < 320 * 319 / 5


@pytest.mark.parametrize("way", ["sliding", "passes"])
def test_the_best_of_all_rises_from_the_end_to_the_front(way: str) -> None:
    found, _, _ = played(way, 30, knowing([float(place) for place in range(30)]), window=6, step=3, passes=1)
    assert found.order[0] == 29


@pytest.mark.parametrize("way", ["pairwise", "heapsort", "passes"])
def test_who_likes_the_first_of_two_changes_nothing_since_both_orders_are_asked(way: str) -> None:
    found, _, _ = played(way, 9, first_liked)
    assert found.order == tuple(range(9))
    if way == "pairwise":
        assert set(found.scores) == {4.0}


def test_who_keeps_the_order_that_is_shown_puts_everything_everywhere_when_orders_are_drawn_afresh() -> None:
    n, people = 5, 4000
    places = np.array([played("listwise", n, first_liked, seed=seed, rounds=3)[0].order.index(2) for seed in range(people)])
    share = np.bincount(places, minlength=n) / people
    # Ties of scores stand as they came, which moves a middle place a little; none is a fifth further from even.
    assert abs(share - 1 / n).max() < 0.04
    unshuffled = played("listwise", n, first_liked, rounds=3, shuffled=False)[0]
    assert unshuffled.order == tuple(range(n)), "without fresh orders what was liked for its place stays"


def test_orders_differ_between_rounds_and_between_people() -> None:
    def shown(seed: int) -> list[tuple[int, ...]]:
        batch = next(WAYS["listwise"](20, WaySettings(rounds=3), np.random.default_rng(seed)))
        return [question.shown for question in batch if isinstance(question, Whole)]

    assert len(set(shown(1))) == 3
    assert not set(shown(1)) & set(shown(2))
    assert shown(1) == shown(1)


def test_rounds_are_merged_as_told() -> None:
    replies = iter([[0, 1, 2], [1, 0, 2], [1, 2, 0]])
    borda, _, _ = played("listwise", 3, lambda _: next(replies), rounds=3)
    assert borda.scores == (2 + 1 + 0, 1 + 2 + 2, 0 + 0 + 1)
    replies = iter([[0, 1, 2], [1, 0, 2], [1, 2, 0]])
    fused, _, _ = played("listwise", 3, lambda _: next(replies), rounds=3, merge="reciprocal")
    assert fused.scores == pytest.approx((1 / 61 + 1 / 62 + 1 / 63, 1 / 62 + 2 / 61, 2 / 63 + 1 / 62))
    assert borda.order == fused.order == (1, 0, 2)


def test_pairs_that_disagree_share_a_point() -> None:
    def torn(question: Question) -> Said:
        assert isinstance(question, Pair)
        return 1.0 if {*question} == {0, 1} else float(question.first < question.second)

    found, _, _ = played("pairwise", 3, torn)
    assert found.scores == (1.5, 1.5, 0.0)


def test_windows_must_overlap() -> None:
    with pytest.raises(ValidationError, match="step 5 leaves nothing in common between windows of 5: write a smaller step"):
        WaySettings(window=5, step=5)
