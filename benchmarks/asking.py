"""What asking costs beside waiting: 1,000 ranking questions of 50 ms each to an endpoint, and the same once more from the cache.

python benchmarks/asking.py                    1,000 questions, 8 at a time
python benchmarks/asking.py --parallel 16

The endpoint runs in a process of its own and answers every question with the list that it was shown. Ideal is questions times 50 ms over
how many are asked at a time: nobody can be faster.
"""

import argparse
import json
import multiprocessing
import re
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fathom.language.remote import RemotePolicy
from fathom.language.remote_settings import RemoteSettings
from fathom.prompting.rank import PromptedRanker, RankerSettings
from fathom.records import Case, Catalog

LISTED = re.compile(r"can be recommended next:\n((?:\d+\. .*\n)+)")


class Endpoint(BaseHTTPRequestHandler):
    """Says the list that it is shown, after a while."""

    protocol_version = "HTTP/1.1"
    latency = 0.05

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.latency)
        listed = LISTED.search(body["prompt"])
        said = {"index": 0, "text": listed[1] if listed else "", "logprobs": None, "finish_reason": "stop"}
        chunk = {"id": "1", "object": "text_completion", "created": 0, "model": "m", "choices": [said]}
        told = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def serve(told: Connection) -> None:
    """Serve until the process is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.daemon_threads = True
    told.send(server.server_port)
    server.serve_forever()


def asked(url: str, cache: Path, cases: list[Case], catalog: Catalog, *, parallel: int) -> tuple[float, int, int]:
    """Seconds, requests sent, and how many lists came out whole."""
    policy = RemotePolicy(RemoteSettings(base_url=url, model="m", parallel=parallel), cache=cache)
    ranker = PromptedRanker(policy, catalog, RankerSettings())
    draw = np.random.default_rng(0)
    lists = [tuple((draw.permutation(catalog.n_items)[:20] + 1).tolist()) for _ in cases]
    began = time.perf_counter()
    found = ranker.rank(cases, lists)
    return time.perf_counter() - began, policy.paid.requests, sum(one.tally["compliant"] for one in found)


def main() -> None:
    """Ask, and ask again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=8)
    chosen = parser.parse_args()
    catalog = Catalog(tuple(map(str, range(500))), tuple(f"The {number}th film of all ({1900 + number % 100})" for number in range(500)))
    cases = [Case(user, tuple((user * 7 + step) % 500 + 1 for step in range(20)), 0) for user in range(chosen.questions)]
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1"
    ideal = chosen.questions * Endpoint.latency / chosen.parallel
    print(f"{chosen.questions:,} questions of {Endpoint.latency * 1000:.0f} ms, {chosen.parallel} at a time: ideal {ideal:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first run", "second run, from the cache"):
            seconds, requests, whole = asked(url, Path(folder), cases, catalog, parallel=chosen.parallel)
            print(f"{name}: {seconds:.2f} s, {seconds / ideal:.2f} times the ideal; {requests:,} requests; {whole:,} lists whole")
    server.terminate()


if __name__ == "__main__":
    main()
