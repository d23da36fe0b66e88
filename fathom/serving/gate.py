"""What every request passes: bodies that are too large are refused before they are read, and each answer is counted."""

import json
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fathom.serving.figures import Figures
from fathom.serving.refusals import Refused


class Gate:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, *, figures: Figures, body_bytes: int) -> None:
        self._app = app
        self._figures = figures
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, up to its limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, read, status = time.perf_counter(), 0, 500
        declared = dict(scope["headers"]).get(b"content-length", b"0")

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._body_bytes:
                raise _TooLarge
            return message

        async def answered(message: Message) -> None:
            nonlocal status
            if read > self._body_bytes:
                return  # whoever read the body has its own word for why it could not, which says less
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            if declared.isdigit() and int(declared) > self._body_bytes:
                read = int(declared)
            else:
                with suppress(_TooLarge):
                    await self._app(scope, counted, answered)
            if read > self._body_bytes:
                status = 413
                await self._refuse(send)
        finally:
            route = getattr(scope.get("route"), "path", "elsewhere")
            self._figures.requests.labels(route, str(status)).inc()
            self._figures.seconds.labels(route).observe(time.perf_counter() - began)

    async def _refuse(self, send: Send) -> None:
        told = f"the body has more than the {self._body_bytes:,} bytes that are read"
        body = json.dumps({"error": Refused(413, told, code="too_large").told}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _TooLarge(Exception):
    """The body is longer than it may be."""
