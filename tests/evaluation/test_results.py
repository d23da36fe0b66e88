"""`results.json` holds what its schema says, or its error says where it does not."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fathom.errors import DataError
from fathom.evaluation import results
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.rows import make_comparisons, make_row
from fathom.files import Json
from fathom.records import Case, Ending, Episode, Tape, Turn

GOOD: dict[str, Json] = {
    "schema": "fathom-results/1",
    "command": "fathom run recipes/demo.yaml",
    "recipe": "demo",
    "commit": "abc",
    "versions": {"numpy": "2.4.6"},
    "machine": {"cores": "2"},
    "seed": 1,
    "dataset": {
        "name": "world",
        "fingerprint": "f00",
        "users": 3,
        "items": 5,
        "interactions": 9,
        "split": "leave-one-out",
        "ranked": "full ranking",
        "asked": "users",
    },
    "rows": [
        {
            "model": "popularity",
            "metrics": {"ndcg@10": 0.2, "turns": 1.0},
            "low": {"ndcg@10": 0.1},
            "high": {"ndcg@10": 0.3},
            "users": 3,
            "seconds": 0.5,
            "peak_mb": 90.0,
        },
        {"model": "text", "metrics": {"ndcg@10": 0.1}, "low": {}, "high": {}, "users": 3, "seconds": 0.5, "peak_mb": 90.0},
    ],
    "comparisons": [
        {"a": "popularity", "b": "text", "metric": "ndcg@10", "ratio": 2.0, "difference": 0.1, "p": 0.04, "low": None, "high": None}
    ],
}


def written(tmp_path: Path, value: Json) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(value))
    return path


def test_read_and_written_again_is_the_same_file(tmp_path: Path):
    found = results.read(written(tmp_path, GOOD))
    results.write(tmp_path / "again.json", found)
    assert json.loads((tmp_path / "again.json").read_text()) == GOOD
    row = found.row("text")
    assert row is not None
    assert row.metrics["ndcg@10"] == 0.1
    assert found.row("nobody") is None


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (["schema"], "fathom-results/9", "schema: Input should be 'fathom-results/1'"),
        (["rows", 1, "metrics", "ndcg@10"], "good", "rows[1].metrics.ndcg@10: Input should be a valid number"),
        (["rows", 0, "low", "ndcg@10"], 0.25, "rows[0]: Value error, the interval of 'ndcg@10', 0.25 to 0.3, does not hold its mean 0.2"),
        (["rows", 0, "low"], {}, "low and high must name the same metrics; only one of them has ['ndcg@10']"),
        (["rows", 1, "model"], "popularity", "two rows are called 'popularity'"),
        (["comparisons", 0, "b"], "txet", "a comparison names 'txet', which is no row; the rows are popularity, text"),
        (["comparisons", 0, "p"], 1.5, "comparisons[0].p: Input should be less than or equal to 1"),
        (["dataset", "user"], 3, "dataset.user: Extra inputs are not permitted"),
        (["rows", 0, "users"], 0, "rows[0].users: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(tmp_path: Path, place: list[str | int], value: Json, complaint: str):
    broken = copy.deepcopy(GOOD)
    inside: object = broken
    for part in place[:-1]:
        inside = inside[part]  # type: ignore[index]
    inside[place[-1]] = value  # type: ignore[index]
    with pytest.raises(DataError, match=re.escape(complaint)):
        results.read(written(tmp_path, broken))


def test_a_missing_key_no_object_and_no_file_are_errors(tmp_path: Path):
    broken = copy.deepcopy(GOOD)
    del broken["seed"]
    with pytest.raises(DataError, match=r"results\.json: seed: Field required"):
        results.read(written(tmp_path, broken))
    with pytest.raises(DataError, match="valid dictionary"):
        results.read(written(tmp_path, [1, 2]))
    with pytest.raises(DataError, match="there is no such file"):
        results.read(tmp_path / "none.json")


def test_not_a_number_is_refused(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(GOOD).replace("0.04", "NaN"))
    with pytest.raises(DataError, match=re.escape("comparisons[0].p: Input should be a finite number")):
        results.read(path)


def test_the_machine_is_described_without_names_and_paths():
    told = results.machine()
    assert {"system", "processor", "cores", "memory", "python", "gpu"} == told.keys()
    assert not any(re.search(r"/(home|root|tmp|usr|work)\b", fact) for fact in told.values())
    assert "numpy" in results.versions()
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", results.commit())


def evaluation(ranks: list[int]) -> Evaluation:
    n = len(ranks)
    items = np.tile(np.arange(1, 21), (n, 1))
    return Evaluation(np.arange(n), np.full(n, 3), np.array(ranks), items, depth=100, seconds=2.0, peak_mb=50.0)


def test_a_row_holds_every_metric_with_its_interval():
    row = make_row("sasrec", evaluation([1, 2, 0, 15]), counts=np.ones(41, dtype=np.int64))
    assert row.metrics["recall@20"] == 0.75
    assert row.metrics["coverage@10"] == 0.25
    assert {"ndcg@1", "ndcg@5", "ndcg@10", "ndcg@20", "recall@10", "mrr@10", "mrr"} <= row.low.keys() == row.high.keys()
    assert row.low["recall@20"] < 0.75 < row.high["recall@20"]
    assert "coverage@10" not in row.low


def test_an_agents_row_holds_the_strict_column_with_its_interval():
    case = Case(0, (), 3)
    good = Episode(case, (Turn("", "x", (3, 4)),), "", ("1. three",), (3,), (4, 3), (), Ending.ANSWERED, "")
    lost = Episode(case, (), "", (), (), (), ("calls",), Ending.UNREADABLE, "")
    row = make_row("agent-warm", evaluation([1, 2]), episodes=[good, lost])
    assert row.metrics["recall@10"] == 1.0  # served: the retriever's list stands in
    assert row.metrics["strict_recall@10"] == 0.5
    assert row.low["strict_recall@10"] == 0.0
    scored = make_row("agent-warm-scored", evaluation([2, 2]), episodes=[good, lost], finish="scored")
    assert scored.metrics["strict_ndcg@10"] == pytest.approx(0.6309298 / 2)


def test_every_key_and_every_metric_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    tape = Tape((1, 2), (False, True), (0.0, 0.0), 1)
    told = Episode(Case(0, (), 3), (Turn("", "x", (3,)),), "", ("x",), (None,), (), ("echo",), Ending.ANSWERED, "", tape)
    row = make_row("agent-warm", evaluation([1]), counts=np.ones(41, dtype=np.int64), episodes=[told])
    families = {"ending/answered": "ending/<why>", "fault/echo": "fault/<check>", "ndcg@10/turns=1": "ndcg@10/turns=t"}
    for name in row.metrics:
        plain = re.sub(r"^(ndcg|recall|mrr)@\d+$", r"\1@k", name)
        known = families.get(name, "strict_ndcg@10" if name.startswith("strict_") else plain)
        assert f"`{known}`" in text, name
    for model in (results.Results, results.Row, results.Difference, results.DatasetFacts):
        for key in model.model_fields:
            assert f"`{key.rstrip('_')}`" in text, key


def test_comparisons_are_paired_by_case():
    evaluations = {"a": evaluation([1, 1, 1, 1]), "b": evaluation([2, 2, 2, 2]), "c": evaluation([1, 2])}
    (found,) = make_comparisons(evaluations, [("a", "b")])
    assert found.difference == pytest.approx(1 - 0.6309298)
    assert found.ratio == pytest.approx(1 / 0.6309298)
    assert found.p < 0.001
    with pytest.raises(DataError, match="'a' and 'c' were not asked the same cases"):
        make_comparisons(evaluations, [("a", "c")])
