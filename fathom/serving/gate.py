"""What every request passes: as many as may be under way are let in, bodies that are too large are refused before they are read, those
that do not come are given up, and each answer is counted."""

import asyncio
import json
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fathom.serving.figures import Figures
from fathom.serving.limits import Limits
from fathom.serving.refusals import Refused

ALWAYS = ("/healthz", "/readyz", "/metrics")
"""What can be asked however many requests are under way: it answers at once."""


class Gate:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, *, figures: Figures, limits: Limits) -> None:
        self._app = app
        self._figures = figures
        self._body_bytes = limits.body_bytes
        self._seconds = limits.seconds
        self._most = limits.open
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, up to its limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, read, status, whole, late = time.perf_counter(), 0, 500, False, False
        until = asyncio.get_running_loop().time() + self._seconds
        declared = dict(scope["headers"]).get(b"content-length", b"0")

        async def counted() -> Message:
            nonlocal read, whole, late
            try:
                async with asyncio.timeout_at(None if whole else until):  # whoever is behind it may wait for long
                    message = await receive()
            except TimeoutError as error:
                late = True
                raise _Refused from error
            read += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if read > self._body_bytes:
                raise _Refused
            return message

        async def answered(message: Message) -> None:
            nonlocal status
            if late or read > self._body_bytes:
                return  # whoever read the body has its own word for why it could not, which says less
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        self._open += 1
        try:
            refusal = 429 if self._open > self._most and scope["path"] not in ALWAYS else 0
            if not refusal and declared.isdigit() and int(declared) > self._body_bytes:
                refusal = 413
            if not refusal:
                with suppress(_Refused):
                    await self._app(scope, counted, answered)
                refusal = 408 if late else 413 if read > self._body_bytes else 0
            if refusal:
                status = refusal
                await self._refuse(send, refusal)
        finally:
            self._open -= 1
            route = getattr(scope.get("route"), "path", "elsewhere")
            self._figures.requests.labels(route, str(status)).inc()
            self._figures.seconds.labels(route).observe(time.perf_counter() - began)

    async def _refuse(self, send: Send, status: int) -> None:
        why = {
            408: (f"the body did not come within {self._seconds:g} seconds", "too_slow"),
            413: (f"the body has more than the {self._body_bytes:,} bytes that are read", "too_large"),
            429: (f"{self._most} requests are under way already: come again in a second", "busy"),
        }
        told, code = why[status]
        body = json.dumps({"error": Refused(status, told, code=code).told}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        headers += [(b"retry-after", b"1")] if status == 429 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Refused(Exception):
    """The body is longer than it may be, or does not come."""
