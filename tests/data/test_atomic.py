"""RecBole's atomic files, there and back."""

from pathlib import Path

import numpy as np
import pytest

from fathom.data.atomic import write_atomic
from fathom.data.sources import read, recognise
from fathom.errors import DataError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\tb\t4\t20\nu\ta\t5\t10\nv\ta\t1\t30\n"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\na\tThe Long Way\t1999\tWar Drama\nb\tHome\t2001\t\n"


def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.inter").write_text(INTER)
    (folder / "shop.item").write_text(ITEM)
    return folder


def test_atomic_files_are_read(tmp_path: Path) -> None:
    dataset = read(shop(tmp_path))
    assert recognise(tmp_path / "shop") == recognise(tmp_path / "shop" / "shop.inter") == "recbole"
    assert dataset.name == "shop"
    assert dataset.catalog.titles == ("The Long Way", "Home")
    assert dataset.catalog.attributes == {"genres": (("War", "Drama"), ()), "year": (("1999",), ("2001",))}
    assert dataset.interactions.items.tolist() == [1, 2, 1]
    assert dataset.interactions.times is not None
    assert dataset.interactions.times.tolist() == [10, 20, 30]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    dataset = read(shop(tmp_path))
    write_atomic(dataset, tmp_path / "copy")
    again = read(tmp_path / "copy")
    assert again.catalog == dataset.catalog
    np.testing.assert_array_equal(again.interactions.items, dataset.interactions.items)
    assert again.fingerprint == dataset.fingerprint


def test_a_column_without_type_is_told(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    (folder / "shop.inter").write_text(INTER.replace("item_id:token", "item_id:tokn"))
    with pytest.raises(DataError, match=r"shop.inter line 1: the column 'item_id:tokn' does not end in a type.*did you mean 'token'\?"):
        read(folder)


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    dataset = read(shop(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="it will not be overwritten"):
        write_atomic(dataset, tmp_path / "mine")
