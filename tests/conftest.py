"""What every test may use: `tests/worlds.py` by name, and the folder of measured data where there is one; who goes first."""

import gc
import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests go first: at the end only short ones are left to share, so that no process waits for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


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
