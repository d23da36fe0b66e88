"""Ratings out of replies, by their words and by their likelihoods (R1, R2)."""

import math

import pytest

from fathom.prompting.ratings import expected_rating, read_rating

REPLIES = {
    "4": 4.0,
    "4.5": 4.5,
    "4,5": 4.5,
    "4.5/5": 4.5,
    "3.5": 3.5,
    "4 out of 5": 4.0,
    "4 stars out of 5": 4.0,
    "four": 4.0,
    "Four out of five.": 4.0,
    "three and a half stars": 3.5,
    "3½": 3.5,
    "★★★★": 4.0,
    "Rating: 4": 4.0,
    "**Rating:** 4": 4.0,
    "Predicted rating = 2": 2.0,
    "I would rate it 3.": 3.0,
    "They gave Alien 5 and Heat 4, so my rating is 3": 3.0,
    "Alien (1979) is loved by them. Rating: 5": 5.0,
    "<think>a 1 or a 2?</think> 4": 4.0,
    "8/10": 4.0,
    "80 of 100": 4.0,
    "9": 5.0,
    "0": 1.0,
    "-3": 1.0,
    "Rating: 4 because of 7 reasons": 4.0,
    '{"rating": 4}': 4.0,
    "2 or 3, rather 3": 3.0,
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_rating_is_read_and_kept_within_the_scale(reply: str) -> None:
    assert read_rating(reply, lowest=1, best=5) == pytest.approx(REPLIES[reply])


@pytest.mark.parametrize("reply", ["", "I do not know.", "n/a", "none of them", "Alien3"])
def test_no_rating_is_none(reply: str) -> None:
    assert read_rating(reply, lowest=1, best=5) is None


def test_the_expected_rating_is_the_mean_over_what_was_asked_for() -> None:
    shares = {1: 0.1, 2: 0.1, 3: 0.2, 4: 0.3, 5: 0.1}  # a fifth goes to something else
    by_hand = (0.1 + 0.2 + 0.6 + 1.2 + 0.5) / 0.8
    assert expected_rating([math.log(share) for share in shares.values()], list(shares)) == pytest.approx(by_hand)
    assert expected_rating([-2000.0, -2001.0], [5, 1]) == pytest.approx((5 + math.exp(-1)) / (1 + math.exp(-1)))
