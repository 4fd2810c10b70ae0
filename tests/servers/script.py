"""A server that plays a script on the wire, TLS or plain: for answers that no real server gives on demand."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

CAPABILITIES = b"IMAP4rev1 IDLE UIDPLUS AUTH=XOAUTH2"


@dataclass
class Peer:
    """The script's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *segments: bytes, pause: float = 0.0) -> None:
        """Send each segment in a packet (and TLS record) of its own."""
        for segment in segments:
            self.writer.write(segment)
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)

    async def hear(self, word: bytes) -> bytes:
        """Read one line, which must hold `word`; return its tag."""
        line = await self.reader.readline()
        assert word in line.upper(), line
        return line.split()[0]

    async def greet_and_log_in(self) -> None:
        await self.say(b"* OK ready\r\n")
        for _ in range(2):  # imaplib asks at once, and we ask before we choose a mechanism
            await self._capability()
        tag = await self.hear(b"AUTHENTICATE XOAUTH2")
        await self.say(b"+ \r\n")
        await self.reader.readline()
        await self.say(tag + b" OK done\r\n")
        await self._capability()

    async def _capability(self) -> None:
        tag = await self.hear(b"CAPABILITY")
        await self.say(b"* CAPABILITY " + CAPABILITIES + b"\r\n" + tag + b" OK done\r\n")

    async def select(self, uidnext: int = 1) -> None:
        tag = await self.hear(b"SELECT")
        await self.say(
            b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT %d] ok\r\n" % uidnext + tag + b" OK done\r\n"
        )


@contextlib.asynccontextmanager
async def scripted(
    script: Callable[[Peer], Awaitable[None]], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve `script` on a loopback port; its failures are raised at the end."""
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            await script(Peer(reader, writer))
        except (AssertionError, IndexError) as error:
            failures.append(error)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise failures[0]


def server_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    return context
