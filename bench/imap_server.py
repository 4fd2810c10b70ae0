"""A light IMAP server over TLS for thousands of mailboxes that wait, in a process of its own.

`python -m bench.imap_server CERTIFICATE KEY` prints `{"port": …}`, and takes one JSON object a line on stdin:
`{"deliver": USER, "from": N}` puts mail N into USER's INBOX and tells every connection that has it selected;
`{"count": true}` has it print `{"idle": …, "connections": …}`. Any token opens any mailbox.

It speaks as much of RFC 3501 and RFC 2177 as the daemon and a bare listener need.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.sse_server import raise_open_files

_CAPABILITIES = b"IMAP4rev1 SASL-IR AUTH=XOAUTH2 LITERAL+ UIDPLUS IDLE"
_USER = re.compile(rb"user=([^\x01]+)")
_RANGE = re.compile(rb"(\d+)(?::(\d+|\*))?")
_HEADER_END = b"\r\n\r\n"


@dataclass(slots=True)
class _Message:
    received: bytes
    raw: bytes


@dataclass(slots=True)
class _Mailbox:
    messages: list[_Message] = field(default_factory=list)
    connections: set[_Connection] = field(default_factory=set)


class _Server:
    def __init__(self) -> None:
        self.mailboxes: dict[str, _Mailbox] = {}
        self.connections: set[_Connection] = set()

    def mailbox(self, user: str) -> _Mailbox:
        return self.mailboxes.setdefault(user, _Mailbox())

    def deliver(self, user: str, number: int, pad: int = 0) -> None:
        mailbox = self.mailbox(user)
        received = datetime.now(UTC).strftime("%d-%b-%Y %H:%M:%S +0000").encode()
        mailbox.messages.append(_Message(received, mail(user, number, pad)))
        for connection in mailbox.connections:
            connection.tell(len(mailbox.messages))


def mail(user: str, number: int, pad: int = 0) -> bytes:
    """Return a mail of a customer, of `pad` bytes more than a small one."""
    return (
        f"From: Customer {number} <customer{number}@example.com>\r\nTo: {user}\r\nSubject: Question {number}\r\n"
        f"Message-ID: <{number}.{user}>\r\nDate: Mon, 2 Nov 2026 09:30:00 +0000\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\n"
        f"Hello,\r\n\r\nwhere is my order {number}?\r\n" + "It was to be here last week.\r\n" * (20 + pad // 30)
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
        count = len(mailbox.messages)
        self._say(
            b"* FLAGS (\\Seen \\Deleted)",
            b"* %d EXISTS" % count,
            b"* 0 RECENT",
            b"* OK [UIDVALIDITY 1] it is",
            b"* OK [UIDNEXT %d] next" % (count + 1),
        )

    def _search(self, arguments: bytes) -> None:
        found = [b"%d" % uid for uid in self._uids(arguments.upper().partition(b"UID ")[2] or b"1:*")]
        self._say(b" ".join([b"* SEARCH", *found]))

    def _uids(self, text: bytes) -> list[int]:
        assert self._mailbox is not None
        count = len(self._mailbox.messages)
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
            message = self._mailbox.messages[uid - 1]
            parts = [b"UID %d RFC822.SIZE %d" % (uid, len(message.raw)), b'INTERNALDATE "%s"' % message.received]
            if b"BODY.PEEK[]" in items:
                parts.append(b"BODY[] {%d}\r\n%s" % (len(message.raw), message.raw))
            elif b"BODY.PEEK[HEADER]" in items:
                header = message.raw.partition(_HEADER_END)[0] + _HEADER_END
                parts.append(b"BODY[HEADER] {%d}\r\n%s" % (len(header), header))
            self._say(b"* %d FETCH (%s)" % (uid, b" ".join(parts)))


async def _serve(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server, loop = _Server(), asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0, ssl=context, backlog=1000)
    _print(port=listener.sockets[0].getsockname()[1])
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        if "deliver" in asked:
            server.deliver(asked["deliver"], asked["from"], asked.get("pad", 0))
        else:
            idle = sum(one.is_idle for one in server.connections)
            _print(idle=idle, connections=len(server.connections))


def _print(**fields: int) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201


if __name__ == "__main__":
    raise_open_files()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(*sys.argv[1:3]))
