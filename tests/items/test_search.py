"""What exact search promises: the true ranking, the same for every batch and chunk, ties to the smaller id."""

import math
from collections.abc import Collection, Sequence

import numpy as np
import pytest
import torch

from fathom.errors import ConfigError, ModelError
from fathom.items.search import search, top_k_scores
from fathom.records import PAD, Floats, Ranking


def by_sorting(scores: Floats, k: int, exclude: Sequence[Collection[int]]) -> tuple[list[list[int]], list[list[float]]]:
    """The plain way: sort every column of every row by (-score, id) in Python."""
    items, values = [], []
    for row, left_out in zip(scores.tolist(), exclude, strict=True):
        allowed = [(-score, item) for item, score in enumerate(row) if item != PAD and item not in left_out and score > -math.inf]
        best = sorted(allowed)[:k]
        items.append([item for _, item in best] + [PAD] * (k - len(best)))
        values.append([-score for score, _ in best] + [-math.inf] * (k - len(best)))
    return items, values


def assert_same(left: Ranking, right: Ranking) -> None:
    np.testing.assert_array_equal(left.items, right.items)
    np.testing.assert_array_equal(left.scores, right.scores)


def integers(rows: int, width: int, *, seed: int, most: int = 2) -> torch.Tensor:
    """Small integers: every product is exact, and most scores are shared by many items."""
    return torch.randint(-most, most + 1, (rows, width), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("k", [1, 5, 64, 700])
@pytest.mark.parametrize("chunk", [7, 64, 100, 65536])
def test_search_is_a_full_sort_even_with_many_ties(k: int, chunk: int) -> None:
    queries, items = integers(9, 6, seed=1), integers(501, 6, seed=2)
    queries[3] = 0  # a query that ties everything
    exclude = [set(range(1 + row, 400, 1 + row)) for row in range(9)]
    expected_items, expected_scores = by_sorting((queries @ items.T).numpy(), k, exclude)
    found = search(queries, items, k, exclude=exclude, chunk=chunk)
    assert found.items.tolist() == expected_items
    assert found.scores.tolist() == expected_scores


@pytest.mark.parametrize("k", [1, 5, 700])
def test_top_k_of_scores_is_a_full_sort_even_with_many_ties(k: int) -> None:
    scores = integers(9, 501, seed=3)
    scores[0, 100:] = -torch.inf
    scores[1, ::2] = -0.0
    exclude = [set(range(1, 3 * row)) for row in range(9)]
    expected_items, expected_scores = by_sorting(scores.numpy(), k, exclude)
    found = top_k_scores(scores, k, exclude)
    assert found.items.tolist() == expected_items
    assert found.scores.tolist() == expected_scores


def test_neither_batch_nor_chunk_changes_a_bit() -> None:
    generator = torch.Generator().manual_seed(4)
    queries = torch.randn(33, 48, generator=generator)
    items = torch.randn(20_001, 48, generator=generator)
    items[10_000:10_200] = items[1:201]  # exact ties between far ids
    items[15_000:15_200] = items[1:201] * (1 + 2**-23)  # and near ones, within the rounding of a product
    exclude: list[set[int]] = [set(range(row, 400)) for row in range(33)]
    whole = search(queries, items, 50, exclude=exclude)
    for chunk in (333, 4096, 20_000):
        assert_same(search(queries, items, 50, exclude=exclude, chunk=chunk), whole)
    for size in (1, 2, 5):
        parts = [search(queries[at : at + size], items, 50, exclude=exclude[at : at + size]) for at in range(0, 33, size)]
        assert_same(Ranking(np.concatenate([p.items for p in parts]), np.concatenate([p.scores for p in parts])), whole)


def test_scores_are_the_correctly_rounded_products() -> None:
    generator = torch.Generator().manual_seed(5)
    queries, items = torch.randn(8, 128, generator=generator), torch.randn(3_001, 128, generator=generator)
    exact = (queries.double() @ items.double().T).float().numpy()
    expected_items, expected_scores = by_sorting(exact, 20, [()] * 8)
    found = search(queries, items, 20, exclude=[()] * 8, chunk=500)
    assert found.items.tolist() == expected_items
    assert found.scores.tolist() == expected_scores


def test_items_of_very_different_length_are_found_wherever_they_stand() -> None:
    queries, items = integers(4, 8, seed=6), integers(300, 8, seed=7)
    items[150:] *= 1000
    expected, _ = by_sorting((queries @ items.T).numpy(), 10, [()] * 4)
    assert search(queries, items, 10, exclude=[()] * 4, chunk=50).items.tolist() == expected


def test_a_catalogue_smaller_than_k_ends_in_padding() -> None:
    found = search(torch.ones(1, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), 4, exclude=[()])
    assert found.items.tolist() == [[2, 1, PAD, PAD]]
    assert found.scores.tolist() == [[2.0, 1.0, -math.inf, -math.inf]]


def test_everything_excluded_leaves_nothing() -> None:
    assert search(torch.ones(1, 2), torch.ones(4, 2), 2, exclude=[{1, 2, 3}]).items.tolist() == [[PAD, PAD]]


def test_unknown_ids_may_be_excluded() -> None:
    assert search(torch.ones(1, 2), torch.ones(3, 2), 2, exclude=[{0, 1, 99, -4}]).items.tolist() == [[2, PAD]]


def test_no_query_gives_no_row() -> None:
    assert search(torch.ones(0, 2), torch.ones(3, 2), 2, exclude=[]).items.shape == (0, 2)
    assert top_k_scores(torch.ones(0, 3), 2, []).items.shape == (0, 2)


def test_the_scores_handed_in_stay_as_they_are() -> None:
    scores = torch.ones(1, 3)
    top_k_scores(scores, 1, [{1}])
    assert scores.tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_item_vector_is_named(broken: float) -> None:
    items = torch.ones(200, 3)
    items[123, 1] = broken
    with pytest.raises(ModelError, match="item 123 is not finite"):
        search(torch.ones(2, 3), items, 5, exclude=[(), ()], chunk=50)


def test_a_broken_query_is_named() -> None:
    queries = torch.ones(3, 2)
    queries[1, 0] = math.nan
    with pytest.raises(ModelError, match="query 1 is not finite"):
        search(queries, torch.ones(4, 2), 2, exclude=[()] * 3)


def test_a_score_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(ModelError, match="1 of 3 scores are NaN"):
        top_k_scores(torch.tensor([[0.0, math.nan, 1.0]]), 1, [()])


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="k is 0"):
        search(torch.ones(1, 2), torch.ones(3, 2), 0, exclude=[()])
    with pytest.raises(ConfigError, match="chunk is 0"):
        search(torch.ones(1, 2), torch.ones(3, 2), 1, exclude=[()], chunk=0)
    with pytest.raises(ConfigError, match="1 exclusion lists for 2 rows"):
        top_k_scores(torch.ones(2, 2), 1, [()])
    with pytest.raises(ModelError, match="queries have 2 dimensions and items 3"):
        search(torch.ones(1, 2), torch.ones(3, 3), 1, exclude=[()])
