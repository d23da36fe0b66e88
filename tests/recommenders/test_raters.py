"""Ratings foretold from ratings, by hand and by a planted law; strangers are served as everybody is (R6)."""

import numpy as np
import pytest

from fathom.data.splits import leave_one_out
from fathom.errors import DataError
from fathom.evaluation.ratings import Ratings
from fathom.metrics import area_under_curve
from fathom.recommenders.raters import Biases, Factors, GlobalMean, raters_of, truths
from fathom.records import Case, Interactions

LOG = Interactions(("a", "b"), np.array([0, 3, 5]), np.array([1, 2, 3, 1, 2]), ratings=np.array([5, 3, np.nan, 4, 2], dtype=np.float32))


def test_means_are_worked_out_by_hand() -> None:
    assert GlobalMean.of(LOG).rate([Case(0, (), 1)]).tolist() == [3.5]
    items = Biases.of(LOG, 3, people=False, shrink=2.0)
    # Item 1 has 5 and 4, item 2 has 3 and 2, item 3 nothing: sums of what is above 3.5, over n + 2.
    assert items.rate([Case(9, (), item) for item in (1, 2, 3)]).tolist() == pytest.approx([3.5 + 2 / 4, 3.5 - 2 / 4, 3.5])
    people = Biases.of(LOG, 3, items=False, shrink=1.0)
    told = people.rate([Case(9, (1, 2, 3), 3, ratings=(5.0, 3.0, float("nan"))), Case(9, (), 3)])
    assert told.tolist() == pytest.approx([3.5 + (1.5 - 0.5) / 3, 3.5])


def planted(*, users: int = 300, items: int = 40, seed: int = 0) -> Interactions:
    """Ratings are a bias of each, and a product of two hidden tastes."""
    rng = np.random.default_rng(seed)
    taste, kind = rng.normal(size=(users, 2)), rng.normal(size=(items + 1, 2))
    own, quality = rng.normal(0, 0.5, users), rng.normal(0, 0.5, items + 1)
    taken = np.stack([rng.permutation(items)[:20] + 1 for _ in range(users)])
    rows = np.arange(users)[:, None]
    ratings = 3 + own[:, None] + quality[taken] + (taste[rows] * kind[taken]).sum(axis=2) + rng.normal(0, 0.1, taken.shape)
    return Interactions(
        tuple(map(str, range(users))), np.arange(0, 20 * users + 1, 20), taken.ravel(), ratings=ratings.ravel().astype(np.float32)
    )


def test_each_rung_finds_more_of_a_planted_law() -> None:
    log = planted()
    split = leave_one_out(log)
    given = truths(log, split.test)
    off = {name: float(np.sqrt(np.mean((rater.rate(split.test) - given) ** 2))) for name, rater in raters_of(split.train, 40).items()}
    assert off["biases"] < min(off["person-mean"], off["item-mean"]) < off["global-mean"]
    assert off["factors"] < 0.6 * off["biases"]


def test_who_is_asked_together_and_what_a_user_is_called_change_nothing() -> None:
    log = planted(users=60)
    split = leave_one_out(log)
    rater = Factors.of(split.train, 40)
    whole = rater.rate(split.test)
    assert rater.rate(split.test[7:8])[0] == whole[7]
    stranger = [Case(-1, case.history, case.target, ratings=case.ratings) for case in split.test[:5]]
    assert rater.rate(stranger).tolist() == whole[:5].tolist()


def test_truths_are_the_target_s_own_ratings() -> None:
    log = planted(users=3)
    split = leave_one_out(log)
    assert log.ratings is not None
    assert truths(log, split.test).tolist() == pytest.approx(log.ratings[[19, 39, 59]].tolist())
    with pytest.raises(DataError, match="does not begin where their history does"):
        truths(log, [Case(0, (), 999)])
    plain = Interactions(("a",), np.array([0, 1]), np.array([1]))
    for call in (lambda: GlobalMean.of(plain), lambda: truths(plain, [Case(0, (), 1)])):
        with pytest.raises(DataError, match="this log has no ratings"):
            call()


def test_errors_are_kept_case_by_case() -> None:
    told = Ratings(np.arange(4), np.array([4.0, 2.0, 3.0, 5.0]), np.array([5.0, 2.0, 1.0, 4.0]))
    means, low, high = told.figures()
    assert means == {"rmse": pytest.approx(np.sqrt(6 / 4)), "mae": 1.0, "auc": 1.0}
    assert low["rmse"] <= means["rmse"] <= high["rmse"]
    assert low["mae"] <= 1.0 <= high["mae"]
    assert "auc" not in Ratings(np.arange(2), np.array([4.0, 5.0]), np.array([5.0, 4.0])).figures()[0], "all are liked"
    assert area_under_curve(np.zeros(4), np.array([True, False, True, False])) == 0.5
    with pytest.raises(DataError, match="1 of 2 ratings that were foretold are no numbers"):
        Ratings(np.arange(2), np.array([1.0, np.nan]), np.array([1.0, 2.0]))
