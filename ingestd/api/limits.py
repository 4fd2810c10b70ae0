"""The outermost layer of the app: limits of a request, and its line in the log.

h11's own limit holds only for heads that come in pieces, so sizes are checked here.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestd.api.edge import Limits
from ingestd.api.line import STATE
from ingestd.api.problems import problem
from ingestd.telemetry import vocabulary

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STREAMS: Final = "/events/stream"
# Asked every few seconds by machines: in the log only where they fail, or at level debug.
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})


class LimitsMiddleware:
    """Refuses what is too large or too much, ends what is too slow, and logs every request once.

    The log has the route's template, never the path or the query: the OAuth
    callback's query holds the code and the state.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._serving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.monotonic()
        answer = _Answer(send)
        try:
            await self._limited(scope, receive, answer)
        finally:
            _log(scope, answer.status, time.monotonic() - started_at)

    async def _limited(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        refused = self._refusal(scope)
        # Streams have a limit of their own. After a restart hundreds of them come back at once.
        counted = not scope["path"].endswith(_STREAMS)
        if refused is None and counted and self._serving >= self._limits.requests_max:
            await problem(503, headers={"Connection": "close", "Retry-After": "1"})(scope, receive, answer)
            return
        if refused is not None:
            await problem(refused, headers={"Connection": "close"})(scope, receive, answer)
            return
        self._count(counted)
        try:
            await self._timed(scope, receive, answer, counted)
        finally:
            self._count(-counted)

    def _count(self, change: int) -> None:
        self._serving += change

    async def _timed(self, scope: Scope, receive: Receive, answer: _Answer, counted: bool) -> None:
        try:
            async with asyncio.timeout(self._limits.request_seconds_max) as limit:
                if (line := scope.get("state", {}).get(STATE)) is not None:
                    line.lift = lambda: limit.reschedule(None)
                    line.leave, line.enter = partial(self._count, -counted), partial(self._count, counted)
                await self._app(scope, self._counted(receive), answer)
        except TimeoutError:
            # A TimeoutError of the handler's own is a defect, and goes the way of all others. After
            # the answer has begun, the server can only cut the connection.
            if not limit.expired() or answer.status is not None:
                raise
            await problem(504, headers={"Connection": "close"})(scope, receive, answer)

    def _refusal(self, scope: Scope) -> int | None:
        if len(scope["query_string"]) > self._limits.query_bytes_max or len(scope["raw_path"]) > 2048:
            return 414
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.header_bytes_max:
            return 431
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        # h11 has checked that it is a number, and but one.
        return 413 if lengths and int(lengths[0]) > self._limits.body_bytes_max else None

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._limits.body_bytes_max:
                # FastAPI makes a 400 of any other exception while it reads a body.
                raise HTTPException(413)
            return message

        return counted


class _Answer:
    """`send`, remembering the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _log(scope: Scope, status: int | None, seconds: float) -> None:
    log = structlog.get_logger()
    # FastAPI's own: the route by itself lacks the prefix of the router that includes it.
    effective = scope.get("fastapi", {}).get("effective_route_context")
    route = getattr(effective or scope.get("route"), "path", None)
    quiet = route in _QUIET and status == 200
    write = log.debug if quiet else log.info
    write(
        vocabulary.HTTP_REQUEST,
        route=route,
        method=scope["method"].lower() if scope["method"] in _METHODS else "other",
        # No answer: the handler failed, which the server answers with 500, or the client went away.
        status_code=status if status is not None else 500,
        duration_seconds=seconds,
    )
