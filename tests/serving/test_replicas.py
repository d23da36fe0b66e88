"""Whole services in processes of their own: killed while people write, and two of them on one database."""

import csv
import io
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from commands import told

from fathom.data.dataset import Dataset
from tests.databases import postgres
from tests.serving.process import Replica, replica
from tests.serving.shop import FILMS
from tests.serving.test_store import place

__all__ = ["place"]

WRITERS = 8


def export(url: str) -> list[tuple[str, str]]:
    rows = csv.DictReader(io.StringIO(httpx.get(f"{url}/v1/feedback").text))
    return [(row["user_id"], row["item_id"]) for row in rows]


def person(url: str, name: str) -> list[str]:
    """Ids of the history."""
    return [item["id"] for item in httpx.get(f"{url}/v1/people/{name}").json()["history"]]


def post(url: str, path: str, status: int = 200, **body: object) -> dict:  # type: ignore[type-arg]
    answer = httpx.post(f"{url}{path}", json=body, timeout=30)
    assert answer.status_code == status, answer.text
    found: dict = answer.json()  # type: ignore[type-arg]
    return found


@pytest.mark.slow
def test_a_service_killed_under_write_load_loses_nothing_that_it_had_acknowledged(place: str, tmp_path: Path) -> None:
    acknowledged: list[tuple[str, str]] = []
    sent: set[tuple[str, str]] = set()
    over = threading.Event()

    def write(service: Replica, writer: int) -> None:
        with httpx.Client() as client:
            for number in range(10_000):
                acts = [(f"w{writer}-{number}", FILMS.names[(number + step) % 40]) for step in (0, 1)]
                body = {"acts": [{"user": user, "item": item, "kind": "like"} for user, item in acts]}
                sent.update(acts)
                try:
                    status = client.post(f"{service.url}/v1/feedback", json=body).status_code
                except httpx.TransportError:
                    assert over.is_set(), "it was killed, and nothing else"
                    return
                assert status == 201
                acknowledged.extend(acts)

    with replica(place) as service, ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write, service, writer) for writer in range(WRITERS)]
        while len(acknowledged) < 400:
            time.sleep(0.01)
        over.set()
        service.kill()
        for one in writing:
            one.result()
    with replica(place) as service:
        kept = export(service.url)
        assert set(acknowledged) <= set(kept) <= sent
        assert len(kept) == len(set(kept)), "nothing is kept twice"
        users = [user for user, _ in kept]
        assert all(users.count(user) == 2 for user in set(users)), "a request is kept whole or not at all"
        user, item = acknowledged[-1]
        assert item in person(service.url, user)
        shown = post(service.url, "/v1/recommend", user=user, k=30)
        assert item not in [one["id"] for one in shown["items"]], "what was taken is not recommended again"


def test_what_was_kept_is_a_log_that_is_imported(tmp_path: Path) -> None:
    with replica(str(tmp_path / "state.db")) as service:
        acts = [{"user": "anna, of Bonn", "item": FILMS.names[number], "kind": "like"} for number in (3, 1, 2)]
        acts += [{"user": 'ben "b"', "item": FILMS.names[5], "kind": kind} for kind in ("impression", "dislike", "click")]
        assert post(service.url, "/v1/feedback", 201, acts=acts) == {"kept": 6}
        (tmp_path / "log.csv").write_text(httpx.get(f"{service.url}/v1/feedback").text, encoding="utf-8")
    told("data", "import", tmp_path / "log.csv", tmp_path / "log")
    dataset = Dataset.load(tmp_path / "log")
    taken = {
        user: [dataset.catalog.names[item - 1] for item in dataset.interactions.history(number).tolist()]
        for number, user in enumerate(dataset.interactions.users)
    }
    assert sorted(taken["anna, of Bonn"]) == sorted(FILMS.names[number] for number in (1, 2, 3))
    assert taken['ben "b"'] == [FILMS.names[5]]


def test_who_is_told_to_end_answers_what_is_under_way_and_takes_nothing_new(tmp_path: Path) -> None:
    with replica(str(tmp_path / "state.db")) as service, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(post, service.url, "/v1/recommend", user="p1", model="agent", k=3, explain=True)
        while "fathom_batch_count" not in httpx.get(f"{service.url}/metrics").text:
            time.sleep(0.02)
        service.kill(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{service.url}/healthz")
        assert len(under_way.result()["turns"]) == 2


@pytest.mark.slow
def test_two_replicas_on_one_postgresql_are_one_service() -> None:
    with postgres() as url, replica(url) as one, replica(url) as other:
        film, second = FILMS.names[7], FILMS.names[8]
        for number, (here, there) in enumerate(((one, other), (other, one))):
            user = f"anna {number}"
            assert post(here.url, "/v1/feedback", 201, acts=[{"user": user, "item": film, "kind": "like"}]) == {"kept": 1}
            assert person(there.url, user) == [film]
            lists = [post(service.url, "/v1/recommend", user=user, k=5)["items"] for service in (here, there)]
            assert lists[0] == lists[1]
            assert post(there.url, "/v1/feedback", 201, acts=[{"user": user, "item": second, "kind": "click"}]) == {"kept": 1}
            assert person(here.url, user) == [film, second]

            said = post(here.url, "/v1/chat", user=user, message="show me 2 of them")
            more = post(there.url, "/v1/chat", conversation=said["conversation"], message="show me 3 of them")
            assert (len(said["items"]), len(more["items"])) == (2, 3)

            new = {"id": f"new {number}", "title": f"Entirely New {number} (2026)"}
            post(here.url, "/v1/items", 201, **new)
            found = httpx.get(f"{there.url}/v1/items", params={"q": "Entirely New", "k": 5}).json()["items"]
            assert new["title"] in [item["title"] for item in found]
            assert post(there.url, "/v1/items", 409, **new)["error"]["code"] == "exists"
            by_words = post(there.url, "/v1/recommend", history=[film], model="text", preference=new["title"], k=3)
            assert new["id"] in [item["id"] for item in by_words["items"]], "whoever grows takes it on every replica"
            httpx.delete(f"{there.url}/v1/items/{FILMS.names[20 + number]}").raise_for_status()
            shown = post(here.url, "/v1/recommend", history=[film], k=40)["items"]
            assert FILMS.names[20 + number] not in [item["id"] for item in shown]
        begun = post(one.url, "/v1/chat", user="anna 0", message="show me 2 of them")["conversation"]
        with ThreadPoolExecutor(2) as pool:
            both = list(
                pool.map(
                    lambda service: (
                        httpx.post(
                            f"{service.url}/v1/chat", json={"conversation": begun, "message": "show me 2 of them"}, timeout=30
                        ).status_code
                    ),
                    (one, other),
                )
            )
        assert sorted(both) in ([200, 200], [200, 409]), "one waits for the other, or is told so: neither is lost"
        one.kill()
        assert post(other.url, "/v1/chat", conversation=begun, message="show me 4 of them")["items"]
        assert person(other.url, "anna 0") == [film, second]
