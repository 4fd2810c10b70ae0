"""A light IMAP server over TLS for thousands of mailboxes that wait, in a process of its own.

`python -m bench.imap_server CERTIFICATE KEY [SECONDS]` prints `{"port": …}`, and takes one JSON object a line on stdin:
`{"deliver": USER, "from": N}` puts mail N into USER's INBOX and tells every connection that has it selected, with
`"pad"` one of so many bytes more, with `"file"` one whose headers end, and whose body is, what that file holds;
`{"fill": USER, "count": N}` puts N old mails into an INBOX that is empty yet, which are made when they are asked for;
`{"count": true}` has it print `{"idle": …, "connections": …}`;
`{"delivered": PATH}` writes there when each mail came, `{USER: [SECONDS, …]}` in the order of their UIDs (time.time),
and prints `{"written": 1}`. Any token opens any mailbox. With SECONDS each command is answered so much later.

It speaks as much of RFC 3501 and RFC 2177 as the daemon and a bare listener need.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import re
import ssl
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.sse_server import raise_open_files

_CAPABILITIES = b"IMAP4rev1 SASL-IR AUTH=XOAUTH2 LITERAL+ UIDPLUS IDLE"
_USER = re.compile(rb"user=([^\x01]+)")
_RANGE = re.compile(rb"(\d+)(?::(\d+|\*))?")
_HEADER_END = b"\r\n\r\n"
_OLD = 1767225600.0
"""When the old mails came: 2026-01-01."""


@dataclass(frozen=True, slots=True)
class _Message:
    received_at: float
    """time.time."""
    headers: bytes
    rest: bytes
    """Shared by those that are delivered from one file."""

    @property
    def raw(self) -> bytes:
        return self.headers + self.rest

    @property
    def size(self) -> int:
        return len(self.headers) + len(self.rest)

    @property
    def received(self) -> bytes:
        return datetime.fromtimestamp(self.received_at, UTC).strftime("%d-%b-%Y %H:%M:%S +0000").encode()


@dataclass(slots=True)
class _Mailbox:
    user: str
    old: int = 0
    new: list[_Message] = field(default_factory=list)
    connections: set[_Connection] = field(default_factory=set)

    @property
    def count(self) -> int:
        return self.old + len(self.new)

    def message(self, uid: int) -> _Message:
        if uid > self.old:
            return self.new[uid - self.old - 1]
        return _Message(_OLD, mail(self.user, -uid), b"")


class _Server:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.mailboxes: dict[str, _Mailbox] = {}
        self.connections: set[_Connection] = set()

    def mailbox(self, user: str) -> _Mailbox:
        return self.mailboxes.setdefault(user, _Mailbox(user))

    def deliver(self, user: str, number: int, pad: int, file: str) -> None:
        mailbox = self.mailbox(user)
        headers, rest = mail(user, number, pad), b""
        if file:
            headers, rest = _headers(user, number), _content(file)
        mailbox.new.append(_Message(time.time(), headers, rest))
        for connection in mailbox.connections:
            connection.tell(mailbox.count)

    def write_delivered(self, path: Path) -> None:
        found = {user: [one.received_at for one in mailbox.new] for user, mailbox in self.mailboxes.items()}
        path.write_text(json.dumps(found))


@functools.cache
def _content(file: str) -> bytes:
    return Path(file).read_bytes()


def mail(user: str, number: int, pad: int = 0) -> bytes:
    """Return a mail of a customer, of `pad` bytes more than a small one."""
    return (
        _headers(user, number)
        + (
            "Content-Type: text/plain; charset=utf-8\r\n\r\n"
            f"Hello,\r\n\r\nwhere is my order {number}?\r\n" + "It was to be here last week.\r\n" * (20 + pad // 30)
        ).encode()
    )


def _headers(user: str, number: int) -> bytes:
    return (
        f"From: Customer {number} <customer{number}@example.com>\r\nTo: {user}\r\nSubject: Question {number}\r\n"
        f"Message-ID: <{number}.{user}>\r\nDate: Mon, 2 Nov 2026 09:30:00 +0000\r\nMIME-Version: 1.0\r\n"
    ).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._rest = b""
        self._user = ""
        self._mailbox: _Mailbox | None = None
        self._idle_tag = b""
        self._waits_for = b""
        """The tag of an AUTHENTICATE whose response is to come."""

    @property
    def is_idle(self) -> bool:
        return bool(self._idle_tag)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._say(b"* OK [CAPABILITY " + _CAPABILITIES + b"] ready")

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._mailbox is not None:
            self._mailbox.connections.discard(self)

    def tell(self, exists: int) -> None:
        """Untagged, in IDLE or before the next answer: both are legal."""
        self._say(b"* %d EXISTS" % exists)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if self._server.seconds:
                asyncio.get_running_loop().call_later(self._server.seconds, self._line, line)
            else:
                self._line(line)

    def _say(self, *lines: bytes) -> None:
        self._transport.write(b"".join(line + b"\r\n" for line in lines))

    def _line(self, line: bytes) -> None:
        if self._waits_for:
            tag, self._waits_for = self._waits_for, b""
            self._authenticate(tag, line)
            return
        if line.upper() == b"DONE" and self._idle_tag:
            tag, self._idle_tag = self._idle_tag, b""
            self._say(tag + b" OK done")
            return
        tag, _, rest = line.partition(b" ")
        name, _, arguments = rest.partition(b" ")
        name = name.upper()
        if name == b"UID":
            name, _, arguments = arguments.partition(b" ")
            name = b"UID " + name.upper()
        self._command(tag, name, arguments)

    def _command(self, tag: bytes, name: bytes, arguments: bytes) -> None:
        if name == b"AUTHENTICATE":
            _, _, first = arguments.partition(b" ")
            if first:
                self._authenticate(tag, first)
            else:
                self._waits_for = tag
                self._say(b"+ ")
            return
        if name == b"IDLE":
            self._idle_tag = tag
            self._say(b"+ idling")
            return
        if name == b"CAPABILITY":
            self._say(b"* CAPABILITY " + _CAPABILITIES)
        elif name in (b"LIST", b"XLIST"):
            self._say(b'* LIST () "/" INBOX')
        elif name in (b"SELECT", b"EXAMINE"):
            self._select()
        elif name in (b"UID SEARCH", b"SEARCH"):
            self._search(arguments)
        elif name == b"UID FETCH":
            self._fetch(arguments)
        elif name == b"LOGOUT":
            self._say(b"* BYE", tag + b" OK bye")
            self._transport.close()
            return
        self._say(tag + b" OK done")

    def _authenticate(self, tag: bytes, response: bytes) -> None:
        found = _USER.search(base64.b64decode(response))
        self._user = found[1].decode() if found else ""
        self._say(tag + b" OK [CAPABILITY " + _CAPABILITIES + b"] in")

    def _select(self) -> None:
        mailbox = self._server.mailbox(self._user)
        mailbox.connections.add(self)
        self._mailbox = mailbox
        count = mailbox.count
        self._say(
            b"* FLAGS (\\Seen \\Deleted)",
            b"* %d EXISTS" % count,
            b"* 0 RECENT",
            b"* OK [UIDVALIDITY 1] it is",
            b"* OK [UIDNEXT %d] next" % (count + 1),
        )

    def _search(self, arguments: bytes) -> None:
        assert self._mailbox is not None
        asked = arguments.upper()
        # Without expunges a message's number is its UID. What SINCE asks for is never old.
        first = self._mailbox.old + 1 if b"SINCE" in asked else 1
        found = [b"%d" % uid for uid in self._uids(asked.removeprefix(b"UID ")) if uid >= first]
        self._say(b" ".join([b"* SEARCH", *found]))

    def _uids(self, text: bytes) -> list[int]:
        assert self._mailbox is not None
        count = self._mailbox.count
        uids: list[int] = []
        for one in text.split(b" ")[0].split(b","):
            if found := _RANGE.match(one):
                low = int(found[1])
                high = low if found[2] is None else count if found[2] == b"*" else int(found[2])
                uids += range(low, min(high, count) + 1)
        return uids

    def _fetch(self, arguments: bytes) -> None:
        assert self._mailbox is not None
        uids, _, items = arguments.partition(b" ")
        items = items.upper()
        for uid in self._uids(uids):
            message = self._mailbox.message(uid)
            parts = [b"UID %d RFC822.SIZE %d" % (uid, message.size), b'INTERNALDATE "%s"' % message.received]
            if b"BODY.PEEK[]" in items:
                parts.append(b"BODY[] {%d}\r\n%s" % (message.size, message.raw))
            elif b"BODY.PEEK[HEADER]" in items:
                header = message.raw.partition(_HEADER_END)[0] + _HEADER_END
                parts.append(b"BODY[HEADER] {%d}\r\n%s" % (len(header), header))
            self._say(b"* %d FETCH (%s)" % (uid, b" ".join(parts)))


async def _serve(certificate: str, key: str, seconds: str = "0") -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server, loop = _Server(float(seconds)), asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0, ssl=context, backlog=1000)
    _print(port=listener.sockets[0].getsockname()[1])
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        if "deliver" in asked:
            server.deliver(asked["deliver"], asked["from"], asked.get("pad", 0), asked.get("file", ""))
        elif "fill" in asked:
            server.mailbox(asked["fill"]).old = asked["count"]
        elif "delivered" in asked:
            server.write_delivered(Path(asked["delivered"]))
            _print(written=1)
        else:
            idle = sum(one.is_idle for one in server.connections)
            _print(idle=idle, connections=len(server.connections))


def _print(**fields: int) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201


if __name__ == "__main__":
    raise_open_files()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(*sys.argv[1:4]))
