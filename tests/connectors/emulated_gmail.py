"""A front of the emulated Gmail for the two calls that our connector cannot do without and the emulator has not.

Batches are taken apart, and their calls made one by one; `getProfile` is answered with the history that `watch` tells.
Every message, label, thread and record of the history is the emulator's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode

from ingestd.demo.gmailwire import Answer, Request, batch_answer, batch_parts, read_request

_WATCH = Request(
    "POST",
    "/gmail/v1/users/me/watch",
    {},
    {"content-type": "application/json"},
    b'{"topicName": "projects/demo/topics/gmail"}',
)


class GmailFront:
    """Listens on a loopback port while `running`."""

    def __init__(self, emulator_port: int) -> None:
        self.port = 0
        self.calls: Counter[str] = Counter()
        """What the emulator was asked, e.g. "GET history"."""
        self._emulator_port = emulator_port

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[GmailFront]:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while (request := await read_request(reader)) is not None:
                    writer.write((await self._answer(request)).bytes())
                    await writer.drain()
            tasks.discard(task)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(self, request: Request) -> Answer:
        """Ask the emulator."""
        self.calls[f"{request.method} {request.path.split('/me/')[-1].partition('/')[0]}"] += 1
        return await asyncio.to_thread(self._ask, request)

    async def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/batch"):
            parts = [(name, part) for name, part in batch_parts(request)]
            return batch_answer([(name, await self.ask(part)) for name, part in parts])
        if request.path.endswith("/profile"):
            watch = Request(_WATCH.method, _WATCH.path, {}, {**request.headers, **_WATCH.headers}, _WATCH.body)
            told = json.loads((await self.ask(watch)).body)
            return Answer.of({"historyId": told["historyId"]})
        return await self.ask(request)

    def _ask(self, request: Request) -> Answer:
        kept = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        target = f"{quote(request.path)}?{urlencode(request.query, doseq=True)}"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._emulator_port, timeout=10)) as connection:
            connection.request(request.method, target, request.body or None, kept)
            answer = connection.getresponse()
            body = answer.read()
            return Answer(answer.status, body, {"Content-Type": answer.headers.get("Content-Type", "")})
