"""What other people's tools read of a run gives the figures that stand in its table."""

from pathlib import Path

import ir_measures
import numpy as np
import pytest

from fathom.evaluation.evaluate import Evaluation
from fathom.records import Catalog
from fathom.reports.trec import write_qrels, write_run

CATALOG = Catalog(("m 1", "m2", "m3", "m%4"), ("A", "B", "C", "D"))


def asked(users: list[int], targets: list[object], ranks: list[object], items: list[list[int]]) -> Evaluation:
    return Evaluation(np.array(users), np.array(targets), np.array(ranks), np.array(items), depth=3, seconds=0.1, peak_mb=1.0)


def test_outside_names_stand_there_without_blanks_and_without_padding(tmp_path: Path) -> None:
    told = asked([0, 1], [2, 4], [1, 0], [[2, 1, 0], [3, 0, 0]])
    write_run(tmp_path / "run", told, CATALOG, users=("anna b", "bela"), tag="sasrec")
    assert (tmp_path / "run").read_text().splitlines() == [
        "anna%20b Q0 m2 1 2 sasrec",
        "anna%20b Q0 m%201 2 1 sasrec",
        "bela Q0 m3 1 1 sasrec",
    ]
    write_qrels(tmp_path / "qrels", told, CATALOG, users=("anna b", "bela"))
    assert (tmp_path / "qrels").read_text().splitlines() == ["anna%20b 0 m2 1", "bela 0 m%254 1"]


def test_several_questions_and_several_relevant_items_are_kept_apart(tmp_path: Path) -> None:
    told = asked([0, 0, 1], [[2, 1], [3, 0], [4, 0]], [[2, 0], [1, -1], [3, -1]], [[3, 2, 4], [3, 1, 2], [1, 2, 4]])
    write_run(tmp_path / "run", told, CATALOG, users=("a", "b"), tag="x")
    write_qrels(tmp_path / "qrels", told, CATALOG, users=("a", "b"))
    run = list(ir_measures.read_trec_run(str(tmp_path / "run")))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels")))
    assert {one.query_id for one in qrels} == {"a?1", "a?2", "b"}
    theirs = ir_measures.calc_aggregate([ir_measures.nDCG @ 3, ir_measures.R @ 3, ir_measures.RR], qrels, run)
    ours = {"nDCG@3": "ndcg@3", "R@3": "recall@3", "RR": "mrr"}
    for measure, value in theirs.items():
        assert value == pytest.approx(float(told.per_case(ours[str(measure)]).mean())), measure
