"""What a service says when it cannot answer: one form for every route, the one that clients of OpenAI's services know."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fathom.errors import FathomError


class Refused(Exception):
    """A request that cannot be answered: why, and what to send instead."""

    def __init__(self, status: int, message: str, *, code: str, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.told = {"message": message, "type": kind, "param": param, "code": code}


def refusal_of(error: Refused | FathomError) -> Refused:
    """What is told of an error that its sender can mend."""
    return error if isinstance(error, Refused) else Refused(400, str(error), code="cannot_be_answered")


def tell_refusals(app: FastAPI) -> None:
    """Answer every kind of error of the app in this form; nothing of the code is ever shown."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": error.told}, status_code=error.status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        return _told(readable(error.errors()))

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> JSONResponse:
        told = {
            400: ("the body cannot be read: send JSON in UTF-8", "invalid_json"),
            404: (f"there is nothing at {request.url.path}; /docs lists what is there", "no_such_route"),
            405: (f"{request.url.path} does not take {request.method}", "no_such_route"),
        }
        message, code = told.get(error.status_code, (str(error.detail), "refused"))
        refusal = Refused(error.status_code, message, code=code)
        return JSONResponse({"error": refusal.told}, status_code=error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(FathomError)
    async def cannot_be(_: Request, error: FathomError) -> JSONResponse:
        return _told(refusal_of(error))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        del error  # the server's log has it
        return _told(Refused(500, "the service failed; its log says why", code="internal_error"))


def readable(faults: Any) -> Refused:
    """The first fault of a body as a refusal that names the field."""
    first = faults[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    if first["type"] == "json_invalid":
        where = f" at character {first['loc'][-1]}" if len(first["loc"]) > 1 else ""
        return Refused(400, f"the body is not JSON{where}: {first.get('ctx', {}).get('error', first['msg'])}", code="invalid_json")
    return Refused(400, f"{field}: {first['msg']}" if field else str(first["msg"]), code="invalid_value", param=field or None)


def _told(refusal: Refused) -> JSONResponse:
    return JSONResponse({"error": refusal.told}, status_code=refusal.status, headers=refusal.headers)
