"""A dataset folder: what goes in comes out, and a change shows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fathom.data.dataset import Dataset
from fathom.errors import DataError
from fathom.records import Catalog, Interactions


def small(**changes: object) -> Dataset:
    """Three users (the second without events), three items."""
    dataset = Dataset(
        name="small",
        catalog=Catalog(
            names=("a", "b", "c"),
            titles=("Ä (1990)", "B", "C"),
            attributes={"genres": (("Drama", "War"), (), ("Comedy",)), "decade": (("1990s",), (), ())},
            descriptions=("about a", "", "about c"),
        ),
        interactions=Interactions(
            users=("u", "v", "w"),
            offsets=np.array([0, 2, 2, 5]),
            items=np.array([3, 1, 2, 3, 1]),
            ratings=np.array([5, np.nan, 3.5, 1, 2], dtype=np.float32),
            times=np.array([10, 20, -1, -1, 30]),
        ),
        notes=("2 rows left out",),
        source="by hand",
        licence="free",
    )
    return replace(dataset, **changes)  # type: ignore[arg-type]


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.catalog == other.catalog
    assert one.interactions.users == other.interactions.users
    for column in ("offsets", "items", "ratings", "times"):
        left, right = getattr(one.interactions, column), getattr(other.interactions, column)
        np.testing.assert_array_equal(left, right)
        assert (left is None) == (right is None)
        assert left is None or left.dtype == right.dtype
    assert (one.name, one.notes, one.source, one.licence) == (other.name, other.notes, other.source, other.licence)


def test_a_saved_dataset_comes_back_whole(tmp_path: Path) -> None:
    small().save(tmp_path / "small")
    assert_same(Dataset.load(tmp_path / "small"), small())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["catalog.parquet", "dataset.json", "interactions.parquet", "small"]


def test_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    bare = small(
        catalog=Catalog(names=("a",), titles=("A",)),
        interactions=Interactions(users=("u",), offsets=np.array([0, 1]), items=np.array([1])),
    )
    bare.save(tmp_path / "bare")
    assert_same(Dataset.load(tmp_path / "bare"), bare)


def test_saving_again_replaces_and_never_overwrites_other_folders(tmp_path: Path) -> None:
    small().save(tmp_path / "small")
    small(name="other").save(tmp_path / "small")
    assert Dataset.load(tmp_path / "small").name == "other"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="is not a dataset: it will not be overwritten"):
        small().save(tmp_path / "precious")


def test_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    dataset = small()
    assert dataset.fingerprint == small(name="other", notes=(), source="", licence="").fingerprint
    dataset.save(tmp_path / "small")
    path = tmp_path / "small" / "interactions.parquet"
    pl.read_parquet(path).write_parquet(path, compression="uncompressed", row_group_size=1)
    assert Dataset.load(tmp_path / "small").fingerprint == dataset.fingerprint


def test_every_part_of_the_content_moves_the_fingerprint() -> None:
    dataset = small()
    log, catalog = dataset.interactions, dataset.catalog
    assert log.ratings is not None
    assert log.times is not None
    changed = [
        small(interactions=replace(log, items=np.array([3, 1, 2, 1, 3]))),
        small(interactions=replace(log, offsets=np.array([0, 1, 2, 5]))),
        small(interactions=replace(log, ratings=log.ratings + 1)),
        small(interactions=replace(log, times=None)),
        small(interactions=replace(log, users=("u", "v", "x"))),
        small(catalog=replace(catalog, titles=("Ä (1990)", "B", "D"))),
        small(catalog=replace(catalog, attributes={"genres": (("Drama",), ("War",), ("Comedy",)), "decade": (("1990s",), (), ())})),
        small(catalog=replace(catalog, descriptions=())),
    ]
    assert len({one.fingerprint for one in [dataset, *changed]}) == len(changed) + 1


def test_changed_or_missing_files_are_told(tmp_path: Path) -> None:
    small().save(tmp_path / "small")
    path = tmp_path / "small" / "catalog.parquet"
    pl.read_parquet(path).with_columns(title=pl.lit("x") + pl.col("title")).write_parquet(path)
    with pytest.raises(DataError, match="the fingerprint differs"):
        Dataset.load(tmp_path / "small")
    path.write_text("no parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Dataset.load(tmp_path / "small")
    path.unlink()
    with pytest.raises(DataError, match="the dataset is not whole"):
        Dataset.load(tmp_path / "small")
    with pytest.raises(DataError, match=r"is not a dataset .*fathom data import"):
        Dataset.load(tmp_path)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (Interactions(users=("u",), offsets=np.array([0, 1]), items=np.array([4])), "item id 4 is not in the catalogue"),
        (Interactions(users=("u",), offsets=np.array([0, 1]), items=np.array([0])), "item id 0 is not in the catalogue"),
        (Interactions(users=("u",), offsets=np.array([0, 2]), items=np.array([1])), "must rise from 0 to 1"),
        (Interactions(users=("u", "u"), offsets=np.array([0, 1, 1]), items=np.array([1])), "the user name 'u' occurs twice"),
        (
            Interactions(users=("u",), offsets=np.array([0, 1]), items=np.array([1]), times=np.array([1, 2])),
            "there are 1 interactions but 2 times",
        ),
    ],
)
def test_contradictions_are_refused(log: Interactions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(interactions=log)


def test_a_catalogue_needs_a_title_for_each_item() -> None:
    with pytest.raises(DataError, match="has 3 items but 1 entries of 'titles'"):
        small(catalog=Catalog(names=("a", "b", "c"), titles=("A",)))
