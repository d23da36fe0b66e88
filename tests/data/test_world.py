"""What the built-in world promises: plausible, repeatable, and an oracle that tells the truth about it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fathom.data import world as world_module
from fathom.data.sessions import sessions
from fathom.data.splits import leave_one_out
from fathom.data.titles import canonical
from fathom.data.world import World, WorldSettings, build_world, statistics
from fathom.data.world_films import MOOD_NAMES
from fathom.data.world_laws import REACH, Moment
from fathom.data.world_oracle import Oracle
from fathom.data.world_words import GENRES, MOODS
from fathom.errors import ConfigError, DataError
from fathom.records import PAD, Case, Ranking


@cache
def small(*, planted: bool = False) -> World:
    return build_world(WorldSettings(films=300, users=400, seed=3, planted=planted))


def hits(ranking: Ranking, cases: Sequence[Case]) -> np.ndarray:
    """(B, k) whether each place of the ranking holds the target."""
    return ranking.items == np.array([case.target for case in cases])[:, None]


def ndcg(ranking: Ranking, cases: Sequence[Case]) -> float:
    found = hits(ranking, cases)
    return float((found / np.log2(np.arange(found.shape[1]) + 2)).sum(axis=1).mean())


def asked(world: World) -> tuple[Case, ...]:
    split = leave_one_out(world.dataset.interactions)
    return (*split.valid, *split.test)


def test_the_same_seed_makes_the_same_world() -> None:
    settings = WorldSettings(films=60, users=20, seed=8)
    assert build_world(settings).dataset.fingerprint == build_world(settings).dataset.fingerprint
    assert build_world(settings).dataset.fingerprint != build_world(settings.model_copy(update={"seed": 9})).dataset.fingerprint


@pytest.mark.parametrize("planted", [False, True])
def test_nobody_takes_a_film_twice_or_a_sequel_first(planted: bool) -> None:
    world = small(planted=planted)
    sequel = world.oracle.laws.films.sequel
    before = {int(part): first for first, part in enumerate(sequel.tolist()) if part != PAD}
    assert before, "there are series"
    for user in range(world.dataset.interactions.n_users):
        history = world.dataset.interactions.history(user).tolist()
        assert len(set(history)) == len(history)
        for place, film in enumerate(history):
            assert film not in before or before[film] in history[:place]


def test_titles_are_unique_and_tell_mood_genre_and_year() -> None:
    catalog = build_world(WorldSettings(users=10)).dataset.catalog
    assert len({canonical(title) for title in catalog.titles}) == catalog.n_items == 1000
    for item in range(1, catalog.n_items + 1):
        title = catalog.title(item)
        mood, genre = catalog.attributes["mood"][item - 1][0], catalog.attributes["genres"][item - 1][0]
        assert any(word in title for word in MOODS[mood])
        assert any(word in title for word in GENRES[genre])
        assert title.endswith(")")
        assert catalog.attributes["decade"][item - 1][0][:3] == title[-5:-2]
        assert catalog.descriptions[item - 1].count(".") == 1, "one sentence"


def test_parts_of_a_series_share_name_and_director_and_follow_in_time() -> None:
    world = small()
    catalog, sequel = world.dataset.catalog, world.oracle.laws.films.sequel
    for first in np.flatnonzero(sequel).tolist():
        second = int(sequel[first])
        for attribute in ("series", "director", "mood"):
            assert catalog.attributes[attribute][first - 1] == catalog.attributes[attribute][second - 1]
        assert catalog.title(first)[-5:-1] < catalog.title(second)[-5:-1]


def test_draws_follow_the_written_distribution() -> None:
    world = small()
    draws = 60_000
    # A moment with an open series, a little history and a drifted taste, asked again and again.
    first = int(np.flatnonzero(world.oracle.laws.films.sequel)[0])
    other = first % 300 + 1
    taken = np.zeros((draws, 301), dtype=np.bool_)
    taken[:, [PAD, first, other]] = True
    recent = np.tile(np.array([other, first, *[PAD] * (REACH - 2)]), (draws, 1))
    moment = Moment(np.full(draws, 7), np.full(draws, 2), recent, np.full(draws, -1), taken)
    one = Moment(moment.users[:1], moment.steps[:1], recent[:1], moment.craved[:1], taken[:1])
    expected = world.oracle.laws.distribution(one)[0]
    drawn = world.oracle.laws.draw(moment, np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=301)
    assert expected.sum() == pytest.approx(1)
    assert expected[world.oracle.laws.films.sequel[first]] > 0.4
    assert not counts[expected == 0].any(), "nothing impossible happens"
    deviation = (counts - draws * expected)[expected > 0] / np.sqrt(draws * expected[expected > 0])
    # Each deviation is about standard normal: their squares average 1, none of some 300 is beyond 4.5.
    assert (deviation**2).mean() == pytest.approx(1, abs=0.4)
    assert np.abs(deviation[draws * expected[expected > 0] > 20]).max() < 4.5


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize("reads_ratings", [True, False])
def test_the_oracle_is_right_as_often_as_it_says(planted: bool, reads_ratings: bool) -> None:
    world = small(planted=planted)
    oracle = world.oracle if reads_ratings else world.oracle.without_ratings()
    cases = asked(world)
    ranking = oracle.recommend(cases, 10)
    for depth in (1, 10):
        said = ranking.scores[:, :depth].astype(np.float64).sum(axis=1)
        happened = hits(ranking, cases)[:, :depth].sum(axis=1)
        error = np.sqrt((said * (1 - said)).sum())  # standard deviation of a sum of independent coins
        assert abs(happened.sum() - said.sum()) < 4 * error


def test_nobody_ranks_better_than_the_oracle() -> None:
    world = small()
    cases = asked(world)
    counts = np.bincount(world.dataset.interactions.items, minlength=301)
    popular = np.array([[item for item in np.argsort(-counts, kind="stable") if item not in {PAD, *case.history}][:10] for case in cases])
    best = ndcg(world.oracle.recommend(cases, 10), cases)
    assert best > 2 * ndcg(Ranking(popular, np.zeros(popular.shape, dtype=np.float32)), cases)
    likely = world.oracle.probabilities(cases)
    rng = np.random.default_rng(0)
    for noise in (0.3, 1.0):  # its own knowledge, blurred
        blurred = np.argsort(-likely * np.exp(rng.normal(0, noise, size=likely.shape)), axis=1)[:, :10]
        assert ndcg(Ranking(blurred, np.zeros(blurred.shape, dtype=np.float32)), cases) < best


def test_a_shortened_history_gets_the_same_answer() -> None:
    world = small()
    cases = asked(world)[:50]
    short = [replace(case, history=case.history[-3:], ratings=(), times=()) for case in cases]
    np.testing.assert_array_equal(world.oracle.probabilities(short), world.oracle.probabilities(cases))


def test_the_oracle_ranks_the_whole_catalogue_and_ends_in_padding() -> None:
    world = small()
    case = asked(world)[0]
    everything = world.oracle.recommend([case], 310, exclude_history=False)
    assert sorted(everything.items[0].tolist()) == [PAD] * 10 + list(range(1, 301))
    without = world.oracle.recommend([case], 310)
    assert not set(without.items[0].tolist()) & set(case.history)
    assert (np.diff(without.scores[0][: 300 - len(case.history)]) <= 0).all()
    assert world.oracle.recommend([], 5).items.shape == (0, 5)
    assert world.oracle.recommend([Case(user=0, history=(), target=PAD)], 5).items.all()


def test_what_never_happened_is_refused() -> None:
    world = small()
    case = asked(world)[0]
    with pytest.raises(DataError, match="user -1 is not of this world"):
        world.oracle.recommend([replace(case, user=-1)], 5)
    with pytest.raises(DataError, match="never happened in this world"):
        world.oracle.recommend([replace(case, history=case.history[::-1])], 5)
    with pytest.raises(ConfigError, match="k is 0"):
        world.oracle.recommend([case], 0)


@pytest.mark.parametrize("planted", [False, True])
def test_a_saved_oracle_is_the_same_oracle(planted: bool, tmp_path: Path) -> None:
    world = small(planted=planted)
    world.oracle.save(tmp_path / "oracle")
    again = Oracle.load(tmp_path / "oracle")
    np.testing.assert_array_equal(again.probabilities(asked(world)[:40]), world.oracle.probabilities(asked(world)[:40]))


def test_a_folder_without_an_oracle_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Oracle.load(tmp_path)
    small().oracle.save(tmp_path / "oracle")
    (tmp_path / "oracle" / "oracle.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="build the world again"):
        Oracle.load(tmp_path / "oracle")
    (tmp_path / "oracle" / "oracle.json").write_text("{}")
    with pytest.raises(DataError, match="not an oracle of schema"):
        Oracle.load(tmp_path / "oracle")


def test_a_planted_preference_shows_in_ratings_and_not_in_films() -> None:
    world = small(planted=True)
    films, log = world.oracle.laws.films, world.dataset.interactions
    assert log.ratings is not None
    obeyed, same_after = [], {True: [], False: []}
    for user in range(log.n_users):
        moods = films.mood[log.history(user)].tolist()
        ratings = log.ratings[log.offsets[user] : log.offsets[user + 1]]
        for place in range(2, len(moods)):
            earlier = [mood for mood in moods[:place] if mood != moods[place - 1]]
            if earlier:
                loved = bool(ratings[place - 1] == 5)
                obeyed.append(moods[place] == (moods[place - 1] if loved else earlier[-1]))
                same_after[loved].append(moods[place] == moods[place - 1])
    assert np.mean(obeyed) > 0.75
    assert np.mean(same_after[True]) > 0.75
    assert np.mean(same_after[False]) < 0.25
    coin = log.ratings == 5
    assert np.mean(coin) == pytest.approx(0.5, abs=0.02)
    by_mood = [coin[films.mood[log.items] == mood].mean() for mood in range(len(MOOD_NAMES)) if (films.mood[log.items] == mood).sum() > 400]
    assert np.ptp(by_mood) < 0.15, "which films they are does not tell the ratings"


def test_ratings_are_worth_much_in_a_planted_world_and_nothing_elsewhere() -> None:
    world = small(planted=True)
    cases = asked(world)
    assert ndcg(world.oracle.recommend(cases, 10), cases) > 1.2 * ndcg(world.oracle.without_ratings().recommend(cases, 10), cases)
    plain = small()
    left, right = (oracle.recommend(asked(plain)[:30], 10) for oracle in (plain.oracle, plain.oracle.without_ratings()))
    np.testing.assert_array_equal(left.items, right.items)


def test_tastes_drift_with_the_step_alone() -> None:
    tastes = small().oracle.laws.tastes
    users = np.arange(100)
    start, later = (tastes.at(users, np.full(100, step), 1.2) for step in (0, 15))
    assert np.abs(start - later).sum(axis=1).mean() > 0.3
    np.testing.assert_array_equal(later, tastes.at(users, np.full(100, 15), 1.2))
    np.testing.assert_array_equal(tastes.at(users, np.full(100, 0), 0.0), tastes.at(users, np.full(100, 15), 0.0))


def test_people_rate_higher_what_matches_their_taste() -> None:
    world = small()
    log, laws = world.dataset.interactions, world.oracle.laws
    assert log.ratings is not None
    users = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    fits = (laws.tastes.moods[users] == laws.films.mood[log.items, None]).any(axis=1)
    assert log.ratings[fits].mean() > log.ratings[~fits].mean() + 0.5
    assert set(np.unique(log.ratings).tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_time_goes_forward_by_more_than_a_film() -> None:
    log = small().dataset.interactions
    assert log.times is not None
    for user in range(log.n_users):
        assert (np.diff(log.times[log.offsets[user] : log.offsets[user + 1]]) >= 5399).all()


def test_a_world_of_sittings_is_cut_into_sessions_of_the_asked_size() -> None:
    log = build_world(WorldSettings(films=200, users=300, seed=3, sitting=4.0)).dataset
    cut = sessions(log, repeats="keep", longest=1000, shortest=1).interactions
    assert cut.n_events == log.interactions.n_events
    assert cut.n_events / cut.n_users == pytest.approx(4.0, rel=0.1)


def test_one_dial_makes_the_world_larger() -> None:
    settings = WorldSettings(films=100, users=50, size=4)
    dataset = build_world(settings).dataset
    assert (dataset.catalog.n_items, dataset.interactions.n_users) == (200, 200)


def test_the_default_world_is_plausible() -> None:
    figures = statistics(build_world(WorldSettings()).dataset)
    assert 0.4 < figures["popularity gini"] < 0.7
    assert 40_000 < figures["interactions"] < 60_000
    assert figures["length quantile 0%"] >= 5
    assert figures["length quantile 90%"] > 2 * figures["length quantile 50%"] * 0.9
    assert 3 < figures["mean rating"] < 4


def test_statistics_are_those_worked_by_hand() -> None:
    figures = statistics(build_world(WorldSettings(films=60, users=20)).dataset)
    dataset = build_world(WorldSettings(films=60, users=20)).dataset
    counts = np.bincount(dataset.interactions.items, minlength=61)[1:]
    # Gini: mean absolute difference of all pairs over twice the mean.
    gini = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert figures["popularity gini"] == pytest.approx(gini)
    assert figures["top tenth"] == pytest.approx(sorted(counts)[-6:] @ np.ones(6) / counts.sum())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"echo": 0.5, "popular": 0.5}, "leave nothing to taste"),
        ({"size": 150, "films": 10_000}, "can be named"),
        ({"film": 3}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_world_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WorldSettings.model_validate(given)


def test_the_command_prints_the_statistics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["world", "--size", "0.1"])
    world_module.main()
    printed = capsys.readouterr().out
    assert "popularity gini" in printed
    assert ["users", "150"] in [line.split() for line in printed.splitlines()]


def test_a_million_interactions_take_seconds() -> None:
    start = time.perf_counter()
    world = build_world(WorldSettings(size=20.5))
    assert world.dataset.interactions.n_events > 1_000_000
    assert time.perf_counter() - start < 60, "about three seconds on an idle core"
