"""What every test may use: `tests/worlds.py` by name, and the folder of measured data where there is one; who goes first."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch computes with two threads, as for whoever starts one process on two cores: sums must not depend on who comes first."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each of pytest-xdist's processes begins with an equal part of the list, and takes over others' last tests when it is done.

    So the modules with slow tests are dealt out to the parts and go first in them: at the end only short tests are left to share.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    parts: list[list[pytest.Item]] = [[] for _ in range(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))]
    for place, path in enumerate(dict.fromkeys(item.path for item in items if item.path in slow)):
        parts[place % len(parts)] += [item for item in items if item.path == path]
    short = [item for item in items if item.path not in slow]
    for place, part in enumerate(parts):
        room = len(items) * (place + 1) // len(parts) - len(items) * place // len(parts) - len(part)
        short, taken = short[max(0, room) :], short[: max(0, room)]
        part += taken
    items[:] = [item for part in parts for item in part] + short


def pytest_collection_finish() -> None:
    """What is imported stays: no collection of garbage, half a second each, need go through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """The folder of the measured data sets: FATHOM_DATA, or `shared/data` beside the repository."""
    folder = Path(os.environ.get("FATHOM_DATA", TESTS.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: set FATHOM_DATA to the folder of the measured data sets")
    return folder
