"""Candidate lists: stored ones under the source's names, drawn ones around the target, and the layout of LLMRank (L7, L8, L10)."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from stored import stored_protocol

from fathom.data import candidates
from fathom.data.sources import read
from fathom.data.splits import given
from fathom.errors import ConfigError, DataError
from fathom.evaluation.evaluate import evaluate
from fathom.metrics import ndcg
from fathom.models.model import TrainingData
from fathom.models.registry import MODELS
from fathom.recommenders.among import Among
from fathom.records import Case, EventColumn, Interactions
from fathom.training.run import Run

DATA = Path(os.environ.get("FATHOM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def test_the_stored_protocol_is_read_with_its_parts(tmp_path: Path) -> None:
    dataset = read(stored_protocol(tmp_path / "games"))
    names, users = dataset.catalog.names, dataset.interactions.users
    assert users == ("5", "7", "9", "11")
    assert set(names) == {str(item) for item in range(9)}, "what is in a list alone is kept"
    assert names != tuple(sorted(names)), "the source's numbers tell of the answer"
    assert dataset.catalog.title(1) == f"Film {names[0]} & more"
    split = given(dataset.interactions)

    def told(cases: tuple[Case, ...]) -> dict[str, tuple[list[str], str]]:
        return {users[case.user]: ([names[item - 1] for item in case.history], names[case.target - 1]) for case in cases}

    assert told(split.valid) == {"9": (["4", "1"], "5"), "5": (["0", "1", "2"], "3"), "7": (["2", "3"], "0")}
    assert told(split.test) == {"9": (["4", "1", "5"], "6"), "5": (["0", "1", "2", "3"], "7"), "7": (["2", "3", "0"], "1")}
    assert split.train.n_events == 10
    assert not split.train.columns, "which part an event is of is nothing to learn from"
    assert all(not case.columns for case in split.test)
    lists = candidates.stored(tmp_path / "games" / "candidates.parquet", dataset)
    assert {users[user]: [names[item - 1] for item in items] for user, items in lists.items()} == {
        "9": ["6", "8"],
        "5": ["8", "7"],
        "7": ["1", "8"],
    }
    assert candidates.ceiling(split.test, lists) == 1.0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"user": [5, 99], "presented": [[1], [2]]}, "row 2: the data set has no user '99'"),
        ({"user": [5], "presented": [[1, 77]]}, "row 1: the catalogue has no item '77', which user '5' is to be offered"),
        ({"user": [5], "presented": [[1, 2, 1]]}, "row 1: user '5' is offered an item twice"),
        ({"user": [5], "list": [[1]]}, r"columns 'user' and 'presented' \(or 'candidates'\) are needed; there are user, list"),
    ],
)
def test_lists_that_cannot_be_are_told_with_their_row(rows: dict[str, list[object]], said: str, tmp_path: Path) -> None:
    dataset = read(stored_protocol(tmp_path / "games"))
    pl.DataFrame(rows).write_parquet(tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=said):
        candidates.stored(tmp_path / "mine.parquet", dataset)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(DataError, match="no readable Parquet file of candidates"):
        candidates.stored(tmp_path / "text.parquet", dataset)


def test_a_protocol_without_a_column_says_which(tmp_path: Path) -> None:
    folder = stored_protocol(tmp_path / "games")
    pl.DataFrame({"user": [5], "history": [[0]]}).write_parquet(folder / "users.parquet")
    with pytest.raises(DataError, match=r"users\.parquet: there is no column 'target'; the columns are user, history"):
        read(folder)


def log_with_parts(parts: list[float], names: tuple[str, ...] = ("test", "train", "valid")) -> Interactions:
    column = EventColumn(np.array(parts, dtype=np.float32), names)
    return Interactions(("a", "b"), np.array([0, 3, 6]), np.arange(1, 7), columns={"part": column})


def test_parts_are_taken_as_given_and_several_events_of_one_part_are_several_cases() -> None:
    split = given(log_with_parts([2, 1, 1, 2, 3, 1]))
    assert [(case.user, case.history, case.target) for case in split.test] == [(0, (1,), 2), (0, (1, 2), 3), (1, (4, 5), 6)]
    assert [(case.user, case.history, case.target) for case in split.valid] == [(1, (4,), 5)]
    assert split.train.items.tolist() == [1, 4]
    assert "2 cases have no history" in given(log_with_parts([3, 1, 1, 1, 1, 1])).leaks


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (log_with_parts([2, 3, 2, 2, 3, 1]), "user 'a' has events of train behind those that are asked for"),
        (log_with_parts([2, 2, 1, 2, 1, 3]), "user 'b' has events of train behind"),
        (log_with_parts([2, 3, 1, 2, 3, np.nan]), "needs a 'part' of every event, and 1 of 6 are missing"),
        (log_with_parts([1, 1, 1, 1, 1, 1], ("learn",)), "says train, valid, test of each event; here it says learn"),
        (Interactions(("a", "b"), np.array([0, 3, 6]), np.arange(1, 7)), "this log has no such column"),
    ],
)
def test_parts_that_cannot_be(log: Interactions, said: str) -> None:
    with pytest.raises(DataError, match=said):
        given(log)


def test_drawn_lists_hold_the_target_and_nothing_taken_wherever_chance_puts_it() -> None:
    cases = [Case(user, (1, 2, 3), 4 + user % 5) for user in range(400)]
    lists = candidates.drawn(cases, 60, negatives=9, seed=1)
    places = np.array([lists[case.user].index(case.target) for case in cases])
    assert all(len(set(items)) == 10 and not {1, 2, 3} & set(items) for items in lists.values())
    assert np.bincount(places, minlength=10).min() > 20
    assert candidates.drawn(cases[7:9], 60, negatives=9, seed=1)[8] == lists[8]
    assert candidates.drawn(cases, 60, negatives=9, seed=2) != lists
    assert len(set(lists.values())) == 400
    with pytest.raises(ConfigError, match="60 negatives for user 0, but only 56 items are neither taken nor the target"):
        candidates.drawn(cases, 60, negatives=60, seed=1)


def test_random_items_are_of_each_person_and_all_different() -> None:
    cases = [Case(user, (1,), 2) for user in range(50)]
    lists = candidates.random_items(cases, 30, 10, seed=3)
    assert all(len(set(items)) == 10 and min(items) >= 1 and max(items) <= 30 for items in lists.values())
    assert len(set(lists.values())) == 50
    assert candidates.random_items(cases[7:8], 30, 10, seed=3)[7] == lists[7]
    assert {item for items in lists.values() for item in items} == set(range(1, 31))
    assert len(candidates.random_items(cases[:1], 4, 10, seed=3)[0]) == 4


def test_lists_are_kept_as_they_are(tmp_path: Path) -> None:
    lists = {4: (3, 1), 2: (5,)}
    candidates.save(lists, tmp_path / "lists.parquet")
    assert list(candidates.load(tmp_path / "lists.parquet").items()) == list(lists.items())
    assert candidates.ceiling([Case(4, (), 1), Case(2, (), 1)], lists) == 0.5


@pytest.mark.data
def test_on_the_stored_lists_popularity_is_what_is_published_and_titles_say_more(tmp_path: Path) -> None:
    folder = DATA / "llmrank-games"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: set FATHOM_DATA to the folder of the measured data")
    dataset = read(folder)
    split, lists = given(dataset.interactions), candidates.stored(folder / "candidates.parquet", dataset)
    lexical = MODELS["bm25"]
    bm25 = lexical.fit(TrainingData(split.train, (), dataset.catalog, Run(tmp_path), "fit"), lexical.settings_type()())
    judged = evaluate(Among(bm25, lists), split.test, even_ties=True)
    assert float(judged.per_case("ndcg@10").mean()) >= 0.57
    assert (len(split.test), split.train.n_events, dataset.catalog.n_items) == (6000, 339_172, 16_859)
    counts = np.bincount(split.train.items, minlength=dataset.catalog.n_items + 1)
    ranks = np.array([sorted(lists[case.user], key=lambda item: -counts[item]).index(case.target) + 1 for case in split.test])
    assert [round(100 * float(ndcg(ranks, k).mean()), 1) for k in (1, 5, 10, 20)] == pytest.approx([28.2, 47.2, 52.8, 57.3], abs=0.2)
