"""Retrieval over HTTP: the client of `fathom lend retriever`, for agents that play on other machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
from pydantic import BaseModel, FiniteFloat, ValidationError

from fathom.errors import DataError, FathomError, MissingExtraError
from fathom.records import Call, Catalog, Floats

if TYPE_CHECKING:
    import httpx


class RetrievalError(FathomError):
    """The retriever did not answer; a conversation ends for this reason, it does not crash."""


class Results(BaseModel):
    """The body of the service's answer."""

    results: list[list[str]]
    """Per call the outside names of the items, best first."""


class Weights(BaseModel):
    """The body of the service's answer to what it was asked to weigh."""

    weights: list[list[FiniteFloat]]
    """Per history what speaks for each item, in nats."""


Answer = TypeVar("Answer", bound=BaseModel)


class RemoteRetriever:
    """Keeps the `Tool` contract by asking a service; item ids travel as the catalogue's outside names.

    A request that times out, cannot connect or meets a server error is tried again, `retries` times at most and with
    growing pauses; then it is a `RetrievalError`. A request that the service refuses (4xx) would be refused again: it
    is a `DataError` with the service's words at once, and so is an answer that does not fit the call.
    """

    def __init__(
        self, url: str, catalog: Catalog, *, timeout: float = 30.0, retries: int = 3, pause: float = 0.5, calls_per_request: int = 256
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("httpx", "serve") from error
        self._httpx = httpx
        self._url = url.rstrip("/")
        self._catalog = catalog
        self._ids = {name: item for item, name in enumerate(catalog.names, start=1)}
        self._retries = retries
        self._pause = pause
        self._calls_per_request = calls_per_request
        self._client = httpx.Client(timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check(self) -> None:
        """A `DataError` unless the service answers and has as many items as this catalogue; cheaper to know before anything is played."""
        instead = "start  fathom lend retriever RUN --training --host 0.0.0.0  there, or leave 'retrieval' out"
        try:
            items = self._client.get(f"{self._url}/healthz").raise_for_status().json()["items"]
        except (self._httpx.HTTPError, self._httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise DataError(f"retrieval is '{self._url}', where no retrieval service answers ({error}): {instead}") from error
        if items != self._catalog.n_items:
            raise DataError(f"retrieval is '{self._url}', which serves {items} items, but this run has {self._catalog.n_items}: {instead}")

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        """Per call at most `call.k` item ids, best first, none of `call.exclude`."""
        answers: list[tuple[int, ...]] = []
        for start in range(0, len(calls), self._calls_per_request):
            answers += self._ask(calls[start : start + self._calls_per_request])
        return answers

    def weigh(self, histories: Sequence[Sequence[int]], items: Sequence[Sequence[int]]) -> list[Floats]:
        """Per history what speaks for each of its `items`, in nats."""
        weights: list[Floats] = []
        for start in range(0, len(histories), self._calls_per_request):
            part = slice(start, start + self._calls_per_request)
            names = self._catalog.names
            asked = [
                {"history": [names[item - 1] for item in history], "items": [names[item - 1] for item in wanted]}
                for history, wanted in zip(histories[part], items[part], strict=True)
            ]
            found = self._answer("weigh", {"asked": asked}, Weights).weights
            if [len(values) for values in found] != [len(wanted) for wanted in items[part]]:
                raise DataError(f"{self._url} did not weigh the items that it was asked about: it breaks the contract")
            weights += [np.asarray(values, dtype=np.float32) for values in found]
        return weights

    def _ask(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        names = self._catalog.names
        body = {
            "calls": [
                {
                    "history": [names[item - 1] for item in call.history],
                    "preference": call.preference,
                    "k": call.k,
                    "exclude": sorted(names[item - 1] for item in call.exclude),
                }
                for call in calls
            ]
        }
        results = self._answer("retrieve", body, Results).results
        if len(results) != len(calls):
            raise DataError(f"{self._url} was asked {len(calls)} calls and answered {len(results)}: it breaks the contract")
        return [self._items(call, result) for call, result in zip(calls, results, strict=True)]

    def _answer(self, path: str, body: object, kind: type[Answer]) -> Answer:
        """What the service answers at `path`; a request that it refuses is a `DataError`, and so is an answer of another kind."""
        response = self._post(path, body)
        if response.status_code != 200:
            raise DataError(f"{self._url} refused the request ({response.status_code}): {response.text[:500]}")
        try:
            return kind.model_validate_json(response.text)
        except ValidationError as error:
            raise DataError(f"{self._url} answered {response.text[:200]!r}: is it 'fathom lend retriever'?") from error

    def _post(self, path: str, body: object) -> httpx.Response:
        """The service's answer; server errors and lost connections are tried again, then raised."""
        reason = ""
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                response = self._client.post(f"{self._url}/{path}", json=body)
            except self._httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if response.status_code < 500:
                return response
            reason = f"server error {response.status_code}"
        raise RetrievalError(f"{self._url} did not answer after {self._retries + 1} attempts ({reason})")

    def _items(self, call: Call, names: Sequence[str]) -> tuple[int, ...]:
        unknown = [name for name in names if name not in self._ids]
        if unknown:
            raise DataError(f"{self._url} returned item {unknown[0]!r}, which is not in this catalogue: serve the same dataset")
        items = tuple(self._ids[name] for name in names)
        if len(items) > call.k or call.exclude.intersection(items):
            raise DataError(f"{self._url} returned {len(items)} items for k={call.k}, or some that were excluded: it breaks the contract")
        return items
