"""What is reported apart: items that training hardly knows."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fathom.evaluation.evaluate import Evaluation
from fathom.pipeline.table import part_comparisons, part_figures, parts
from fathom.pipeline.workshop import Workshop

COUNTS = np.array([0, 30, 5, 20, 9, 10, 50, 5, 40, 60, 70, *[80] * 20])
WORK = cast(Workshop, SimpleNamespace(counts=COUNTS, recipe=SimpleNamespace(seed=0)))


def evaluation(targets: list[int], ranks: list[int]) -> Evaluation:
    users = np.arange(len(targets))
    given: dict[str, Any] = {"items": np.zeros((len(targets), 20), dtype=np.int64), "depth": 100, "seconds": 1.0, "peak_mb": 1.0}
    return Evaluation(users=users, targets=np.array(targets), ranks=np.array(ranks), **given)


def test_parts_are_by_count_and_the_coldest_tenth() -> None:
    found = parts(WORK)
    assert found["rare/"].tolist() == [2, 4, 7]
    assert sorted(found["cold/"].tolist()) == [2, 4, 7], "three of thirty items"


def test_figures_and_comparisons_are_of_these_cases_alone() -> None:
    a, b = evaluation([2, 9, 4], [1, 50, 0]), evaluation([2, 9, 4], [3, 1, 0])
    figures = part_figures(WORK, a)
    assert figures["rare/recall@10"] == figures["cold/recall@10"] == pytest.approx(0.5)
    told = part_comparisons(WORK, {"a": a, "b": b}, [("a", "b"), ("a", "missing")])
    assert [(one.metric, one.difference) for one in told] == [
        ("rare/ndcg@10", pytest.approx(0.25)),
        ("cold/ndcg@10", pytest.approx(0.25)),
    ]
    nothing = evaluation([9, 10], [1, 1])
    assert part_figures(WORK, nothing) == {}
    assert part_comparisons(WORK, {"a": nothing, "b": nothing}, [("a", "b")]) == []
