"""The bytes of an IMAP connection: socket, TLS and *one* buffer, all of it ours.

imaplib reads through `socket.makefile`, whose hidden buffer is why waiting in
IDLE went wrong in three ways (updates stuck in it, lines torn in two, end of file
swallowed). imaplib's `open`, `read`, `readline`, `send` and `shutdown` are made to
be overridden, so the buffer lives here, and thread and event loop read the same one.
This also makes us independent of `IMAP4.file`, read-only from Python 3.14 on.
"""

from __future__ import annotations

import contextlib
import imaplib
import logging
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from imapclient import IMAPClient, SocketTimeout

LINE_BYTES_MAX = 4 * 1024 * 1024
"""A longer line is a broken or hostile server."""
_CHUNK = 64 * 1024
_ALERT = re.compile(rb"(?:\*|[A-Za-z0-9]{1,32}) (?:OK|NO|BAD|BYE|PREAUTH) \[ALERT\]", re.IGNORECASE)


class Wire:
    """A connected socket with its buffer. Blocking calls are for threads, `receive_now` for the event loop."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        read_seconds: float,
        literal_bytes_max: int,
        alerted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._sock = sock
        self._read_seconds = read_seconds
        self._literal_bytes_max = literal_bytes_max
        self._buffer = bytearray()
        self.aborted = False
        self.literals_left: int | None = None
        """Bytes that the literals of the present command may have in all, None where each may have the limit."""
        self.literal_too_large = False
        """Whether a literal over the limit ended the connection (imaplib loses the type of what is raised)."""
        self._alerts = 0
        self._alerted = alerted
        self._sock.settimeout(read_seconds)

    @property
    def sock(self) -> socket.socket:
        return self._sock

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Wrap the socket. Raises ssl.SSLError, also when plain bytes came before the handshake.

        Bytes behind the STARTTLS reply were injected by somebody between us and
        the server (nostarttls.secvuln.info): we would take them for encrypted ones.
        """
        if self._buffer or self._has_bytes_waiting():
            raise ssl.SSLError("plain bytes before the TLS handshake")
        self._sock.settimeout(self._read_seconds)
        self._sock = context.wrap_socket(self._sock, server_hostname=host)

    def _has_bytes_waiting(self) -> bool:
        self._sock.setblocking(False)
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def readline(self) -> bytes:
        """Return one line with its end, or b"" at the end of file."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LINE_BYTES_MAX:
                raise imaplib.IMAP4.abort("line too long")
            chunk = self._sock.recv(_CHUNK)
            if not chunk:
                return b""
            self._buffer += chunk
        return self._cut(end + 1)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises imaplib's abort at the end of file, and over the limit of a literal."""
        left = self._literal_bytes_max if self.literals_left is None else self.literals_left
        if size > min(self._literal_bytes_max, left):
            self.literal_too_large = True
            raise imaplib.IMAP4.abort("literal over the limit")
        if self.literals_left is not None:
            self.literals_left -= size
        data = bytearray(size)
        have = min(size, len(self._buffer))
        data[:have] = self._buffer[:have]
        del self._buffer[:have]
        view = memoryview(data)
        while have < size:
            count = self._sock.recv_into(view[have:], min(size - have, 1024 * 1024))
            if not count:
                raise imaplib.IMAP4.abort("end of file in a literal")
            have += count
        view.release()
        return bytes(data)

    def take_line(self) -> bytes | None:
        """Return a whole line from the buffer, or None while there is none. Never reads the socket."""
        end = self._buffer.find(b"\n")
        return None if end < 0 else self._cut(end + 1)

    def receive_now(self) -> bool:
        """Read what has arrived into the buffer, without blocking; return False at the end of file.

        Over TLS it reads until the TLS layer wants more from the network: what it
        has decrypted already makes no socket readable.
        """
        self._sock.settimeout(0)
        try:
            while len(self._buffer) <= LINE_BYTES_MAX:
                chunk = self._sock.recv(_CHUNK)
                if not chunk:
                    return False
                self._buffer += chunk
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self._sock.settimeout(self._read_seconds)
        return False

    def report_alerts(self) -> None:
        """Tell how many [ALERT]s have come since the last call. Their texts are for the mailbox's owner (RFC 3501
        §7.1) and may say anything, so they go nowhere; that there was one is for whoever runs us."""
        count, self._alerts = self._alerts, 0
        if count:
            self._alerted(count)

    def abort(self) -> None:
        """Break the connection from any thread; a thread that waits in a read wakes with an error."""
        self.aborted = True
        with contextlib.suppress(OSError):
            # On the plain socket below TLS: SSLSocket.shutdown would drop its TLS state under the reading thread.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self.aborted = True
        with contextlib.suppress(OSError):
            self._sock.close()

    def _cut(self, length: int) -> bytes:
        line = bytes(self._buffer[:length])
        del self._buffer[:length]
        # Where a line begins a server speaks; content stands in literals, or behind something.
        if _ALERT.match(line):
            self._alerts += 1
        return line


class _Protocol(imaplib.IMAP4):
    """imaplib on a Wire."""

    def __init__(self, wire: Wire, host: str, port: int) -> None:
        self._wire = wire
        super().__init__(host, port)

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host = host
        self.port = port
        self.sock = self._wire.sock

    def read(self, size: int) -> bytes:
        return self._wire.read(size)

    def readline(self) -> bytes:
        return self._wire.readline()

    def send(self, data: Any) -> None:
        self._wire.send(bytes(data))

    def shutdown(self) -> None:
        self._wire.close()

    def _get_response(self, *args: Any, **kwargs: Any) -> Any:
        """imaplib looks for a BYE between commands only, and inside one tells of the end of file, not of its reason."""
        response = super()._get_response(*args, **kwargs)  # type: ignore[misc]
        if self.state != "LOGOUT":
            self._check_bye()
        return response

    def _log(self, line: object) -> None:
        """Keep nothing: imaplib remembers the last lines for debugging, and they hold content and tokens."""

    def _mesg(self, text: object, secs: object = None) -> None:
        """Print nothing, for the same reason."""


class WireClient(IMAPClient):  # type: ignore[misc]
    """IMAPClient on a Wire: times as the server gave them, and no logging of what goes over the line."""

    def __init__(self, wire: Wire, host: str, port: int, read_seconds: float) -> None:
        self.wire = wire
        # It writes whole commands at DEBUG: search terms are Message-IDs and tokens of ours.
        logging.getLogger("imapclient").setLevel(logging.WARNING)
        super().__init__(host, port, ssl=False, timeout=SocketTimeout(read_seconds, read_seconds))
        self._imap.debug = 0
        self.normalise_times = False

    def fetch_within(
        self, bytes_max: int | None, uids: Sequence[int], items: Sequence[str]
    ) -> dict[int, dict[bytes, Any]]:
        """FETCH, whose literals may have `bytes_max` in all: everything is in memory before it returns."""
        self.wire.literals_left = bytes_max
        try:
            rows: dict[int, dict[bytes, Any]] = self.fetch(list(uids), items)
        finally:
            self.wire.literals_left = None
        return rows

    def _create_IMAP4(self) -> imaplib.IMAP4:  # noqa: N802 (imapclient's name)
        return _Protocol(self.wire, self.host, self.port)

    def _set_read_timeout(self) -> None:
        """The wire sets it."""

    def socket(self) -> socket.socket:
        return self.wire.sock
