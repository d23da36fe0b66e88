"""What an evaluation costs in memory; seconds and tokens are counted where they are spent."""

import resource
import sys


def peak_megabytes() -> float:
    """The largest resident memory this process has had, in MiB: the high-water mark of the operating system.

    An upper bound of what the last piece of work needed, since earlier work in the same process counts too.
    """
    high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return high_water / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB
