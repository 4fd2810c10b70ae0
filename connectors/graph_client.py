"""Calls to Microsoft Graph for one mailbox: bounded in time, size and number, refreshed once, paused as Graph asks.

Every call asks for immutable ids: without them an id changes with each move (graph/outlook-immutable-id).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import httpx2

from connectors.base import ConnectorError, RateLimited, TemporaryError, TokenSource
from connectors.graph_access import GraphAccess
from connectors.graph_errors import code_of, refusal, seconds_of
from connectors.graph_limiter import MailboxLimiter

ANSWER_BYTES_MAX = 16 * 1024 * 1024
_ERROR_BYTES_MAX = 64 * 1024
_ATTEMPTS_MAX = 4
"""Of one call: pauses that Graph asks for, and losses of what may be repeated."""
_PREFER_IDS = 'IdType="ImmutableId"'


class AnswerLost(TemporaryError):
    """The request left, and no whole answer came: whether it was done is not known."""


class TooLarge(Exception):
    """The answer is larger than was asked for; `size` is what is known of it."""

    def __init__(self, size: int) -> None:
        super().__init__("answer too large")
        self.size = size


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None

    @property
    def document(self) -> Mapping[str, Any]:
        """The JSON object in it. Raises TemporaryError where there is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise TemporaryError("Graph: an answer that is no JSON object")
        return found


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `what` names it in errors, without ids."""

    method: str
    url: str = field(repr=False)
    what: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)
    repeatable: bool = True
    """Whether doing it twice is doing it once."""
    with_token: bool = True
    bytes_max: int = ANSWER_BYTES_MAX


class GraphClient:
    """Makes the calls of one user of a mailbox's limiter. The transport is shared, and never closed here."""

    def __init__(
        self,
        access: GraphAccess,
        token_source: TokenSource,
        transport: httpx2.AsyncBaseTransport,
        limiter: MailboxLimiter,
        name: str,
    ) -> None:
        self.access = access
        self._token_source = token_source
        self._transport = transport
        self._limiter = limiter
        self._name = name
        self._date: tuple[datetime, float] | None = None

    @property
    def where(self) -> str:
        return self.access.host

    @property
    def server_now(self) -> datetime:
        """The server's time, to the second, by its last answer; ours before the first one."""
        if self._date is None:
            return datetime.now(UTC).replace(microsecond=0)
        date, at = self._date
        return (date + timedelta(seconds=time.time() - at)).replace(microsecond=0)

    def url(self, *segments: str, **query: str) -> str:
        """Return an address below the mailbox. Query names are OData's, without `$`."""
        path = "/".join(quote(segment, safe="$") for segment in segments)
        options = urlencode({f"${name}": value for name, value in query.items()}, quote_via=quote, safe="$(),:'")
        return f"{self.access.mailbox_url}/{path}" + (f"?{options}" if options else "")

    def relative(self, link: object) -> str:
        """Return a link of the server as it is kept: below `base_url`. Raises TemporaryError for another host's."""
        if not isinstance(link, str) or not link.startswith(self.access.base_url + "/"):
            raise TemporaryError(f"Graph at {self.where}: a link that leads elsewhere")
        return link[len(self.access.base_url) :]

    def absolute(self, link: str) -> str:
        return self.access.base_url + link

    async def get(self, url: str, what: str, *, page_size: int | None = None) -> Mapping[str, Any]:
        prefer = {"Prefer": f"{_PREFER_IDS}, odata.maxpagesize={page_size}"} if page_size else {}
        return (await self.call(Request("GET", url, f"GET {what}", prefer))).document

    async def send_json(
        self,
        method: str,
        url: str,
        document: Mapping[str, Any],
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        content = json.dumps(document).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        return await self.call(Request(method, url, f"{method} {what}", headers, content, repeatable=repeatable))

    async def call(self, request: Request) -> Answer:
        """Make a call and return its success.

        Pauses that Graph asks for are waited out in place where they are short. Raises AnswerLost where the request
        left and no whole answer came, TooLarge, and what `refusal` says.
        """
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                answer = await self._authorized(request)
            except AnswerLost:
                # A kept connection that the server has just closed looks the same.
                if not request.repeatable or attempt > 1:
                    raise
                continue
            if 200 <= answer.status < 300:
                return answer
            error = self._refusal(request, answer)
            if not isinstance(error, RateLimited):
                raise error
            self._limiter.pause(error.retry_after)
            if error.retry_after > self.access.throttle_seconds_max or attempt == _ATTEMPTS_MAX:
                raise error
        raise AssertionError("unreachable")

    async def ask(self, request: Request) -> Answer:
        """Make a call once, and return its answer whatever it says. Raises AnswerLost as `call`."""
        return await self._authorized(request)

    def _refusal(self, request: Request, answer: Answer) -> ConnectorError:
        return refusal(f"{request.what} at {self.where}", answer.status, code_of(answer.body), answer.retry_after)

    async def _authorized(self, request: Request) -> Answer:
        if not request.with_token:
            return await self._exchange(request, None)
        token = (await self._token_source()).value
        answer = await self._exchange(request, token)
        if answer.status == 401:
            token = (await self._token_source(rejected=token)).value
            answer = await self._exchange(request, token)
        return answer

    async def _exchange(self, request: Request, token: str | None) -> Answer:
        """Ask once, and read the answer whole. Raises TemporaryError where the request did not leave."""
        limit = self.access.send_seconds if not request.repeatable else self.access.call_seconds
        async with self._limiter.place(self._name, wait_seconds_max=self.access.throttle_seconds_max):
            try:
                async with asyncio.timeout(limit), self._response(request, token) as response:
                    return await self._read(request, response)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                if isinstance(error.__cause__, ConnectorError):
                    raise error.__cause__ from None
                raise TemporaryError(f"cannot connect to {self.where}") from None
            except (httpx2.HTTPError, httpx2.StreamError, TimeoutError) as error:
                # `from None`: the library's errors carry the request, and that carries the token.
                raise AnswerLost(f"{request.what} at {self.where}: no whole answer ({type(error).__name__})") from None

    @asynccontextmanager
    async def _response(self, request: Request, token: str | None) -> AsyncIterator[httpx2.Response]:
        # Compressed answers are refused: a small one can unpack to gigabytes.
        headers = {"Accept-Encoding": "identity", "Prefer": _PREFER_IDS, **request.headers}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        access = self.access
        wait = access.read_seconds if request.repeatable else access.send_seconds
        timeout = {"connect": access.connect_seconds, "read": wait, "write": wait, "pool": access.call_seconds}
        asked = httpx2.Request(
            request.method, request.url, headers=headers, content=request.content, extensions={"timeout": timeout}
        )
        response = await self._transport.handle_async_request(asked)
        response.request = asked
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, request: Request, response: httpx2.Response) -> Answer:
        now = datetime.now(UTC)
        self._note_date(response.headers.get("date"))
        ok = response.status_code < 300
        limit = request.bytes_max if ok else _ERROR_BYTES_MAX
        told = response.headers.get("content-length", "")
        if ok and told.isascii() and told.isdigit() and int(told[:15]) > limit:
            raise TooLarge(int(told[:15]))
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                if ok:
                    raise TooLarge(len(body))
                break
        return Answer(response.status_code, bytes(body), seconds_of(response.headers.get("retry-after"), now))

    def _note_date(self, date: str | None) -> None:
        try:
            self._date = (parsedate_to_datetime(date or "").astimezone(UTC), time.time())
        except (ValueError, TypeError):
            return
