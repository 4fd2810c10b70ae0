"""A fake of Microsoft Graph's mail API on loopback, for the demo and the tests.

It answers at /v1.0/me and /v1.0/users/{address} alike, to the bearer token of that mailbox's user; at the second one
also to users with whom the mailbox is shared (`shared`), and to an application in whose scope it is (`in_scope`). It
keeps Graph's limits (four calls at once a mailbox, 4 MB a request), ids that change with a move unless immutable ones
are asked for, delta by folder; and it fails on demand (`fail`). Delivery is local: what is sent to one of its mailboxes
arrives.

It runs in the caller's event loop (`async with server.running() as url`) or in a thread of its own (`start()`).
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import unquote

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingestd.demo import graph_mime as mime
from ingestd.demo.graph_call import Call
from ingestd.demo.graph_calls import MailboxCalls
from ingestd.demo.graph_faults import Fault, Faults, error
from ingestd.demo.graph_push import Subscriptions
from ingestd.demo.graph_store import Item, Mailbox
from ingestd.demo.hosting import Hosted, listen, served

CALLS_AT_ONCE_MAX: Final = 4
_TARGET = re.compile(r"/v1\.0/(?:me|users/(?P<user>[^/]+)|users\('(?P<quoted>[^']+)'\))(?:/(?P<rest>.*))?")


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose a token is."""

    user: str
    """The user's address; empty for an application's own."""
    scopes: tuple[str, ...] | None = None
    """None: whatever is needed."""

    def has(self, permission: str) -> bool:
        return self.scopes is None or any(one.rpartition("/")[2] == permission for one in self.scopes)


Check = Callable[[str], Bearer | str | None]
"""Returns whose a bearer token is; an address stands for its user with every scope. None for a dead one."""


class _Protocol(H11Protocol):
    """Lets a handler cut its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class GraphServer(Hosted):
    """The server. Mailboxes are named by their address in every method; all may be called from any thread."""

    thread_name = "demo-graph"

    def __init__(self, addresses: Iterable[str], check: Check, *, port: int = 0) -> None:
        self.shared: defaultdict[str, set[str]] = defaultdict(set)
        """By mailbox: the users with Full Access and Send As."""
        self.in_scope: set[str] = set()
        """The mailboxes that application permissions open (RBAC for Applications)."""
        self.mailboxes = {address: Mailbox(address, lambda: datetime.now(UTC)) for address in addresses}
        self.calls = MailboxCalls(self._deliver)
        self.subscriptions = Subscriptions()
        self.faults = Faults()
        self.latency_seconds = 0.0
        self.calls_at_once_max: defaultdict[str, int] = defaultdict(int)
        """By mailbox: the most calls that were under way together, refused ones too."""
        self.requests: Counter[str] = Counter()
        """Calls by "METHOD kind", e.g. "GET $value"."""
        self.log: list[tuple[str, str, str]] = []
        """(mailbox, method, path below the mailbox) of each call, in order, while `keeps_log`."""
        self.keeps_log = True
        self.undeliverable: list[tuple[str, str]] = []
        """(sender, recipient) of what was sent to nobody here."""
        self.url = ""
        self._check = check
        self._port = port
        self._at_once: Counter[str] = Counter()
        self._transports: dict[str, set[asyncio.Transport]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- what tests and the demo call ----------------------------------------------------------------

    def deliver(self, address: str, raw: bytes, folder: str = "inbox", *, received: datetime | None = None) -> Item:
        """Put a message into a mailbox, as if it had come by SMTP (or been moved in, where `received` is earlier)."""
        mailbox = self.mailboxes[address]
        item = mailbox.put(raw, folder, received=received)
        self.subscriptions.arrived(mailbox, item)
        return item

    def fail(self, address: str, fault: Fault) -> None:
        """Let the next calls on a mailbox that match fail."""
        self.faults.add(address, fault)

    def kick(self, address: str) -> None:
        """Cut the connections that a mailbox was used over."""
        loop = self._loop
        assert loop is not None
        for transport in self._transports.pop(address, set()):
            loop.call_soon_threadsafe(transport.abort)

    def _deliver(self, sender: Mailbox, content: bytes) -> None:
        recipients = mime.addresses(mime.headers_of(content), "To", "Cc", "Bcc")
        arriving = mime.without_bcc(content)
        for recipient in dict.fromkeys(one.lower() for one in recipients):
            if recipient in self.mailboxes:
                self.deliver(recipient, arriving)
            else:
                self.undeliverable.append((sender.address, recipient))

    # -- how it runs ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve in this event loop; yields the address of the API, e.g. http://127.0.0.1:40123/v1.0."""
        listener = listen(self._port, backlog=512)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1.0"
        self._loop = self.subscriptions.loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
            date_header=False,  # ours tells the mailbox's time
        )
        try:
            async with served(listener, config):
                yield self.url
        finally:
            self._loop = self.subscriptions.loop = None

    # -- answering -----------------------------------------------------------------------------------

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        if response is None:
            request.state.transport.abort()
            await asyncio.sleep(0)  # until uvicorn knows; it complains of a response that is missing otherwise
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """Answer a request; None: the connection is to be cut."""
        path = request.scope["path"]
        if path.startswith("/upload/"):
            if "authorization" in request.headers:
                return error(401, "InvalidAuthenticationToken")
            body = await request.body()
            return self.calls.upload(path[8:], request.headers.get("content-range", ""), body)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        found = self._check(token) if token else None
        bearer = Bearer(found) if isinstance(found, str) else found
        if bearer is None or (bearer.user and bearer.user not in self.mailboxes):
            await request.body()
            return error(401, "InvalidAuthenticationToken")
        named = await self._named(request)
        if not bearer.user and not named:
            await request.body()
            return error(400, "BadRequest")  # "/me request is only valid with delegated authentication flow."
        address = named or bearer.user
        if not self._opens(bearer, address):
            await request.body()
            return error(403, "ErrorAccessDenied")
        if address not in self.mailboxes:
            await request.body()
            return error(404, "ErrorInvalidUser")
        transport = request.state.transport
        self._transports[address].add(transport)
        self._at_once[address] += 1
        self.calls_at_once_max[address] = max(self.calls_at_once_max[address], self._at_once[address])
        try:
            return await self._limited(request, self.mailboxes[address])
        finally:
            self._at_once[address] -= 1

    async def _named(self, request: Request) -> str:
        """Return the mailbox that a request names, or the subscription that it is about; "" for the user's own."""
        path = request.scope["raw_path"].decode("ascii").partition("?")[0]
        if path.startswith("/v1.0/subscriptions/"):
            return self.subscriptions.mailbox_of(path.rpartition("/")[2])
        if path == "/v1.0/subscriptions":
            call = Call(request.method, "", request.query_params, request.headers, await request.body(), self.url)
            path = f"/v1.0/{str(call.parameter('resource') or '').lstrip('/')}"
        found = _TARGET.fullmatch(path)
        return unquote(found.group("user") or found.group("quoted") or "").lower() if found else ""

    def _opens(self, bearer: Bearer, address: str) -> bool:
        """Whether a token opens a mailbox; of one that is not there, only an application hears so."""
        if not bearer.user:
            return address in self.in_scope or address not in self.mailboxes
        if address == bearer.user:
            return True
        return bearer.user in self.shared[address] and bearer.has("Mail.ReadWrite.Shared")

    async def _limited(self, request: Request, mailbox: Mailbox) -> Response | None:
        body = await request.body()
        # Raw, as ids may hold what decodes to a slash.
        raw = request.scope["raw_path"].decode("ascii").partition("?")[0]
        found = _TARGET.fullmatch(raw)
        rest = "/".join(map(unquote, (found.group("rest") or "").split("/"))) if found else unquote(raw[6:])
        self._note(mailbox.address, request.method, rest)
        if self._at_once[mailbox.address] > CALLS_AT_ONCE_MAX:
            return _dated(error(429, "ApplicationThrottled", {"Retry-After": "1"}), mailbox)
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        fault = self.faults.take(mailbox.address, f"{request.method} {rest}")
        if fault is not None:
            if fault.seconds:
                await asyncio.sleep(fault.seconds)
            if fault.handled:
                await self._handle(request, mailbox, found, rest, body)
            return None if fault.drop else _dated(fault.response, mailbox)
        return _dated(await self._handle(request, mailbox, found, rest, body), mailbox)

    async def _handle(
        self, request: Request, mailbox: Mailbox, found: re.Match[str] | None, rest: str, body: bytes
    ) -> Response:
        if found is None:
            return await self._subscription(request, mailbox, rest, body)
        base = self.url + raw_base(request.scope["raw_path"].decode("ascii"))
        call = Call(request.method, rest, request.query_params, request.headers, body, base)
        return self.calls.answer(mailbox, call)

    async def _subscription(self, request: Request, mailbox: Mailbox, rest: str, body: bytes) -> Response:
        call = Call(request.method, rest, request.query_params, request.headers, body, self.url)
        match (request.method, *rest.split("/")):
            case ("POST", "subscriptions"):
                return await self.subscriptions.create(mailbox, call.document)
            case ("PATCH", "subscriptions", identity):
                return self.subscriptions.renew(identity, mailbox.address, call.document)
            case ("DELETE", "subscriptions", identity):
                return self.subscriptions.delete(identity, mailbox.address)
        return error(404, "BadRequest")

    def _note(self, address: str, method: str, rest: str) -> None:
        self.requests[f"{method} {rest.rpartition('/')[2][:20]}"] += 1
        if self.keeps_log:
            self.log.append((address, method, rest))


def raw_base(raw_path: str) -> str:
    """Return the part of a path that names the mailbox: "/me" or "/users/…"."""
    found = re.match(r"/v1\.0(/me|/users/[^/]+|/users\('[^']+'\))", raw_path)
    return found.group(1) if found else ""


def _dated(response: Response, mailbox: Mailbox) -> Response:
    response.headers["Date"] = format_datetime(mailbox.now, usegmt=True)
    return response
