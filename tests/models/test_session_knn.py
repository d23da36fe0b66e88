"""Session neighbours against numbers worked by hand, and against plain cosine."""

import math
from pathlib import Path

import numpy as np
import pytest
from planted import CATALOG as SHELVES
from planted import walks

from fathom.models.model import TrainingData
from fathom.models.session_knn import DAY, PLACES, STAN, STEPS, VSTAN, STANSettings, VSkNN, VSkNNSettings, VSTANSettings
from fathom.records import Case, Catalog, Interactions, cases_of
from fathom.training.run import Run

CATALOG = Catalog(tuple("abcdef"), tuple("ABCDEF"))


def log(*histories: list[int], ends: list[int] | None = None) -> Interactions:
    return Interactions(
        users=tuple(map(str, range(len(histories)))),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        items=np.array([item for history in histories for item in history], dtype=np.int64),
        times=None if ends is None else np.repeat(ends, [len(history) for history in histories]).astype(np.int64),
    )


def data(tmp_path: Path, interactions: Interactions) -> TrainingData:
    return TrainingData(interactions, (), CATALOG, Run(tmp_path), "fit")


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("same", [1, 1, 1]),
        ("div", [1 / 3, 2 / 3, 1]),
        ("linear", [0.8, 0.9, 1]),
        ("quadratic", [1 / 9, 4 / 9, 1]),
        ("log", [1 / math.log10(3.7), 1 / math.log10(2.7), 1 / math.log10(1.7)]),
    ],
)
def test_places_weigh_what_the_paper_says_and_none_less_than_nothing(name: str, weights: list[float]) -> None:
    assert PLACES[name](np.array([1.0, 2, 3]), 3).tolist() == pytest.approx(weights)  # type: ignore[index]
    assert (PLACES[name](np.arange(1.0, 41), 40) >= 0).all()  # type: ignore[index]
    assert (STEPS[name](np.arange(1.0, 41)) >= 0).all()  # type: ignore[index]


def test_steps_back_count_what_the_paper_says() -> None:
    steps = np.array([1.0, 2, 20])
    assert STEPS["div"](steps).tolist() == pytest.approx([1, 1 / 2, 1 / 20])
    assert STEPS["quadratic"](steps).tolist() == pytest.approx([1, 1 / 4, 1 / 400])
    assert STEPS["linear"](steps).tolist() == pytest.approx([0.9, 0.8, 0])
    assert STEPS["log"](steps).tolist() == pytest.approx([1 / math.log10(2.7), 1 / math.log10(3.7), 1 / math.log10(21.7)])


def test_vsknn_by_hand(tmp_path: Path) -> None:
    # s = a b c, weights div: 1/3, 2/3, 1. n0 = a d: 1/9, newest shared a, 3 steps back. n1 = c b e: (1 + 2/3) / 3, c, 1 step. n2 = f: none.
    model = VSkNN.fit(data(tmp_path, log([1, 4], [3, 2, 5], [6])), VSkNNSettings(weighting="div", item_weighting="div", rareness=2.0))
    [row] = model.score(cases_of([(1, 2, 3)])).tolist()
    rare = 1 + 2 * math.log(3)
    assert row[1:] == pytest.approx([rare / 27, rare * 5 / 9, rare * 5 / 9, rare / 27, rare * 5 / 9, 0])


def test_the_latest_place_of_a_repeated_item_is_its_place(tmp_path: Path) -> None:
    model = VSkNN.fit(data(tmp_path, log([1, 4], [2, 5])), VSkNNSettings(weighting="div", item_weighting="same", rareness=0.0))
    [twice, once] = model.score(cases_of([(1, 2, 1), (2, 1)])).tolist()
    assert twice == once
    stan = STAN.fit(data(tmp_path, log([1, 4, 5, 1])), STANSettings())
    assert stan.tensors["items"].tolist() == [4, 5, 1]
    assert stan.tensors["places"].tolist() == [1, 2, 3]


def test_stan_by_hand(tmp_path: Path) -> None:
    # s = a b at day 10; place_range 2: w = exp(-1/2), 1. n0 = b d e, ended on day 4; n1 = a f, on day 9.
    settings = STANSettings(place_range=2.0, day_range=3.0, item_range=4.0)
    model = STAN.fit(data(tmp_path, log([2, 4, 5], [1, 6], ends=[4 * DAY, 9 * DAY])), settings)
    [row] = model.score([Case(-1, (1, 2), 0, times=(10 * DAY, 10 * DAY))]).tolist()
    w = math.exp(-1 / 2)
    norm = math.sqrt(w**2 + 1)
    first = 1 / (norm * math.sqrt(3)) * math.exp(-6 / 3)
    second = w / (norm * math.sqrt(2)) * math.exp(-1 / 3)
    assert row[1:] == pytest.approx([second, first, 0, first * math.exp(-1 / 4), first * math.exp(-2 / 4), second * math.exp(-1 / 4)])


def test_vstan_multiplies_stan_by_rarity_and_recent_agreement(tmp_path: Path) -> None:
    given = data(tmp_path, log([2, 4, 5], [1, 6], [4], ends=[4 * DAY, 9 * DAY, 2 * DAY]))
    asked = [Case(-1, (1, 2), 0, times=(10 * DAY, 10 * DAY))]
    plain = STAN.fit(given, STANSettings(place_range=2.0, day_range=3.0, item_range=4.0)).score(asked)[0, 1:].numpy()
    settings = VSTANSettings(place_range=2.0, day_range=3.0, item_range=4.0, shared_range=2.5, rareness=3.0)
    found = VSTAN.fit(given, settings).score(asked)[0, 1:].numpy()
    rare = 1 + 3 * np.log([3, 3, 1, 3 / 2, 3, 3])
    older = math.exp(-1 / 2.5)  # the second session's newest shared item is one place before the end
    assert found == pytest.approx(plain * rare * [older, 1, 1, 1, 1, older])


@pytest.mark.parametrize("model", [STAN, VSTAN])
def test_without_decays_and_rarity_both_are_cosine_neighbours(tmp_path: Path, model: type[STAN] | type[VSTAN]) -> None:
    interactions, cases = walks(60)
    neutral = {"place_range": 0.0, "day_range": 0.0, "item_range": 0.0, "neighbours": 10}
    neutral |= {"shared_range": 0.0, "rareness": 0.0} if model is VSTAN else {}
    settings = model.settings_type().model_validate(neutral)
    fitted = model.fit(TrainingData(interactions, (), SHELVES, Run(tmp_path), "fit"), settings)  # type: ignore[arg-type]
    sessions = [set(interactions.history(user).tolist()) for user in range(60)]
    for case in cases[:12]:
        mine = set(case.history)
        similar = np.array([len(mine & other) / math.sqrt(len(mine) * len(other)) for other in sessions])
        kept = np.lexsort((fitted._age, -similar))[:10]
        expected = np.zeros(61)
        for session in kept:
            expected[list(sessions[session])] += similar[session]
        assert fitted.score([case])[0, 1:].numpy() == pytest.approx(expected[1:], abs=1e-5)


def test_only_the_latest_sessions_are_compared(tmp_path: Path) -> None:
    given = data(tmp_path, log([1, 2], [1, 3], [1, 4], ends=[30, 10, 20]))
    [row] = VSkNN.fit(given, VSkNNSettings(candidates=2)).score(cases_of([(1,)])).tolist()
    assert [item for item in range(2, 7) if row[item] > 0] == [2, 4]
    untimed = data(tmp_path, log([1, 2], [1, 3], [1, 4]))
    [row] = VSkNN.fit(untimed, VSkNNSettings(candidates=2)).score(cases_of([(1,)])).tolist()
    assert [item for item in range(2, 7) if row[item] > 0] == [3, 4]


def test_an_index_that_grows_is_the_index_of_all(tmp_path: Path) -> None:
    first, second = log([1, 2, 1], [3, 4], ends=[5, 6]), log([2, 5], [], [6, 1, 2], ends=[7, 8, 9])
    both = log([1, 2, 1], [3, 4], [2, 5], [], [6, 1, 2], ends=[5, 6, 7, 8, 9])
    grown = VSTAN.fit(data(tmp_path, first), VSTANSettings()).continued(data(tmp_path, second))
    whole = VSTAN.fit(data(tmp_path, both), VSTANSettings())
    assert {name: tensor.tolist() for name, tensor in grown.tensors.items()} == {
        name: tensor.tolist() for name, tensor in whole.tensors.items()
    }
    cases = cases_of([(1, 2), (6,), ()])
    assert grown.score(cases).tolist() == whole.score(cases).tolist()
