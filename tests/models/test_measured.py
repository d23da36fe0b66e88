"""What the committed table of MovieLens-1M must show of the named models (M15), and that every one of them is in it."""

from pathlib import Path

import pytest

from fathom.evaluation.results import Results, Row, read
from fathom.models.registry import MODELS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.fixture(scope="module")
def ml1m() -> Results:
    return read(RESULTS / "sequential-ml1m.json")


def row(results: Results, name: str) -> Row:
    found = results.row(name)
    assert found is not None, name
    return found


def test_every_named_model_is_in_the_table_and_asked_the_same_users(ml1m: Results) -> None:
    rows = {one.model: one for one in ml1m.rows}
    assert set(MODELS) <= set(rows)
    assert {one.users for one in rows.values()} == {6040}
    assert ml1m.dataset.ranked == "full ranking"
    assert "seen items excluded" in ml1m.dataset.split


def test_who_must_reach_what_reaches_it(ml1m: Results) -> None:
    best = row(ml1m, "sasrec+").metrics["ndcg@10"]
    assert best >= 0.195
    assert best >= row(ml1m, "bert4rec").metrics["ndcg@10"]


def test_what_learns_from_the_log_is_above_the_floor(ml1m: Results) -> None:
    floor = row(ml1m, "popularity")
    for name in set(MODELS) - {"popularity", "bm25", "text"}:  # films are not chosen by the words of their plots
        assert row(ml1m, name).low["ndcg@10"] > floor.high["ndcg@10"], name
