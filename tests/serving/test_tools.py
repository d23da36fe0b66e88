"""Agents get the service's routes as tools: the same answers, the same refusals."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from mcp import Client

from fathom.serving.app import service_app
from fathom.serving.store.store import Store
from fathom.serving.tools import TOOLS, tool_server
from tests.serving.shop import offer


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return service_app([offer(), offer("others")], Store(str(tmp_path / "state.db")))


def asked(app: FastAPI, ask: Callable[[Client], Awaitable[Any]]) -> Any:
    """What an agent gets that is connected to the tools over this app."""

    async def connected() -> Any:
        async with app.router.lifespan_context(app), Client(tool_server(app)) as client:
            return await ask(client)

    return asyncio.run(connected())


def called(app: FastAPI, name: str, **arguments: Any) -> Any:
    """What a tool answers; a refusal fails the test."""
    result = asked(app, lambda client: client.call_tool(name, arguments))
    assert not result.is_error, result.content
    return result.structured_content


def refused(app: FastAPI, name: str, **arguments: Any) -> str:
    result = asked(app, lambda client: client.call_tool(name, arguments))
    assert result.is_error
    told: str = result.content[0].text
    return told


def test_every_tool_says_what_it_does_and_what_it_takes(app: FastAPI) -> None:
    tools = {tool.name: tool for tool in asked(app, lambda client: client.list_tools()).tools}
    assert tools.keys() == TOOLS.keys()
    for tool in tools.values():
        assert tool.description
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert "$ref" not in str(tool.input_schema)
        assert "stream" not in tool.input_schema["properties"]
    assert tools["recommend"].input_schema["properties"]["history"]["description"].startswith("Instead of `user`")
    assert tools["similar"].input_schema["required"] == ["item"]
    assert tools["remove_item"].input_schema["required"] == ["item"]
    assert tools["remove_item"].annotations is not None
    assert tools["remove_item"].annotations.destructive_hint


def test_a_tool_answers_what_its_route_answers(app: FastAPI) -> None:
    with TestClient(app) as client:
        film = client.get("/v1/items", params={"k": 1}).json()["items"][0]
        by_route = client.post("/v1/recommend", json={"history": [film["title"]], "k": 4, "run": "others"}).json()
    by_tool = called(app, "recommend", history=[film["title"]], k=4, run="others")
    assert by_tool | {"seconds": 0} == by_route | {"seconds": 0}
    assert len(by_tool["items"]) == 4
    assert called(app, "search_items", q=film["title"], k=1)["items"] == [film]
    assert [run["name"] for run in called(app, "list_runs")["result"]] == ["films", "others"]
    assert len(called(app, "similar", item=film["id"], k=3)["items"]) == 3
    assert len(called(app, "rate", items=[film["id"]], user="p3")["ratings"]) == 1


def test_an_agent_thinks_aloud_through_a_tool(app: FastAPI) -> None:
    told = called(app, "recommend", user="p1", model="agent", k=3, explain=True)
    assert [turn["preference"] for turn in told["turns"]] == ["something of war", "something of love"]
    said = called(app, "chat", user="p2", message="show me 2 of them")
    assert len(said["items"]) == 2
    assert called(app, "chat", message="show me 3 of them", conversation=said["conversation"])["conversation"] == said["conversation"]


def test_what_people_did_and_new_items_count_at_once(app: FastAPI) -> None:
    film = called(app, "search_items", k=1)["items"][0]
    assert called(app, "feedback", acts=[{"user": "new one", "item": film["id"], "kind": "like"}]) == {"kept": 1}
    assert called(app, "person", user="new one")["history"] == [film]
    added = called(app, "add_item", id="n/1", title="A New Film (2026)")["item"]
    assert called(app, "search_items", q="A New Film", k=1)["items"] == [added]
    assert called(app, "remove_item", item="A New Film (2026)") == added
    assert called(app, "search_items", q="A New Film", k=1)["items"] != [added]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("recomend", {}, "there is no tool 'recomend'; did you mean 'recommend'?"),
        ("recommend", {"k": -1}, "k: Input should be greater than or equal to 1"),
        ("recommend", {"k": 10**6}, "is more than the"),
        ("recommend", {"history": ["No Such Film"]}, "'No Such Film' is no item of this catalogue"),
        ("recommend", {"histroy": []}, "histroy: Extra inputs are not permitted"),
        ("search_items", {"query": "x"}, "query: search_items has no such field"),
        ("search_items", {"k": "many"}, "k: Input should be a valid integer"),
        ("remove_item", {}, "item: it is missing"),
        ("remove_item", {"item": "../feedback"}, "is no item of this catalogue"),
        ("person", {"user": ""}, "user: it is missing"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(app: FastAPI, name: str, arguments: dict[str, Any], said: str) -> None:
    assert said in refused(app, name, **arguments)
