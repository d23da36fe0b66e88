"""Intervals and tests: exact where they can be, near scipy where they cannot, honest on simulated data."""

import numpy as np
import pytest
from scipy import stats

from fathom import metrics
from fathom.errors import DataError
from fathom.evaluation.compare import compare, interval


def values(seed: int, n: int = 500) -> metrics.Values:
    return metrics.ndcg(np.random.default_rng(seed).integers(0, 30, n), 10)


def test_identical_rows_differ_by_nothing_with_p_one():
    found = compare(values(1), values(1))
    assert (found.difference, found.low, found.high, found.p, found.ratio) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_a_row_that_is_better_for_every_user_is_surely_better():
    found = compare(values(1) + 0.1, values(1))
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.p == pytest.approx(2 / 10_001)  # the least that ten thousand resamples can say


def test_swapping_the_two_turns_the_sign_and_keeps_p():
    there, back = compare(values(1), values(2)), compare(values(2), values(1))
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.p) == (pytest.approx(-back.high, abs=0.003), pytest.approx(back.p, abs=0.03))
    assert there.ratio is not None
    assert back.ratio == pytest.approx(1 / there.ratio)


def test_same_seed_same_interval_and_another_seed_nearly_the_same():
    first, again, other = (interval(values(3), seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert other.low == pytest.approx(first.low, abs=0.005)


def test_interval_agrees_with_scipy():
    sample = values(4, 80)
    ours = interval(sample)
    theirs = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.004), pytest.approx(theirs.high, abs=0.004))


def test_paired_difference_agrees_with_scipy():
    a, b = values(5, 90), values(6, 90)
    ours = compare(a, b)
    theirs = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.006), pytest.approx(theirs.high, abs=0.006))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    truth = metrics.ndcg(np.arange(0, 30), 10).mean()
    covered = [
        found.low <= truth <= found.high for found in (interval(values(seed), resamples=1000) for seed in rng.integers(0, 2**31, 300))
    ]
    assert 0.91 <= np.mean(covered) <= 0.98  # 95 % aimed at; three standard errors of 300 trials are 3.8 points


def test_p_is_small_by_chance_about_as_often_as_it_says():
    rng = np.random.default_rng(12)
    pairs = [(values(int(s)), values(int(t))) for s, t in rng.integers(0, 2**31, (300, 2))]
    assert np.mean([compare(a, b, resamples=1000).p < 0.05 for a, b in pairs]) <= 0.09


def test_users_bring_all_their_cases():
    # two cases each, always alike: the same as one case each, and wider than treating the cases as strangers
    single = values(7, 200)
    doubled, users = np.repeat(single, 2), np.repeat(np.arange(200), 2)
    grouped, alone, strangers = interval(doubled, users), interval(single), interval(doubled)
    assert (grouped.low, grouped.high) == (pytest.approx(alone.low, abs=0.004), pytest.approx(alone.high, abs=0.004))
    assert grouped.high - grouped.low > 1.2 * (strangers.high - strangers.low)


def test_ratio_is_absent_where_there_is_nothing_to_divide_by():
    assert compare(np.array([1.0, 0.0]), np.zeros(2)).ratio is None


def test_different_cases_cannot_be_paired():
    with pytest.raises(DataError, match="3 values are given for one and 2 for the other"):
        compare(np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match="at least one case"):
        interval(np.zeros(0))
    with pytest.raises(DataError, match="3 values are given, but 2 users"):
        interval(np.zeros(3), np.array([1, 2]))


def test_drawing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    a, b = rng.random(300), rng.random(300)  # all values differ: 300 counts a resample
    whole = compare(a, b, resamples=2000)
    monkeypatch.setattr("fathom.evaluation.compare.CHUNK", 1000)
    assert compare(a, b, resamples=2000) == whole
