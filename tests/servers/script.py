"""A server that plays a script on the wire, TLS or plain: for answers that no real server gives on demand."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

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


@dataclass
class ScriptedMessage:
    raw: bytes
    received_at: datetime
    size_bytes: int | None = None
    """What the server says the size is, where that is a lie."""


@dataclass
class ScriptedFolder:
    """One folder, INBOX, that can be changed as no real server would; serves as a script, one connection at a time."""

    messages: dict[int, ScriptedMessage] = field(default_factory=dict)
    uidvalidity: int = 7
    uidnext: int = 1
    exists: int | None = None
    """What SELECT says, where that is wrong."""
    permanent_flags: bytes = b"\\Seen \\Deleted \\*"
    commands: list[bytes] = field(default_factory=list)
    """Every line that was heard."""

    def put(self, raw: bytes, received_at: datetime, *, size_bytes: int | None = None) -> int:
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.messages[uid] = ScriptedMessage(raw, received_at, size_bytes)
        return uid

    async def __call__(self, peer: Peer) -> None:
        await peer.greet_and_log_in()
        while line := await peer.reader.readline():
            self.commands.append(line)
            tag, _, command = line.rstrip(b"\r\n").partition(b" ")
            for answer in self._answers(command.upper()):
                await peer.say(b"* " + answer + b"\r\n")
            await peer.say(tag + b" OK done\r\n")

    def _answers(self, command: bytes) -> list[bytes]:
        if command.startswith((b"SELECT", b"EXAMINE")):
            return [
                b"%d EXISTS" % (len(self.messages) if self.exists is None else self.exists),
                b"OK [UIDVALIDITY %d] ok" % self.uidvalidity,
                b"OK [UIDNEXT %d] ok" % self.uidnext,
                b"OK [PERMANENTFLAGS (%s)] ok" % self.permanent_flags,
            ]
        if command.startswith(b"UID SEARCH UID "):
            low, high = (int(one) for one in command.split()[3].split(b":"))
            return [b" ".join([b"SEARCH", *(b"%d" % uid for uid in sorted(self.messages) if low <= uid <= high)])]
        if command.startswith(b"UID SEARCH "):
            return [b" ".join([b"SEARCH", *(b"%d" % uid for uid in sorted(self.messages))])]
        if command.startswith(b"UID FETCH "):
            uids = [int(one) for one in command.split()[2].split(b",")]
            return [self._row(number, uid, command) for number, uid in enumerate(uids, 1) if uid in self.messages]
        return []

    def _row(self, number: int, uid: int, command: bytes) -> bytes:
        message = self.messages[uid]
        items = [b"UID %d" % uid]
        if b"RFC822.SIZE" in command:
            items.append(b"RFC822.SIZE %d" % (message.size_bytes or len(message.raw)))
        if b"INTERNALDATE" in command:
            items.append(message.received_at.strftime('INTERNALDATE "%d-%b-%Y %H:%M:%S +0000"').encode())
        if b"FLAGS" in command:
            items.append(b"FLAGS ()")
        for name, content in (
            (b"BODY[]", message.raw),
            (b"BODY[HEADER]<0>", message.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"),
        ):
            if name.partition(b"<")[0].replace(b"BODY", b"BODY.PEEK") in command:
                items.append(name + b" {%d}\r\n" % len(content) + content)
        return b"%d FETCH (%s)" % (number, b" ".join(items))


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
