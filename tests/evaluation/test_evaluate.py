"""Every case is scored once, and what is kept is enough for every figure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fathom.errors import DataError, ModelError
from fathom.evaluation.evaluate import Evaluation, evaluate, paired
from fathom.records import Case, Ranking


@dataclass
class Fixed:
    """Recommends a fixed list, whoever asks, and remembers the batch sizes."""

    order: tuple[int, ...]
    batches: list[int] = field(default_factory=list)

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        self.batches.append(len(cases))
        rows = np.zeros((len(cases), k), dtype=np.int64)
        for row, case in zip(rows, cases, strict=True):
            left = [item for item in self.order if not (exclude_history and item in case.history)][:k]
            row[: len(left)] = left
        return Ranking(rows, np.where(rows > 0, -np.arange(k, dtype=np.float32), -np.inf).astype(np.float32))


@dataclass
class Broken:
    """Recommends exactly these rows."""

    rows: list[list[int]]

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        items = np.array(self.rows, dtype=np.int64)
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))


CASES = tuple(Case(user=user, history=(1 + user % 3,), target=4 + user % 4) for user in range(11))


def test_ranks_are_counted_after_the_history_is_left_out():
    found = evaluate(Fixed((1, 2, 3, 4, 5, 6)), CASES[:4], depth=5)
    # each history takes one of the items 1, 2, 3 away, so item 4 stands at place 3; item 7 is never recommended
    assert found.ranks.tolist() == [3, 4, 5, 0]
    assert found.metrics([5])["recall@5"] == 0.75
    assert found.metrics([5])["mrr"] == pytest.approx((1 / 3 + 1 / 4 + 1 / 5) / 4)


def test_all_that_is_relevant_has_a_rank(tmp_path: Path):
    cases = (Case(0, (1,), 2, later=(5, 2, 9)), Case(1, (), 3))
    found = evaluate(Fixed((1, 2, 3, 4, 5, 6)), cases, depth=5)
    assert found.ranks.tolist() == [[1, 4, 0], [3, -1, -1]]  # item 2 is relevant once
    assert found.next_items.tolist() == [2, 3]
    assert found.metrics([5])["precision@5"] == pytest.approx((2 / 5 + 1 / 5) / 2)
    found.save(tmp_path / "ranks.parquet")
    again = Evaluation.load(tmp_path / "ranks.parquet")
    assert (again.targets.tolist(), again.ranks.tolist()) == (found.targets.tolist(), found.ranks.tolist())
    alone = evaluate(Fixed((1, 2, 3, 4, 5, 6)), [Case(0, (1,), 2), Case(1, (), 3)], depth=5)
    with pytest.raises(DataError, match="not asked the same cases"):
        paired({"whole": found, "next": alone})


def test_pieces_are_the_whole():
    several = (*CASES[:3], Case(50, (1,), 2, later=(5, 3)), *CASES[3:])
    recommender = Fixed((6, 5, 4, 3, 2, 1))
    for cases in (CASES, several):
        whole = evaluate(recommender, cases, depth=5)
        pieces = Evaluation.joined([evaluate(recommender, cases[start : start + 4], depth=5) for start in range(0, len(cases), 4)])
        for name in ("users", "targets", "ranks", "items"):
            assert np.array_equal(getattr(whole, name), getattr(pieces, name)), name


@pytest.mark.parametrize("batch_size", [1, 3, 11, 64])
def test_batch_size_changes_nothing(batch_size: int):
    whole, cut = (evaluate(Fixed((6, 5, 4, 3, 2, 1)), CASES, depth=5, batch_size=size) for size in (100, batch_size))
    assert np.array_equal(whole.ranks, cut.ranks)
    assert np.array_equal(whole.items, cut.items)
    assert np.array_equal(whole.users, np.arange(11))


def test_progress_is_told_how_many_more_cases_are_done():
    told: list[int] = []
    evaluate(Fixed((1, 2)), CASES, depth=2, batch_size=4, progress=told.append)
    assert told == [4, 4, 3]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [([[1, 2]], "2 cases were asked for 2 items each"), ([[1, 1], [2, 3]], "holds an item twice"), ([[0, 1], [2, 3]], "has a gap")],
)
def test_a_recommender_that_breaks_its_contract_is_stopped(rows: list[list[int]], complaint: str):
    with pytest.raises(ModelError, match=complaint):
        evaluate(Broken(rows), CASES[:2], depth=2)


def test_nobody_to_ask_and_unknown_targets_are_errors():
    with pytest.raises(DataError, match="no cases to evaluate"):
        evaluate(Fixed((1,)), ())
    with pytest.raises(DataError, match="1 of 2 cases have no target"):
        evaluate(Fixed((1,)), (CASES[0], Case(user=-1, history=(1,), target=0)))


def test_a_cutoff_beyond_the_depth_is_refused_and_left_out_of_the_means():
    found = evaluate(Fixed((1, 2, 3, 4, 5, 6)), CASES, depth=5)
    assert "ndcg@10" not in found.metrics()
    with pytest.raises(DataError, match="lists of 5 items: evaluate again with depth 10"):
        found.per_case("ndcg@10")


def test_saved_and_loaded_is_the_same(tmp_path: Path):
    found = evaluate(Fixed((6, 5, 4)), CASES, depth=30)
    found.save(tmp_path / "ranks" / "fixed.parquet")
    again = Evaluation.load(tmp_path / "ranks" / "fixed.parquet")
    for name in ("users", "targets", "ranks", "items"):
        assert np.array_equal(getattr(found, name), getattr(again, name)), name
    assert (again.depth, again.seconds, again.peak_mb) == (found.depth, found.seconds, found.peak_mb)
    assert found.items.shape == (11, 20)
    assert pl.read_parquet(tmp_path / "ranks" / "fixed.parquet").columns == ["user", "target", "rank", "items"]


def test_a_file_of_something_else_is_named(tmp_path: Path):
    (tmp_path / "text.parquet").write_text("hello")
    pl.DataFrame({"user": [1]}).write_parquet(tmp_path / "other.parquet")
    for name in ("text", "other"):
        with pytest.raises(DataError, match=f"{name}.parquet: not a file of ranks"):
            Evaluation.load(tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="there is no such file"):
        Evaluation.load(tmp_path / "none.parquet")


def test_lists_alone_give_coverage_novelty_and_bias():
    figures = evaluate(Fixed((1, 2)), CASES, depth=20).list_figures(np.array([0, 5, 5, 0, 0]), k=10)
    assert figures["coverage@10"] == 0.5
    assert figures["popularity_bias@10"] == 0.75  # two equals at the top of four: (2 + 4) / 2 / 4


def test_pairing_needs_the_same_cases_in_the_same_order():
    first, turned = evaluate(Fixed((1, 2)), CASES), evaluate(Fixed((1, 2)), CASES[::-1])
    paired({"a": first, "b": first})
    with pytest.raises(DataError, match="'a' and 'b' were not asked the same cases"):
        paired({"a": first, "b": turned})


def test_a_subset_keeps_its_rows():
    found = evaluate(Fixed((1, 2, 3, 4, 5)), CASES, depth=5)
    part = found.subset(np.array([3, 0]))
    assert part.users.tolist() == [3, 0]
    assert part.ranks.tolist() == [int(found.ranks[3]), int(found.ranks[0])]
