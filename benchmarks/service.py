"""A service under load, and the load's generator beside it on the same machine.

    python benchmarks/service.py RUN [--seconds 20] [--rate 500] [--model retriever] [--agent agent] [--concurrency 64] [--soak 0]

RUN is the folder of a run of DeepRec, such as runs/demo. `fathom serve` is started on it as a process of its own. Requests are asked for
known people over connections that are kept. Five things are measured:

peer      what the same server can answer at most: /healthz, which does nothing, by 16 connections
closed    recommendations of the retriever by 16 connections that ask again as soon as they are answered
open      the same at `--rate` a second; latencies count from when a request was due, so that a service that falls behind shows it
agent     whole conversations of the agent, `--concurrency` of them always under way
overload  `--concurrency` times 16 requests to the agent at once: those that were refused with 429 and a Retry-After, and how long the
          next request takes when all are answered
soak      for `--soak` seconds the retriever at a fifth of `--rate`, a conversation always under way and feedback every second: the
          server's memory each minute

Prints one JSON object; aims: open at 500 a second with a 99th percentile below 50 ms, agent at 5 conversations a second.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
import psutil

HOST, PORT = "127.0.0.1", 8_765
CONNECTIONS = 16
AIM_RATE, AIM_LATENCY, AIM_EPISODES = 500, 0.05, 5


class Connection:
    """One connection that is kept: as little of HTTP as can be, so that the generator is not what is measured."""

    def __init__(self) -> None:
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        kept = self._streams is not None
        try:
            return await self._asked(path, body)
        except (ConnectionError, asyncio.IncompleteReadError):
            if not kept:
                raise
            self._streams = None  # a server ends connections that nobody has used for some seconds, perhaps just now
            return await self._asked(path, body)

    async def _asked(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, PORT)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{'POST' if body is not None else 'GET'} {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, answer

    def close(self) -> None:
        """Leave."""
        if self._streams is not None:
            self._streams[1].close()


@contextmanager
def served(run: Path) -> Iterator[psutil.Process]:
    """The service's process, once it answers."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "fathom.cli", "serve", str(run), "--host", HOST, "--port", str(PORT), "--state", f"{folder}/state.db"]
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        try:
            asyncio.run(_ready(process))
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


async def _ready(process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if (await Connection().ask("/readyz"))[0] == 200:
                return
        except OSError:
            await asyncio.sleep(0.2)
    raise SystemExit("the service did not start")


async def closed(seconds: float, connections: int, ask: Callable[[Connection], Awaitable[int]]) -> dict[str, Any]:
    """So many connections that ask again as soon as they are answered."""
    took: list[float] = []
    statuses: list[int] = []
    until = time.perf_counter() + seconds

    async def one() -> None:
        connection = Connection()
        while (began := time.perf_counter()) < until:
            statuses.append(await ask(connection))
            took.append(time.perf_counter() - began)
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return _told(took, statuses, time.perf_counter() - began)


async def at_rate(seconds: float, rate: float, ask: Callable[[Connection], Awaitable[int]]) -> dict[str, Any]:
    """So many requests a second, whether or not those before are answered."""
    free: list[Connection] = []
    took: list[float] = []
    statuses: list[int] = []
    began = time.perf_counter()

    async def one(due: float) -> None:
        connection = free.pop() if free else Connection()
        statuses.append(await ask(connection))
        took.append(time.perf_counter() - due)
        free.append(connection)

    tasks = []
    for number in range(int(seconds * rate)):
        due = began + number / rate
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    spent = time.perf_counter() - began
    for connection in free:
        connection.close()
    return _told(took, statuses, spent) | {"asked_per_second": rate, "connections": len(free)}


def _told(took: list[float], statuses: list[int], spent: float) -> dict[str, Any]:
    p50, p99 = np.percentile(took, (50, 99)) * 1000
    return {
        "per_second": round(len(took) / spent, 1),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "longest_ms": round(max(took) * 1000, 1),
        "answered": len(took),
        "not_200": sum(status != 200 for status in statuses),
    }


async def overloaded(number: int, ask: Callable[[Connection], Awaitable[tuple[int, dict[str, str], bytes]]]) -> dict[str, Any]:
    """So many at once; then one alone."""
    began = time.perf_counter()
    answers = await asyncio.gather(*(ask(Connection()) for _ in range(number)))
    spent, statuses = time.perf_counter() - began, [answer[0] for answer in answers]
    again = time.perf_counter()
    status, _, _ = await ask(Connection())
    return {
        "asked": number,
        "answered": statuses.count(200),
        "refused": statuses.count(429),
        "refused_with_retry_after": sum(answer[0] == 429 and "retry-after" in answer[1] for answer in answers),
        "other": len(statuses) - statuses.count(200) - statuses.count(429),
        "seconds": round(spent, 1),
        "status_of_the_next": status,
        "next_ms": round((time.perf_counter() - again) * 1000, 1),
    }


async def soaked(
    seconds: float, rate: float, server: psutil.Process, asks: dict[str, Callable[[Connection], Awaitable[int]]]
) -> dict[str, Any]:
    """Everything at once for long: the server's memory each minute, in MiB."""
    memory = [_mib(server)]
    work = [
        asyncio.create_task(at_rate(seconds, rate, asks["recommend"])),
        asyncio.create_task(closed(seconds, 1, asks["agent"])),
        asyncio.create_task(at_rate(seconds, 1, asks["feedback"])),
    ]
    while not work[0].done():
        await asyncio.wait(work, timeout=60)
        memory.append(_mib(server))
    told = [await one for one in work]
    half = memory[len(memory) // 2]
    return {"seconds": seconds, "mib": memory, "last_against_half": round(memory[-1] / half, 3), "recommend": told[0], "agent": told[1]}


def _mib(server: psutil.Process) -> float:
    return round(float(server.memory_info().rss) / 2**20, 1)


async def measured(run: Path, chosen: argparse.Namespace, server: psutil.Process) -> dict[str, Any]:
    """All of it, one after the other."""
    _, _, told = await Connection().ask("/v1/people?k=1000")
    people = json.loads(told)["users"]
    whose, films, numbers = cycle(people), [], count()

    async def recommend(connection: Connection) -> int:
        return (await connection.ask("/v1/recommend", {"user": next(whose), "model": chosen.model, "k": 10}))[0]

    async def nothing(connection: Connection) -> int:
        return (await connection.ask("/healthz"))[0]

    async def converse(connection: Connection) -> tuple[int, dict[str, str], bytes]:
        return await connection.ask("/v1/recommend", {"user": next(whose), "model": chosen.agent, "k": 10, "explain": True})

    async def episode(connection: Connection) -> int:
        return (await converse(connection))[0]

    async def feedback(connection: Connection) -> int:
        act = {"user": f"stranger {next(numbers)}", "item": films[0], "kind": "click"}
        return 200 if (await connection.ask("/v1/feedback", {"acts": [act]}))[0] == 201 else 500

    films.append(json.loads((await Connection().ask("/v1/items?k=1"))[2])["items"][0]["id"])
    await closed(2, CONNECTIONS, recommend)  # what is made on the first request is not what is measured
    await episode(Connection())
    peer = await closed(chosen.seconds / 2, CONNECTIONS, nothing)
    most = await closed(chosen.seconds, CONNECTIONS, recommend)
    steady = await at_rate(chosen.seconds, chosen.rate, recommend)
    agent = await closed(chosen.seconds * 2, chosen.concurrency, episode)
    overload = await overloaded(chosen.concurrency * 16, converse)
    found = {"peer": peer, "closed": most, "open": steady, "agent": agent, "overload": overload}
    if chosen.soak:
        asks = {"recommend": recommend, "agent": episode, "feedback": feedback}
        found["soak"] = await soaked(chosen.soak, chosen.rate / 5, server, asks)
    return {
        "run": run.name,
        "people": len(people),
        **found,
        "closed_against_peer": round(most["per_second"] / peer["per_second"], 3),
        "open_p99_against_aim": round(steady["p99_ms"] / 1000 / AIM_LATENCY, 2),
        "open_rate_against_aim": round(steady["per_second"] / AIM_RATE, 2),
        "episodes_against_aim": round(agent["per_second"] / AIM_EPISODES, 2),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=AIM_RATE)
    parser.add_argument("--model", default="retriever")
    parser.add_argument("--agent", default="agent")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--soak", type=float, default=0.0)
    chosen = parser.parse_args()
    if not (chosen.run / "results.json").is_file():
        print(f"{chosen.run}: no finished run is there; 'make demo' makes one", file=sys.stderr)
        return 2
    with served(chosen.run) as server:
        print(json.dumps(asyncio.run(measured(chosen.run, chosen, server)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
