"""HTTP to OAuth endpoints: bounded in time and size, no redirects, no environment.

An endpoint is somebody else's program: what it answers is read defensively, and
nothing it says gets into an error's text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from typing import Any, Final

import httpx2

from ingestd.linking.errors import ProviderDown, RequestNotSent, TokenEndpointBusy, TokenEndpointDown

CONNECT_SECONDS_MAX: Final = 10.0
RETRY_AFTER_DEFAULT: Final = 30.0
RETRY_AFTER_MAX: Final = 3600.0
WAIT_IN_PLACE_SECONDS_MAX: Final = 5.0
"""Longer waits are the caller's business: it has other mailboxes to serve."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one attempt of a request may take, from connecting to the last byte."""

    seconds_max: float = 20.0
    body_bytes_max: int = 1024 * 1024


DEFAULT_LIMITS: Final = HttpLimits()


@dataclass(frozen=True, slots=True)
class WholeResponse:
    """An answer as it came, whole."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `document` is the JSON object in it, None where there is none."""

    status: int
    document: Mapping[str, Any] | None = field(repr=False)
    retry_after: float | None


def new_http(
    *, ssl_context: SSLContext | None = None, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    """Return a client for OAuth endpoints, which the caller closes.

    No connection is kept: on a kept one the server's hang-up looks like a lost
    answer, and a lost answer to a refresh must not be repeated.
    """
    return httpx2.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        # `ask` limits the whole request. A connection that takes long is ended before that: then we know
        # that nothing was sent.
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS_MAX, pool=CONNECT_SECONDS_MAX),
        limits=httpx2.Limits(max_connections=50, max_keepalive_connections=0),
        verify=ssl_context if ssl_context is not None else True,
        transport=transport,
    )


async def ask(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    endpoint: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: httpx2.Auth | None = None,
    limits: HttpLimits = DEFAULT_LIMITS,
) -> Answer:
    """Make one request and read the answer as JSON; `endpoint` names it in errors. Raises as `fetch`."""
    response = await fetch(http, method, url, endpoint=endpoint, form=form, headers=headers, auth=auth, limits=limits)
    return as_answer(response)


def as_answer(response: WholeResponse) -> Answer:
    """Read a response as endpoints of OAuth answer."""
    return Answer(response.status, _document(response.body), _retry_after(response.headers.get("retry-after")))


async def fetch(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    endpoint: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: httpx2.Auth | None = None,
    limits: HttpLimits = DEFAULT_LIMITS,
) -> WholeResponse:
    """Make one request and read the whole answer; `endpoint` names it in errors.

    Raises RequestNotSent when no connection came about, TokenEndpointDown when
    the answer did not come whole, in time, or within `limits`.
    """
    # Compressed answers are refused: a small one can unpack to gigabytes.
    asked = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
    try:
        async with (
            asyncio.timeout(limits.seconds_max),
            http.stream(method, url, data=form, headers=asked, auth=auth, follow_redirects=False) as response,
        ):
            body = await _body(response, endpoint, limits.body_bytes_max)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise RequestNotSent(f"{endpoint}: no connection ({type(error).__name__})") from None
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, TimeoutError) as error:
        # `from None`: the library's errors carry the request, and that carries the secrets.
        raise TokenEndpointDown(f"{endpoint}: no whole answer ({type(error).__name__})") from None
    return WholeResponse(response.status_code, body, {name.lower(): value for name, value in response.headers.items()})


def refuse_trouble(answer: Answer, endpoint: str) -> None:
    """Raise for the statuses that say nothing about the grant: 429, 5xx, 3xx.

    Raises TokenEndpointBusy (429, 503) or TokenEndpointDown.
    """
    if answer.status in {429, 503}:
        wait = RETRY_AFTER_DEFAULT if answer.retry_after is None else answer.retry_after
        raise TokenEndpointBusy(f"{endpoint}: status {answer.status}", retry_after=wait)
    if not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        raise TokenEndpointDown(f"{endpoint}: status {answer.status}")


def is_safe_to_repeat(error: BaseException) -> bool:
    """Tell whether a refresh may be repeated: not sent at all, or turned away with a short wait.

    >>> is_safe_to_repeat(TokenEndpointBusy("token: status 429", retry_after=1))
    True
    >>> is_safe_to_repeat(TokenEndpointDown("token: no whole answer"))
    False
    """
    if isinstance(error, TokenEndpointBusy):
        return error.retry_after <= WAIT_IN_PLACE_SECONDS_MAX
    return isinstance(error, RequestNotSent)


def is_worth_repeating(error: BaseException) -> bool:
    """Tell whether a request that changes nothing by being repeated should be."""
    if isinstance(error, TokenEndpointBusy):
        return is_safe_to_repeat(error)
    return isinstance(error, ProviderDown)


async def _body(response: httpx2.Response, endpoint: str, bytes_max: int) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise TokenEndpointDown(f"{endpoint}: compressed answer")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > bytes_max:
            raise TokenEndpointDown(f"{endpoint}: answer too large")
    return bytes(body)


def _document(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _retry_after(value: str | None) -> float | None:
    """Read seconds or a date (RFC 9110 §10.2.3), bounded.

    >>> _retry_after("120"), _retry_after("1e9"), _retry_after("soon"), _retry_after(None)
    (120.0, None, None, None)
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_AFTER_MAX)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), RETRY_AFTER_MAX)
