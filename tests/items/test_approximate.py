"""The approximate index: what it finds is right, what it misses is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fathom.errors import ConfigError, ModelError
from fathom.items.approximate import Approximate
from fathom.items.search import search


@pytest.fixture(scope="module")
def items() -> torch.Tensor:
    return torch.randn(3001, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def queries() -> torch.Tensor:
    return torch.randn(60, 16, generator=torch.Generator().manual_seed(1))


def test_it_finds_nearly_all_and_says_how_much(items: torch.Tensor, queries: torch.Tensor) -> None:
    exclude = [tuple(range(1, 1 + row)) for row in range(60)]
    index = Approximate.build(items)
    assert index.recall(queries, 10, exclude=exclude) > 0.97
    narrow = Approximate.build(items, breadth=2)
    exact, found = search(queries, items, 10, exclude=exclude), narrow.search(queries, 10, exclude=exclude)
    shared = [len(set(mine) & set(true)) for mine, true in zip(found.items.tolist(), exact.items.tolist(), strict=True)]
    assert narrow.recall(queries, 10, exclude=exclude) == pytest.approx(sum(shared) / 600)
    assert narrow.recall(queries, 10, exclude=exclude) < index.recall(queries, 10, exclude=exclude)


def test_what_it_finds_is_scored_exactly_and_in_order(items: torch.Tensor, queries: torch.Tensor) -> None:
    found = Approximate.build(items).search(queries, 5, exclude=[(7,)] * 60)
    products = torch.from_numpy(np.take_along_axis((queries.double() @ items.double().T).numpy(), found.items, axis=1))
    assert np.allclose(found.scores, products.numpy(), atol=1e-5)
    assert bool((np.diff(found.scores, axis=1) <= 0).all())
    assert not (found.items == 7).any()
    assert (found.items > 0).all()


def test_a_small_catalogue_ends_with_padding(items: torch.Tensor, queries: torch.Tensor) -> None:
    found = Approximate.build(items[:4]).search(queries[:1], 5, exclude=[(2,)])
    assert sorted(found.items[0].tolist()) == [0, 0, 0, 1, 3]
    assert found.scores[0, 2:].tolist() == [-np.inf] * 3


def test_saving_changes_nothing_and_another_table_is_refused(items: torch.Tensor, queries: torch.Tensor, tmp_path: Path) -> None:
    index = Approximate.build(items)
    index.save(tmp_path / "index.usearch")
    again = Approximate.load(tmp_path / "index.usearch", items)
    mine, theirs = (one.search(queries, 10, exclude=[()] * 60) for one in (index, again))
    assert np.array_equal(mine.items, theirs.items)
    with pytest.raises(ModelError, match="it was made of 3,000 items of 16 numbers, but the model has 2,999 of 16"):
        Approximate.load(tmp_path / "index.usearch", items[:-1])
    with pytest.raises(ModelError, match="'fathom index' makes one"):
        Approximate.load(tmp_path / "none", items)
    with pytest.raises(ConfigError, match="1 exclusion lists for 60 rows"):
        index.search(queries, 10, exclude=[()])
