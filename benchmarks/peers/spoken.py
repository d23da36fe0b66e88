"""How a peer is asked and how it answers; nothing here is Fathom's, nothing but Python is needed."""

import argparse
import json
import resource
import sys
from pathlib import Path


def asked(what: str | None) -> argparse.Namespace:
    """The log, the people asked, and when to stop."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("train", help="CSV: user, item, time.")
    parser.add_argument("asked", help="CSV: user, target.")
    parser.add_argument("--goal", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    return parser.parse_args()


def told(seconds: float, ndcg: float, *, people: int, ranking: float) -> None:
    """One JSON line: seconds of training so far, quality, and how fast so many people were ranked."""
    figures = {"seconds": seconds, "ndcg": ndcg, "users_per_second": people / ranking}
    print(json.dumps(figures | {"peak_gb": peak_gb()}), flush=True)


def peak_gb() -> float:
    """The most memory this process has held; on Linux not by getrusage, which begins with what the parent of a program had held."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:")) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
