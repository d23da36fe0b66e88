"""The explorer's routes: pages about many runs, all of them made here, all of them read only.

GET /                                       all runs
GET /run?run=demo                           one of them
GET /answers?run=demo&row=agent&kind=miss   what a row of its table answered, ten at a time
GET /changes?run=demo&before=agent-warm&after=agent
"""

from collections.abc import Callable
from typing import Protocol

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse

from fathom.errors import FathomError
from fathom.reports.library import refusal


class Library(Protocol):
    """Runs as pages. Names that there are none of are a `FathomError`."""

    def overview(self) -> str:
        """All runs."""
        ...

    def run(self, name: str) -> str:
        """One run; also one that is not finished."""
        ...

    def answers(self, name: str, row: str, kind: str, user: str, page: str) -> str:
        """What a row answered; '' for what is usual."""
        ...

    def changes(self, name: str, before: str, after: str, kind: str, user: str, page: str) -> str:
        """What changed from one row to another; '' for what is usual."""
        ...


HEADERS = {"referrer-policy": "no-referrer", "x-frame-options": "DENY", "x-content-type-options": "nosniff"}
"""Of every page; its policy, which forbids to load anything, stands in it."""


def explorer_app(library: Library) -> FastAPI:
    """The explorer over a library."""
    app = FastAPI(title="Fathom: runs", docs_url=None, redoc_url=None, openapi_url=None)

    # These are no coroutines, so they run in threads of their own: a page that reads a large run holds up nobody.
    @app.get("/")
    def overview() -> HTMLResponse:
        return _page(library.overview)

    @app.get("/run")
    def run(run: str = "") -> HTMLResponse:
        return _page(lambda: library.run(run))

    @app.get("/answers")
    def answers(run: str = "", row: str = "", kind: str = "", user: str = "", page: str = "") -> HTMLResponse:
        return _page(lambda: library.answers(run, row, kind, user, page))

    @app.get("/changes")
    def changes(run: str = "", before: str = "", after: str = "", kind: str = "", user: str = "", page: str = "") -> HTMLResponse:
        return _page(lambda: library.changes(run, before, after, kind, user, page))

    @app.exception_handler(404)
    async def nowhere(request: Request, error: Exception) -> HTMLResponse:
        del error
        return HTMLResponse(refusal(f"There is no page {request.url.path}."), status_code=404, headers=HEADERS)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> HTMLResponse:
        del request, error  # the server's log has it
        return HTMLResponse(refusal("This page could not be made; the terminal that serves it says why."), status_code=500, headers=HEADERS)

    return app


def _page(make: Callable[[], str]) -> HTMLResponse:
    """The page, or why there is none."""
    try:
        return HTMLResponse(make(), headers=HEADERS)
    except FathomError as error:
        return HTMLResponse(refusal(str(error)), status_code=404, headers=HEADERS)
