"""A server that plays a script on the wire, TLS or plain: for answers that no real server gives on demand."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
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
    withheld: frozenset[str] = frozenset()
    """What of it the server does not give: size, date, body, header."""
    refusal: bytes = b""
    """The tagged answer where that is asked for (b"NO [SERVERBUG] no"); b"": NIL, or nothing; b"BYE": it hangs up."""


class _Refused(Exception):
    """The command ends with this answer; what was given before it is sent."""

    def __init__(self, rows: list[bytes], answer: bytes) -> None:
        self.rows = rows
        self.answer = answer


@dataclass
class ScriptedFolder:
    """One folder, INBOX, that can be changed as no real server would; serves as a script, one connection at a time."""

    messages: dict[int, ScriptedMessage] = field(default_factory=dict)
    uidvalidity: int = 7
    uidnext: int = 1
    exists: int | None = None
    """What SELECT says, where that is wrong."""
    permanent_flags: bytes = b"\\Seen \\Deleted \\*"
    modseq: int | None = None
    """HIGHESTMODSEQ, where the server has CONDSTORE."""
    commands: list[bytes] = field(default_factory=list)
    """Every line that was heard."""
    refuses_fetch: bytes = b""
    """The answer to every FETCH, as in an outage."""
    refusals: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Commands, by how they begin, and the answer to the next of them."""

    def put(
        self,
        raw: bytes,
        received_at: datetime,
        *,
        size_bytes: int | None = None,
        withheld: Collection[str] = (),
        refusal: bytes = b"",
    ) -> int:
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.messages[uid] = ScriptedMessage(raw, received_at, size_bytes, frozenset(withheld), refusal)
        return uid

    async def __call__(self, peer: Peer) -> None:
        await peer.greet_and_log_in()
        while line := await peer.reader.readline():
            self.commands.append(line)
            tag, _, command = line.rstrip(b"\r\n").partition(b" ")
            try:
                self._refuse(command.upper())
                rows, end = self._answers(command.upper()), b"OK done"
            except _Refused as refused:
                rows, end = refused.rows, refused.answer
            for answer in rows:
                await peer.say(b"* " + answer + b"\r\n")
            if end == b"BYE":
                return
            await peer.say(tag + b" " + end + b"\r\n")

    def _refuse(self, command: bytes) -> None:
        for refusal in self.refusals:
            if command.startswith(refusal[0]):
                self.refusals.remove(refusal)
                raise _Refused([], refusal[1])

    def _answers(self, command: bytes) -> list[bytes]:
        if command.startswith((b"SELECT", b"EXAMINE")):
            return [
                b"%d EXISTS" % (len(self.messages) if self.exists is None else self.exists),
                b"OK [UIDVALIDITY %d] ok" % self.uidvalidity,
                b"OK [UIDNEXT %d] ok" % self.uidnext,
                b"OK [PERMANENTFLAGS (%s)] ok" % self.permanent_flags,
                b"OK [NOMODSEQ] ok" if self.modseq is None else b"OK [HIGHESTMODSEQ %d] ok" % self.modseq,
            ]
        if command.startswith(b"UID SEARCH UID "):
            wanted = _expand(command.split()[3])
            return [b" ".join([b"SEARCH", *(b"%d" % uid for uid in sorted(self.messages) if uid in wanted)])]
        if command.startswith(b"UID SEARCH "):
            return [b" ".join([b"SEARCH", *(b"%d" % uid for uid in sorted(self.messages))])]
        if command.startswith(b"UID FETCH "):
            if self.refuses_fetch:
                raise _Refused([], self.refuses_fetch)
            rows: list[bytes] = []
            for number, uid in enumerate(_expand(command.split()[2]), 1):
                if uid in self.messages:
                    message = self.messages[uid]
                    if message.refusal and message.withheld & _asked_for(command):
                        raise _Refused(rows, message.refusal)
                    rows.append(self._row(number, uid, command))
            return rows
        return []

    def _row(self, number: int, uid: int, command: bytes) -> bytes:
        message = self.messages[uid]
        items = [b"UID %d" % uid]
        if b"RFC822.SIZE" in command and "size" not in message.withheld:
            items.append(b"RFC822.SIZE %d" % (message.size_bytes or len(message.raw)))
        if b"INTERNALDATE" in command and "date" not in message.withheld:
            items.append(message.received_at.strftime('INTERNALDATE "%d-%b-%Y %H:%M:%S +0000"').encode())
        if b"FLAGS" in command:
            items.append(b"FLAGS ()")
        for word, name, content in (
            ("body", b"BODY[]", message.raw),
            ("header", b"BODY[HEADER]<0>", message.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"),
        ):
            if word in _asked_for(command):
                given = name + (b"<0>" if b"[]<0." in command else b"")
                items.append(given + (b" NIL" if word in message.withheld else b" {%d}\r\n" % len(content) + content))
        return b"%d FETCH (%s)" % (number, b" ".join(items))


_ITEMS = {"size": b"RFC822.SIZE", "date": b"INTERNALDATE", "body": b"BODY.PEEK[]", "header": b"BODY.PEEK[HEADER]"}


def _asked_for(command: bytes) -> set[str]:
    return {word for word, item in _ITEMS.items() if item in command}


def _expand(uid_set: bytes) -> Collection[int]:
    """Return the UIDs of a set, of one range only where there is any."""
    low, colon, high = uid_set.partition(b":")
    return range(int(low), int(high) + 1) if colon else [int(one) for one in uid_set.split(b",")]


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
