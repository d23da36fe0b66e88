"""What an evaluation costs in memory, and how long a person waits; all other seconds and tokens are counted where they are spent."""

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fathom.contracts import Recommender
from fathom.records import Case


def latency(recommender: Recommender, cases: Sequence[Case], *, k: int = 10) -> float:
    """Median seconds from one person's case to their list of `k`, nobody else being served; the first case only warms up."""
    waited = []
    for case in [cases[0], *cases]:
        began = time.perf_counter()
        recommender.recommend([case], k)
        waited.append(time.perf_counter() - began)
    return statistics.median(waited[1:])


def peak_megabytes() -> float:
    """The largest resident memory this process has had, in MiB: the high-water mark of the operating system.

    An upper bound of what the last piece of work needed, since earlier work in the same process counts too. On Linux it is read where it
    begins anew with each program: `getrusage` hands on what the parent of a new program had held. The kernel counts pages roughly, so that
    a later reading may be some lower; the highest one so far is what comes back.
    """
    global _highest
    _highest = max(_highest, _high_water())
    return _highest


_highest = 0.0


def _high_water() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return high_water / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, others KiB
