"""What answers cost."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from worlds import film_case

from fathom.evaluation.cost import latency, peak_megabytes
from fathom.records import Case, Ranking


def test_memory_is_counted_in_mebibytes_and_never_falls():
    before = peak_megabytes()
    held = np.ones(2**24)  # 128 MiB
    after = peak_megabytes()
    del held
    assert 10 < before <= after < 1e6
    assert peak_megabytes() >= after


def test_what_the_parent_of_a_program_held_does_not_count() -> None:
    held = np.ones(2**25)  # 256 MiB
    script = "from fathom.evaluation.cost import peak_megabytes; print(peak_megabytes())"
    alone = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(alone.stdout) < peak_megabytes() - held.nbytes / 2**20 / 2


def test_the_wait_is_the_median_of_people_asked_one_by_one_after_one_that_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """Takes as long as its case's target says, by a clock of its own; the very first answer takes an hour."""

        now, asked = 0.0, 0

        def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
            [case] = cases
            self.now += case.target if self.asked else 3600
            self.asked += 1
            return Ranking(np.zeros((1, k), dtype=np.int64), np.zeros((1, k), dtype=np.float32))

    slow = Slow()
    monkeypatch.setattr("time.perf_counter", lambda: slow.now)
    assert latency(slow, [film_case(target=seconds) for seconds in (7, 1, 3)]) == 3
    assert slow.asked == 4
