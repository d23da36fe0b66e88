"""Metrics against numbers worked by hand and against ir-measures."""

import tracemalloc

import ir_measures
import numpy as np
import pytest

from fathom import metrics
from fathom.errors import ConfigError
from fathom.records import Ranking


def ranking(rows: list[list[int]]) -> Ranking:
    items = np.array(rows, dtype=np.int64)
    return Ranking(items, np.zeros(items.shape, dtype=np.float32))


def test_values_worked_by_hand():
    ranks = np.array([1, 2, 7, 10, 11, 0])
    assert metrics.recall(ranks, 10).tolist() == [1, 1, 1, 1, 0, 0]
    # 1/log2(2) = 1, 1/log2(3) = 0.63093, 1/log2(8) = 1/3, 1/log2(11) = 0.28906
    assert metrics.ndcg(ranks, 10) == pytest.approx([1, 0.6309298, 1 / 3, 0.2890648, 0, 0], abs=1e-6)
    assert metrics.reciprocal_rank(ranks, 10) == pytest.approx([1, 0.5, 1 / 7, 0.1, 0, 0])
    assert metrics.per_case("mrr", ranks)[4] == pytest.approx(1 / 11)  # no cut-off: rank 11 counts


def test_every_metric_agrees_with_ir_measures_on_random_runs():
    rng = np.random.default_rng(7)
    n_items, users, depth = 40, 60, 25
    lists = np.stack([rng.permutation(n_items)[:depth] + 1 for _ in range(users)])
    targets = rng.integers(1, n_items + 1, users)
    ranks = metrics.ranks_of(ranking(lists.tolist()), targets)
    assert (ranks == 0).any()
    assert (ranks > 10).any()
    asked = {"ndcg@10": ir_measures.nDCG @ 10, "ndcg@20": ir_measures.nDCG @ 20, "recall@5": ir_measures.R @ 5}
    asked |= {"recall@20": ir_measures.R @ 20, "mrr@10": ir_measures.RR @ 10, "mrr": ir_measures.RR, "recall@1": ir_measures.R @ 1}
    judgements = [ir_measures.Qrel(str(u), str(t), 1) for u, t in enumerate(targets)]
    run = [ir_measures.ScoredDoc(str(u), str(i), float(-place)) for u, row in enumerate(lists) for place, i in enumerate(row)]
    for name, measure in asked.items():
        theirs = {m.query_id: m.value for m in ir_measures.iter_calc([measure], judgements, run)}
        assert metrics.per_case(name, ranks) == pytest.approx([theirs[str(u)] for u in range(users)], abs=1e-9), name


def test_several_relevant_items_worked_by_hand():
    # Case 1: three relevant items at places 2 and 5, one nowhere. Case 2: one alone, at place 1. Case 3: five, all nowhere but the 3rd.
    ranks = np.array([[5, 0, 2, -1, -1], [1, -1, -1, -1, -1], [0, 0, 3, 0, 0]])
    assert metrics.per_case("hit@2", ranks).tolist() == [1, 1, 0]
    assert metrics.per_case("precision@5", ranks) == pytest.approx([2 / 5, 1 / 5, 1 / 5])
    assert metrics.per_case("recall@5", ranks) == pytest.approx([2 / 3, 1, 1 / 5])
    # MAP: (1/2 + 2/5) / 3; 1; (1/3) / 5. Of the first three places: (1/2) / 3; 1; (1/3) / 3.
    assert metrics.per_case("map@5", ranks) == pytest.approx([0.9 / 3, 1, 1 / 15])
    assert metrics.per_case("map@3", ranks) == pytest.approx([0.5 / 3, 1, 1 / 9])
    # DCG: 1/log2(3) + 1/log2(6) = 0.63093 + 0.38685; the ideal of three items is 1 + 0.63093 + 0.5.
    assert metrics.per_case("dcg@5", ranks) == pytest.approx([1.0177825, 1, 0.5], abs=1e-6)
    assert metrics.per_case("ndcg@5", ranks) == pytest.approx([1.0177825 / 2.1309298, 1, 0.5 / 2.9484591], abs=1e-6)
    assert metrics.per_case("ndcg@2", ranks) == pytest.approx([0.6309298 / 1.6309298, 1, 0], abs=1e-6)  # no list of two holds three
    assert metrics.per_case("mrr", ranks) == pytest.approx([1 / 2, 1, 1 / 3])


def test_several_relevant_items_agree_with_ir_measures_on_random_runs():
    rng = np.random.default_rng(11)
    n_items, users, depth = 30, 80, 12
    lists = np.stack([rng.permutation(n_items)[:depth] + 1 for _ in range(users)])
    relevant = np.stack([rng.permutation(n_items)[:5] + 1 for _ in range(users)])
    relevant[np.arange(5) >= rng.integers(1, 6, users)[:, None]] = 0
    ranks = metrics.ranks_of(ranking(lists.tolist()), relevant)
    assert set(np.unique(ranks)) == {-1, *range(depth + 1)}
    asked = {f"ndcg@{k}": ir_measures.nDCG @ k for k in (1, 3, 10)} | {f"recall@{k}": ir_measures.R @ k for k in (1, 3, 10)}
    asked |= {f"precision@{k}": ir_measures.P @ k for k in (1, 3, 10)} | {f"hit@{k}": ir_measures.Success @ k for k in (1, 3, 10)}
    asked |= {"mrr@10": ir_measures.RR @ 10, "map@5": ir_measures.AP @ 5, "map@12": ir_measures.AP}
    judgements = [ir_measures.Qrel(str(u), str(t), 1) for u, row in enumerate(relevant) for t in row if t]
    run = [ir_measures.ScoredDoc(str(u), str(i), float(-place)) for u, row in enumerate(lists) for place, i in enumerate(row)]
    for name, measure in asked.items():
        theirs = {m.query_id: m.value for m in ir_measures.iter_calc([measure], judgements, run)}
        assert metrics.per_case(name, ranks) == pytest.approx([theirs[str(u)] for u in range(users)], abs=1e-9), name


def test_one_relevant_item_in_a_column_is_one_relevant_item():
    ranks = np.array([1, 0, 4, 20])
    for name in metrics.metric_names(several=True):
        assert metrics.per_case(name, ranks).tolist() == metrics.per_case(name, ranks[:, None]).tolist()
    for other, same in {"hit": "recall", "map": "mrr", "dcg": "ndcg"}.items():
        assert metrics.per_case(f"{other}@10", ranks).tolist() == metrics.per_case(f"{same}@10", ranks).tolist()


def test_first_place_counts_and_pad_is_never_a_hit():
    assert metrics.ranks_of(ranking([[3, 7, 7], [1, 0, 0], [1, 2, 3]]), np.array([7, 0, 9])).tolist() == [2, 0, 0]
    assert metrics.ranks_of(Ranking(np.zeros((2, 0), np.int64), np.zeros((2, 0), np.float32)), np.array([1, 2])).tolist() == [0, 0]


def test_one_target_a_row_or_an_error():
    with pytest.raises(ConfigError, match="2 rows are ranked, but 1 targets are given"):
        metrics.ranks_of(ranking([[1], [2]]), np.array([1]))


def test_unknown_metric_and_bad_cutoff_say_what_to_write():
    with pytest.raises(ConfigError, match="unknown metric 'ncdg@10'; did you mean 'ndcg'"):
        metrics.per_case("ncdg@10", np.array([1]))
    with pytest.raises(ConfigError, match=r"'ten' is no cut-off.*'ndcg@10'"):
        metrics.per_case("ndcg@ten", np.array([1]))
    with pytest.raises(ConfigError, match="'0' is no cut-off"):
        metrics.per_case("ndcg@0", np.array([1]))


def test_list_figures_worked_by_hand():
    counts = np.array([0, 6, 2, 1, 0, 0])  # five items, smoothed 7, 3, 2, 1, 1 of 14
    lists = np.array([[1, 2], [1, 0]])
    assert metrics.coverage(lists, 5) == pytest.approx(2 / 5)
    assert metrics.novelty(lists, counts) == pytest.approx((1 + np.log2(14 / 3) + 1) / 3)  # share 1/2 is one bit
    # percentiles: item 1 is above 4 of 5 and its own equal: 4.5/5; item 2: 3.5/5
    assert metrics.popularity_bias(lists, counts) == pytest.approx((0.9 + 0.7 + 0.9) / 3)


def test_blind_lists_have_popularity_bias_one_half():
    counts = np.concatenate([[0], np.random.default_rng(0).integers(0, 50, 200)])
    assert metrics.popularity_bias(np.arange(1, 201)[None, :], counts) == pytest.approx(0.5)


def test_empty_lists_have_figures_too():
    nothing, counts = np.zeros((3, 2), dtype=np.int64), np.array([0, 1, 2])
    assert (metrics.coverage(nothing, 2), metrics.novelty(nothing, counts), metrics.popularity_bias(nothing, counts)) == (0.0, 0.0, 0.0)


def test_metrics_need_no_room_for_the_catalogue():
    """Ranks alone are looked at: 20,000 cases of a catalogue of a million take megabytes, where one-hot rows would take 20 GB."""
    ranks = np.random.default_rng(0).integers(1, 1_000_001, size=20_000)
    tracemalloc.start()
    for metric in metrics.METRICS.values():
        metric(ranks, 10)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20e6
