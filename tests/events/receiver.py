"""A receiver of webhooks: a small HTTP server that checks signatures with the library that receivers use."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    event: dict[str, Any]
    """The body, once its signature was checked."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def sequence(self) -> int:
        number: int = self.event["data"]["sequence"]
        return number


Respond = Callable[[Received], Awaitable[bytes]]
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Receiver:
    """Answers as it is told; `secret` is the webhook's, once it is known."""

    secret: str = ""
    respond: Respond | None = None
    """None: 204 to everything."""
    got: list[Received] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What did not pass the check of its signature."""
    connections: int = 0
    most_at_once: int = 0
    port: int = 0
    _now: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def allowed(self) -> str:
        """As `egress.allow` has it."""
        return f"127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, enough: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until something is true of what came."""
        async with asyncio.timeout(seconds):
            while not enough():
                self._came.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self._came.wait()

    def ids(self) -> Counter[str]:
        return Counter(one.id for one in self.got)

    def types(self) -> list[str]:
        return [one.event["type"] for one in self.got]

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        try:
            while (head := await _head(reader)) is not None:
                path, headers = head
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                try:
                    writer.write(await self._answer(path, headers, body))
                    await writer.drain()
                finally:
                    self._now -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        try:
            event = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as error:
            self.wrong.append(str(error))
            return answer(401)
        received = Received(path, headers, body, event)
        self.got.append(received)
        self._came.set()
        return NO_CONTENT if self.respond is None else await self.respond(received)


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode().rstrip("\r\n").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return first.split(" ")[1], {name.lower(): value for name, value in pairs}
