"""Ratings by asking: what is shown, how answers are read, what happens to those that cannot be (R1, R2, R6)."""

import math

import pytest
from worlds import Scripted, film_catalog

from fathom.prompting.rate import PromptedRater, RaterSettings
from fathom.records import Case

CATALOG = film_catalog(40)
CASE = Case(0, (17, 18, 19), 1, ratings=(5.0, float("nan"), 2.0))
OTHERS = [(Case(user, (20 + user, 21 + user), 30 + user, ratings=(4.0, 3.0)), float(user % 5 + 1)) for user in range(8)]


def rater(policy: Scripted, **settings: object) -> PromptedRater:
    return PromptedRater(policy, CATALOG, RaterSettings.model_validate(settings), mean=3.3, others=OTHERS)


def prompt_to(policy: Scripted, row: int = 0) -> str:
    return policy.decode(policy.conversations[-1].tokens[row])


def test_the_words_are_these() -> None:
    policy = Scripted(["4"])
    assert rater(policy, words={"singular": "film", "plural": "films", "took": "saw", "take": "see"}).rate([CASE]).tolist() == [4.0]
    assert prompt_to(policy) == (
        "A person rated these films, from 1 to 5, the oldest first:\n- Film 17: 5\n- Film 19: 2\n\n"
        "Which rating from 1 to 5 will this person give to this film?\nDoom\nAnswer by the number alone.4"
    )


def test_what_cannot_be_read_falls_back_and_is_counted() -> None:
    told = rater(Scripted(["I cannot say."])).told([CASE, Case(1, (), 2)])
    assert [one.rating for one in told] == [3.5, 3.3]
    assert [one.tally["unreadable"] for one in told] == [1, 1]
    assert [one.tally["written"] for one in told] == [len("I cannot say.")] * 2


def test_ratings_beyond_the_scale_are_moved_into_it() -> None:
    assert rater(Scripted(["9"])).rate([CASE]).tolist() == [5.0]
    assert rater(Scripted(["0"]), lowest=0.5).rate([CASE]).tolist() == [0.5]


def test_the_expected_rating_follows_from_the_likelihoods_of_the_scale() -> None:
    shares = {"1": 0.1, "2": 0.1, "3": 0.2, "4": 0.4, "5": 0.2}
    policy = Scripted([], likes=lambda text: math.log(shares[text]))
    assert rater(policy, answers="likelihoods").rate([CASE])[0] == pytest.approx(0.1 + 0.2 + 0.6 + 1.6 + 1.0, rel=1e-5)
    halves = rater(Scripted([], likes=lambda text: 0.0), answers="likelihoods", lowest=0.5, step=0.5)
    assert halves.scale == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
    assert halves.rate([CASE])[0] == pytest.approx(2.75)


def test_examples_are_other_people_drawn_for_each_case() -> None:
    policy = Scripted(["3"])
    rater(policy, examples=3).rate([Case(user, (20 + user,), 30 + user, ratings=(4.0,)) for user in range(8)])
    shown = [prompt_to(policy, row) for row in range(8)]
    for user, text in enumerate(shown):
        examples = text.partition("A person rated")[0]
        assert examples.count("\nnext ") == 3
        assert f"next {CATALOG.title(30 + user)}:" not in examples
    assert len({text.partition("A person rated")[0] for text in shown}) > 4
