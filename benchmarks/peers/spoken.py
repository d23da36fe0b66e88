"""How a peer is asked and how it answers; nothing here is Fathom's, nothing but Python is needed."""

import argparse
import json
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
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    figures["peak_gb"] = int(status["VmHWM"].split()[0]) / 2**20  # not by getrusage, which begins with what this process's parent held
    print(json.dumps(figures), flush=True)
