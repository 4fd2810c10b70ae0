"""Posting to a receiver: one try, bounded in time and size, through the egress guard.

A receiver is somebody else's program at an address that an account chose: where it is, is looked up and checked at
each connection, and the connection goes to the very address that was checked. Redirects are not followed, no proxy
of the environment's is used, and nothing of an answer is kept but its status and its Retry-After.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore2

from config import Webhooks
from connectors.base import TemporaryError
from connectors.egress import EgressGuard, EgressRefused

_KEEPALIVE_SECONDS: Final = 5.0
"""Longer than the pause between two events of a busy desk, shorter than any server's own limit."""
_IDLE_MAX: Final = 50
"""Connections that are kept: the pool looks at each of them at each request."""
_CONNECT_SECONDS: Final = 5.0
"""For one of the addresses of a name."""
_GONE: Final = 410
_ASK_LATER: Final = frozenset({429, 503})
_BODY_SECONDS: Final = 5.0
"""How long the body of an answer may take."""
_FAILURES: Final = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt."""

    code: int | None
    """The receiver's status; None where there was no answer."""
    reason: str | None
    """Why it is no success, as a fixed word; None for a success."""
    duration_seconds: float
    retry_after: float | None = None
    """How long the receiver asks us to wait; not bounded yet."""

    @property
    def delivered(self) -> bool:
        return self.reason is None

    @property
    def gone(self) -> bool:
        return self.code == _GONE


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to hosts that accounts supply, at an address that the guard has just looked at.

    It stands beneath the pool, so that a connection is kept and verified under the name, not under the address: two
    names at one address (a CDN's) never share a connection.
    """

    def __init__(self, guard: EgressGuard) -> None:
        self._guard = guard
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises EgressRefused, TemporaryError, httpcore2.ConnectError."""
        failed: Exception | None = None
        for address in await self._guard.resolve(host, port, account_supplied=True):
            try:
                return await self._inner.connect_tcp(address.ip, port, _CONNECT_SECONDS)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore2.ConnectError("no address")


class Courier:
    """Posts to webhooks. One for a process; its connections are kept a while for the next delivery."""

    def __init__(self, guard: EgressGuard, ssl_context: ssl.SSLContext, settings: Callable[[], Webhooks]) -> None:
        self._settings = settings
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=settings().in_flight_max,
            max_keepalive_connections=_IDLE_MAX,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=GuardedBackend(guard),
        )

    async def close(self) -> None:
        await self._pool.aclose()

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        """Post once, and tell what came of it; whatever goes wrong is an answer as well."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings().timeout_seconds):
                response = await self._ask(url, headers, body)
        except (TimeoutError, TemporaryError, EgressRefused, *_FAILURES) as error:
            return Answer(None, _failure(error), time.monotonic() - began)
        seconds = time.monotonic() - began
        await self._skip(response)
        asked = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
        retry_after = _retry_after(asked) if response.status in _ASK_LATER else None
        return Answer(response.status, _refusal(response.status), seconds, retry_after)

    async def _ask(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> httpcore2.Response:
        sent = [("Host", urlsplit(url).netloc), ("Content-Length", str(len(body))), *headers]
        request = httpcore2.Request("POST", url, headers=sent, content=body)
        try:
            return await self._pool.handle_async_request(request)
        except (httpcore2.ReadError, httpcore2.WriteError, httpcore2.RemoteProtocolError):
            # A kept connection may have been closed at the other end just now. Once more, then: the receiver knows
            # the event by its id, should it have taken it all the same.
            return await self._pool.handle_async_request(request)

    async def _skip(self, response: httpcore2.Response) -> None:
        """Read the body, so that the connection can be kept. The status has said it all: nothing here is a failure."""
        left = self._settings().response_bytes_max
        try:
            with contextlib.suppress(TimeoutError, *_FAILURES):
                async with asyncio.timeout(_BODY_SECONDS):
                    async for chunk in response.aiter_stream():
                        left -= len(chunk)
                        if left < 0:
                            return
        finally:
            await response.aclose()


def _failure(error: BaseException) -> str:
    if isinstance(error, TimeoutError | httpcore2.TimeoutException):
        return "timeout"
    if isinstance(error, EgressRefused):
        return "address_refused"
    if isinstance(error, TemporaryError):
        return "name_not_found"
    if isinstance(error, httpcore2.ConnectError):
        return "tls_failed" if isinstance(error.args[0], ssl.SSLError) else "not_connected"
    return "disconnected"


def _refusal(code: int) -> str | None:
    """
    >>> _refusal(204), _refusal(302), _refusal(410), _refusal(500)
    (None, 'redirect', 'gone', 'refused')
    """
    if 200 <= code < 300:
        return None
    if 300 <= code < 400:
        return "redirect"
    return "gone" if code == _GONE else "refused"


def _retry_after(value: bytes | None) -> float | None:
    """Read seconds or a date (RFC 9110 §10.2.3); None where it is neither.

    >>> _retry_after(b"120"), _retry_after(b"soon"), _retry_after(None)
    (120.0, None, None)
    """
    if value is None:
        return None
    text = value.decode("latin-1")
    if text.isdigit() and text.isascii():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
