"""Retrieval over HTTP, for agents that play on other machines: validated, batched, with a health check.

    POST /retrieve  {"calls": [{"history": ["tt01"], "preference": "war", "k": 20, "exclude": ["tt01"]}]}
                    -> {"results": [["tt07", ...]]}
    POST /weigh     {"asked": [{"history": ["tt01"], "items": ["tt07", "tt02"]}]}
                    -> {"weights": [[-2.1, -4.7]]}
    GET  /healthz   -> {"status": "ok", "items": 3416, "calls_per_request": 1024}

Items travel under the catalogue's outside names. A request that cannot be answered gets 422 and the path of the field.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fathom.agents.remote_retrieval import Results, Weights
from fathom.contracts import Tool
from fathom.records import Call, Catalog
from fathom.serving.together import Together
from fathom.settings import Settings

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ServiceSettings(Settings):
    """What one request may ask for."""

    calls_per_request: int = Field(default=1_024, ge=1)
    """Calls in one request."""
    history_length: int = Field(default=1_000, ge=1)
    """Items in one history."""
    preference_characters: int = Field(default=2_000, ge=1)
    """Characters of one preference."""
    items_per_call: int = Field(default=1_000, ge=1)
    """Items that one call may ask for; never more than the catalogue has."""


class CallBody(BaseModel):
    """One question to the retriever."""

    model_config = ConfigDict(extra="forbid", strict=True)

    history: list[Name] = Field(min_length=1)
    preference: str = ""
    k: int = Field(ge=1)
    exclude: list[Name] = Field(default_factory=list)


class Body(BaseModel):
    """What POST /retrieve takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    calls: list[CallBody]


class Weighed(BaseModel):
    """A history, and items of which the retriever shall say what speaks for them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    history: list[Name] = Field(min_length=1)
    items: list[Name]


class Weighing(BaseModel):
    """What POST /weigh takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    asked: list[Weighed]


class Health(BaseModel):
    """What GET /healthz gives."""

    status: str
    items: int
    calls_per_request: int


def retrieval_app(retrieve: Tool, catalog: Catalog, settings: ServiceSettings | None = None) -> FastAPI:
    """The service over `retrieve`."""
    limits = settings or ServiceSettings()
    ids = {name: item for item, name in enumerate(catalog.names, start=1)}
    together = Together(retrieve.retrieve)
    app = FastAPI(title="Fathom retrieval", docs_url=None, redoc_url=None)

    @app.get("/healthz")
    async def health() -> Health:
        return Health(status="ok", items=catalog.n_items, calls_per_request=limits.calls_per_request)

    @app.post("/retrieve")
    async def answer(body: Body) -> Results:
        faults = _faults(body, ids, limits)
        if faults:
            raise RequestValidationError(faults)
        calls = [
            Call(
                tuple(ids[name] for name in call.history),
                call.preference,
                call.k,
                frozenset(ids[name] for name in call.exclude),
            )
            for call in body.calls
        ]
        answers = await together.answer(calls)
        return Results(results=[[catalog.names[item - 1] for item in items] for items in answers])

    @app.post("/weigh")
    async def weigh(body: Weighing) -> Weights:
        faults = _weighing_faults(body, ids, limits)
        if faults:
            raise RequestValidationError(faults)
        histories = [[ids[name] for name in one.history] for one in body.asked]
        items = [[ids[name] for name in one.items] for one in body.asked]
        return Weights(weights=[values.tolist() for values in await together.alone(retrieve.weigh, histories, items)])

    return app


def _weighing_faults(body: Weighing, ids: dict[str, int], limits: ServiceSettings) -> list[dict[str, object]]:
    """What is wrong with a well-typed request to weigh."""
    if len(body.asked) > limits.calls_per_request:
        return [_fault(("asked",), f"{len(body.asked)} histories in one request; at most {limits.calls_per_request}")]
    faults = []
    for place, one in enumerate(body.asked):
        if len(one.history) > limits.history_length:
            faults.append(
                _fault(("asked", place, "history"), f"{len(one.history)} items; at most {limits.history_length}: send the latest")
            )
        if len(one.items) > limits.items_per_call:
            faults.append(_fault(("asked", place, "items"), f"{len(one.items)} items; at most {limits.items_per_call}"))
        faults += [*_strangers(("asked", place, "history"), one.history, ids), *_strangers(("asked", place, "items"), one.items, ids)]
    return faults


def _strangers(path: tuple[str | int, ...], names: Sequence[str], ids: dict[str, int]) -> list[dict[str, object]]:
    """A fault for each of `names` that the catalogue does not have."""
    return [_fault((*path, index), f"{name!r} is no item of this catalogue") for index, name in enumerate(names) if name not in ids]


def _fault(path: tuple[str | int, ...], message: str) -> dict[str, object]:
    """In the form of FastAPI's own errors: the path of the field and a sentence."""
    return {"loc": ("body", *path), "msg": message, "type": "value_error"}


def _faults(body: Body, ids: dict[str, int], limits: ServiceSettings) -> list[dict[str, object]]:
    """What is wrong with a well-typed request to retrieve."""
    faults: list[dict[str, object]] = []

    def fault(path: tuple[str | int, ...], message: str) -> None:
        faults.append(_fault(("calls", *path), message))

    if len(body.calls) > limits.calls_per_request:
        fault((), f"{len(body.calls)} calls in one request; at most {limits.calls_per_request}")
        return faults
    most = min(limits.items_per_call, len(ids))
    for place, call in enumerate(body.calls):
        if call.k > most:
            fault((place, "k"), f"k is {call.k}; at most {most}")
        if len(call.history) > limits.history_length:
            fault((place, "history"), f"{len(call.history)} items; at most {limits.history_length}: send the latest")
        if len(call.preference) > limits.preference_characters:
            fault((place, "preference"), f"{len(call.preference)} characters; at most {limits.preference_characters}")
        for field, names in (("history", call.history), ("exclude", call.exclude)):
            faults += _strangers(("calls", place, field), names, ids)
    return faults
