"""What else a log tells of each event stays with its event through filters, splits, sessions and files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fathom.data.atomic import write_atomic
from fathom.data.dataset import Dataset
from fathom.data.filters import only
from fathom.data.sessions import sessions
from fathom.data.sources import from_frames, read
from fathom.data.splits import leave_one_out
from fathom.errors import ConfigError, DataError
from fathom.records import EventColumn

LOG = pl.DataFrame(
    {
        "user": ["u", "u", "u", "v", "v", "v", "v"],
        "item": ["a", "b", "c", "b", "c", "d", "a"],
        "time": [3000, 1000, 2000, 500, 510, 9000, 9060],
        "device": ["phone", "desk", None, "desk", "desk", "phone", "tablet"],
        "price": [1.5, 2.5, None, 4.0, float("nan"), 6.0, 7.0],
    }
)


@pytest.fixture
def dataset() -> Dataset:
    return from_frames(LOG, columns={"labels.device": "device", "numbers.price": "price"})


def told(dataset: Dataset) -> list[tuple[str, str, str, float]]:
    """User, item, device and price of every event, in the order of the log."""
    log = dataset.interactions
    owners = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    device, price = log.columns["device"], log.columns["price"]
    rows = zip(owners.tolist(), log.items.tolist(), device.values.tolist(), price.values.tolist(), strict=True)
    return [
        (log.users[user].partition("#")[0], dataset.catalog.names[item - 1], "" if np.isnan(one) else device.names[int(one) - 1], cost)
        for user, item, one, cost in rows
    ]


def test_names_are_numbered_and_what_is_missing_is_missing(dataset: Dataset) -> None:
    assert dataset.interactions.columns["device"].names == ("desk", "phone", "tablet")
    assert dataset.interactions.columns["price"].names == ()
    expected = [("u", "b", "desk", 2.5), ("u", "c", "", np.nan), ("u", "a", "phone", 1.5)]
    expected += [("v", "b", "desk", 4.0), ("v", "c", "desk", np.nan), ("v", "d", "phone", 6.0), ("v", "a", "tablet", 7.0)]
    assert str(told(dataset)) == str(expected)


def test_they_stay_with_their_events(dataset: Dataset) -> None:
    whole = told(dataset)
    assert str(told(only(dataset, np.array([True, False] * 3 + [True]), "odd ones"))) == str(whole[::2])
    cut = sessions(dataset, gap=30.0, repeats="keep", shortest=1)
    assert str(told(cut)) == str(whole)
    split = leave_one_out(dataset.interactions)
    assert split.train.columns["price"].values.tolist() == [2.5, 4.0, pytest.approx(np.nan, nan_ok=True)]
    case = split.test[1]
    assert case.columns["device"] == (1.0, 1.0, 2.0)
    assert str(case.columns["price"]) == "(4.0, nan, 6.0)"
    assert len({case, split.test[0]}) == 2  # a case can still be a key


def test_files_keep_them_and_one_changed_value_changes_the_fingerprint(dataset: Dataset, tmp_path: Path) -> None:
    dataset.save(tmp_path / "set")
    again = Dataset.load(tmp_path / "set")
    assert str(told(again)) == str(told(dataset))
    columns = dict(dataset.interactions.columns)
    columns["price"] = EventColumn(np.where(np.arange(7) == 3, np.float32(4.25), columns["price"].values))
    changed = replace(dataset, interactions=replace(dataset.interactions, columns=columns))
    assert changed.fingerprint != dataset.fingerprint == again.fingerprint
    without = replace(dataset, interactions=replace(dataset.interactions, columns={}))
    assert without.fingerprint != dataset.fingerprint


def test_recbole_files_take_and_give_them(dataset: Dataset, tmp_path: Path) -> None:
    write_atomic(dataset, tmp_path / "shop")
    again = read(tmp_path / "shop")
    assert set(again.interactions.columns) == {"device", "price"}
    assert str(told(again)) == str(told(dataset))


def test_what_cannot_be_is_told(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"unknown column role 'lables\.device'.*'labels\.NAME' or 'numbers\.NAME'"):
        from_frames(LOG, columns={"lables.device": "device"})
    with pytest.raises(DataError, match="there is no column 'devise'; did you mean 'device'"):
        from_frames(LOG, columns={"labels.device": "devise"})
    with pytest.raises(DataError, match="column 'price' holds 'inf', which is not a finite number"):
        from_frames(LOG.with_columns(pl.Series("price", [float("inf")] * 7)), columns={"numbers.price": "price"})
    short = {"price": EventColumn(np.zeros(3, dtype=np.float32))}
    with pytest.raises(DataError, match="there are 7 interactions but 3 values of 'price'"):
        replace(dataset, interactions=replace(dataset.interactions, columns=short))
