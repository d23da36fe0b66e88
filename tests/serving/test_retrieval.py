"""The retrieval service and its client, over a real socket on the loopback."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import httpx
import numpy as np
import pytest
import uvicorn
from worlds import Scripted, Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.play import play
from fathom.agents.protocol import ProtocolSettings
from fathom.agents.remote_retrieval import RemoteRetriever, RetrievalError
from fathom.errors import DataError
from fathom.records import Call, Catalog, Ending
from fathom.serving.retrieval import ServiceSettings, retrieval_app

FILMS = film_catalog()


class Counting:
    """A slow retriever that keeps how many calls came in each batch, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.shelves = Shelves(40)
        self.batches: list[int] = []
        self.failures = 0
        self.seconds = 0.0

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the shelf fell over")
        time.sleep(self.seconds)
        self.batches.append(len(calls))
        return self.shelves.retrieve(calls)

    def weigh(self, histories: Sequence[Sequence[int]], items: Sequence[Sequence[int]]) -> list[np.ndarray]:
        return self.shelves.weigh(histories, items)


@pytest.fixture(scope="module")
def counting() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def url(counting: Counting) -> Iterator[str]:
    """The address of a running service over `counting`."""
    app = retrieval_app(
        counting, FILMS, ServiceSettings(calls_per_request=8, history_length=5, preference_characters=50, items_per_call=30)
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def good_call() -> dict[str, object]:
    return {"history": ["tt0017"], "preference": "war", "k": 3, "exclude": ["tt0001"]}


def test_a_health_request_is_answered(url: str) -> None:
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok", "items": 40, "calls_per_request": 8}


def test_items_travel_under_their_outside_names(url: str) -> None:
    answer = httpx.post(f"{url}/retrieve", json={"calls": [good_call()]}).json()
    [expected] = Shelves(40).retrieve([Call((17,), "war", 3, frozenset({1}))])
    assert answer == {"results": [[FILMS.names[item - 1] for item in expected]]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"history": ["nobody"]}, ["body", "calls", 0, "history", 0]),
        ({"history": []}, ["body", "calls", 0, "history"]),
        ({"history": ["tt0001"] * 6}, ["body", "calls", 0, "history"]),
        ({"history": "tt0001"}, ["body", "calls", 0, "history"]),
        ({"history": [17]}, ["body", "calls", 0, "history", 0]),
        ({"k": 31}, ["body", "calls", 0, "k"]),
        ({"k": 0}, ["body", "calls", 0, "k"]),
        ({"k": "3"}, ["body", "calls", 0, "k"]),
        ({"preference": "x" * 51}, ["body", "calls", 0, "preference"]),
        ({"preference": None}, ["body", "calls", 0, "preference"]),
        ({"exclude": ["nobody"]}, ["body", "calls", 0, "exclude", 0]),
        ({"user": 3}, ["body", "calls", 0, "user"]),
    ],
)
def test_a_malformed_call_is_refused_by_the_name_of_its_field(url: str, change: dict[str, object], field: list[str | int]) -> None:
    response = httpx.post(f"{url}/retrieve", json={"calls": [good_call() | change]})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == field


def test_a_malformed_request_is_refused(url: str) -> None:
    assert httpx.post(f"{url}/retrieve", json={}).json()["detail"][0]["loc"] == ["body", "calls"]
    assert httpx.post(f"{url}/retrieve", content=b"{").status_code == 422
    without = {key: value for key, value in good_call().items() if key != "k"}
    assert httpx.post(f"{url}/retrieve", json={"calls": [without]}).json()["detail"][0]["loc"] == ["body", "calls", 0, "k"]
    many = httpx.post(f"{url}/retrieve", json={"calls": [good_call()] * 9})
    assert (many.status_code, many.json()["detail"][0]["loc"]) == (422, ["body", "calls"])


def test_k_is_never_more_than_the_catalogue_has() -> None:
    async def ask(k: int) -> int:
        transport = httpx.ASGITransport(app=retrieval_app(Shelves(40), FILMS))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return (await client.post("/retrieve", json={"calls": [good_call() | {"k": k}]})).status_code

    assert ServiceSettings().items_per_call > FILMS.n_items
    assert [asyncio.run(ask(40)), asyncio.run(ask(41))] == [200, 422]


def test_requests_that_arrive_together_are_answered_together(url: str, counting: Counting) -> None:
    counting.batches.clear()
    counting.seconds = 0.2
    answers: dict[int, list[tuple[int, ...]]] = {}

    def ask(number: int) -> None:
        with RemoteRetriever(url, FILMS) as remote:
            answers[number] = remote.retrieve([Call((number,), f"wish {number}", 4)])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counting.seconds = 0.0
    assert sum(counting.batches) == 6
    assert len(counting.batches) < 6
    for number, answer in answers.items():
        assert answer == Shelves(40).retrieve([Call((number,), f"wish {number}", 4)]), "everybody gets their own answer"


def test_the_client_keeps_the_contract_of_the_retriever_behind_it(url: str) -> None:
    calls = [Call((17, 18), f"wish {number}", 5, frozenset({number})) for number in range(1, 21)]
    with RemoteRetriever(url, FILMS, calls_per_request=8) as remote:
        assert remote.retrieve(calls) == Shelves(40).retrieve(calls)
        assert remote.retrieve([]) == []


def test_an_agent_plays_the_same_over_http(url: str) -> None:
    script = [asks("war"), asks("love"), concludes(range(20, 30), FILMS)]
    settings = ProtocolSettings(items_per_call=5)
    with RemoteRetriever(url, FILMS) as remote:
        [there] = play(Scripted(script), remote, [film_case()], FILMS, settings)
    [here] = play(Scripted(script), Shelves(40), [film_case()], FILMS, settings)
    assert (there.text, there.turns, there.answer) == (here.text, here.turns, here.answer)


def test_a_server_error_is_tried_again_a_bounded_number_of_times(url: str, counting: Counting) -> None:
    with RemoteRetriever(url, FILMS, retries=2, pause=0.01) as remote:
        counting.failures = 2
        assert len(remote.retrieve([Call((17,), "", 3)])) == 1
        counting.failures = 3
        with pytest.raises(RetrievalError, match="did not answer after 3 attempts"):
            remote.retrieve([Call((17,), "", 3)])
    assert counting.failures == 0


def test_a_slow_service_runs_into_the_timeout(url: str, counting: Counting) -> None:
    counting.seconds = 0.5
    with RemoteRetriever(url, FILMS, retries=0, timeout=0.1) as remote, pytest.raises(RetrievalError, match="ReadTimeout"):
        remote.retrieve([Call((17,), "", 3)])
    counting.seconds = 0.0


def test_a_service_that_is_not_there_ends_the_episode_and_not_the_program() -> None:
    with RemoteRetriever("http://127.0.0.1:9", FILMS, retries=1, pause=0.01) as remote:
        [episode] = play(Scripted([asks("war")]), remote, [film_case()], FILMS, ProtocolSettings())
    assert episode.ending is Ending.RETRIEVAL_FAILED


def test_a_refused_request_is_told_at_once(url: str) -> None:
    with RemoteRetriever(url, FILMS) as remote, pytest.raises(DataError, match=r"refused the request \(422\).*at most 30"):
        remote.retrieve([Call((17,), "", 31)])


def test_another_catalogue_behind_the_service_is_told(url: str) -> None:
    other = Catalog(("tt0017", "other"), ("A", "B"))
    with RemoteRetriever(url, other) as remote, pytest.raises(DataError, match="not in this catalogue"):
        remote.retrieve([Call((1,), "", 3)])


def test_whoever_is_no_retrieval_service_or_serves_other_items_is_named_before_anything_is_played(url: str) -> None:
    with RemoteRetriever(url, FILMS) as remote:
        remote.check()
    for address in ("http://127.0.0.1:9", "127.0.0.1:9", "http://", "nonsense"):
        with (
            RemoteRetriever(address, FILMS) as remote,
            pytest.raises(DataError, match=f"'{address.rstrip('/')}', where no retrieval service.*fathom lend"),
        ):
            remote.check()
    with RemoteRetriever(url, Catalog(("one",), ("One",))) as remote, pytest.raises(DataError, match="serves 40 items, but this run has 1"):
        remote.check()


def test_what_speaks_for_items_travels_too(url: str) -> None:
    histories, items = [(17,), (18, 19)], [(3, 5), (2,)]
    with RemoteRetriever(url, FILMS, calls_per_request=1) as remote:
        told = remote.weigh(histories, items)
        assert remote.weigh([], []) == []
    assert [values.tolist() for values in told] == [values.tolist() for values in Shelves(40).weigh(histories, items)]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ([{"history": ["nobody"], "items": ["tt0001"]}], ["body", "asked", 0, "history", 0]),
        ([{"history": ["tt0017"], "items": ["nothing"]}], ["body", "asked", 0, "items", 0]),
        ([{"history": ["tt0017"] * 6, "items": []}], ["body", "asked", 0, "history"]),
        ([{"history": ["tt0017"], "items": ["tt0001"] * 31}], ["body", "asked", 0, "items"]),
        ([{"history": ["tt0017"], "items": []}] * 9, ["body", "asked"]),
        ([{"history": [], "items": []}], ["body", "asked", 0, "history"]),
    ],
)
def test_what_cannot_be_weighed_is_refused_by_the_name_of_its_field(url: str, asked: list[object], field: list[object]) -> None:
    answer = httpx.post(f"{url}/weigh", json={"asked": asked})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == field


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"weights": [[1.0]]}', "did not weigh"),
        ("<html>", "is it 'fathom lend retriever'"),
        ('{"weights": [[1.0, NaN]]}', "is it 'fathom lend retriever'"),
    ],
)
def test_a_service_that_weighs_something_else_is_stopped(url: str, monkeypatch: pytest.MonkeyPatch, answer: str, told: str) -> None:
    with RemoteRetriever(url, FILMS) as remote:
        monkeypatch.setattr(remote, "_post", lambda path, body: httpx.Response(200, text=answer))
        with pytest.raises(DataError, match=told):
            remote.weigh([(17,)], [(3, 5)])
