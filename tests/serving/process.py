"""The shop in a process of its own, which can be killed:  python -m tests.serving.process PLACE PORT.

Its agent takes a second for each turn.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Replica:
    """A service."""

    url: str
    pid: int

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """As `kill -9` does, or in another way."""
        os.kill(self.pid, how)


@contextmanager
def replica(place: str) -> Iterator[Replica]:
    """A service whose state is at `place`, until the block ends or somebody kills it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "tests.serving.process", place, str(port)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    process = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, "the service ended"
                assert time.monotonic() < until, "the service did not begin"
                time.sleep(0.05)
        yield Replica(url, process.pid)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    import uvicorn

    from fathom.pipeline.serve import DRAIN
    from fathom.serving.app import service_app
    from fathom.serving.store.store import Store
    from tests.serving.shop import Slow, agent, offer

    slow = Slow(40)
    slow.seconds = 1.0
    shop = offer(models={**offer().models, "agent": lambda: agent(retriever=slow)})
    app = service_app([shop], Store(sys.argv[1]))
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error", ws="none", timeout_graceful_shutdown=DRAIN)
