"""The HTTP client beneath Google's library: one try, one server, at the address that the egress guard looked at.

httplib2 posts again by itself when a server closes without an answer, whatever its caller says: a mail would be sent
twice. Here a request is made once; only what changes nothing, over a connection that had stood open, is made again.
It follows no redirect and uses no proxy of the environment. Used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httplib2

from connectors.base import PermanentError, TemporaryError, Trouble
from connectors.egress import Address, EgressGuard
from connectors.gmail_errors import ResponseTooLarge

RESPONSE_BYTES_MAX = 16 * 1024 * 1024
"""Of an answer for which nobody said otherwise."""
_PORTS = {"https": 443, "http": 80}
_RANGE = re.compile(r"bytes \d+-(\d+)/(\d+)")


class NotOurs(Exception):
    """The message was not to leave any more: its last byte was kept."""


class LastByte:
    """Watches a request that must not be repeated: asks before its last byte leaves, and knows whether it did."""

    def __init__(self, may_leave: Callable[[], bool]) -> None:
        """`may_leave` is called in the thread of the call."""
        self._may_leave = may_leave
        self._given_up = False
        self._lock = threading.Lock()
        self.has_begun = False
        """Whether anything of the request was written."""
        self.has_left = False
        self.status: int | None = None
        """What was answered to it."""

    def begin(self) -> None:
        """The request is made, perhaps anew after a refusal."""
        self.has_begun, self.has_left, self.status = True, False, None

    def leave(self) -> None:
        """Raises NotOurs."""
        may_leave = self._may_leave()
        with self._lock:
            if self._given_up or not may_leave:
                raise NotOurs
            self.has_left = True

    def give_up(self) -> bool:
        """Nobody waits for the call any more: keep the last byte, if it is not too late; return whether it is."""
        with self._lock:
            self._given_up = True
            return self.has_left


class OneTryHttp(httplib2.Http):  # type: ignore[misc]  # httplib2 has no types
    """An httplib2.Http for one mailbox. Set `token` and `addresses` before a request."""

    def __init__(
        self, root_url: str, guard: EgressGuard, ssl_context: ssl.SSLContext, *, connect_seconds: float, seconds: float
    ) -> None:
        super().__init__(timeout=seconds, proxy_info=None)
        self.follow_redirects = False
        self.redirect_codes = httplib2.REDIRECT_CODES - {308}  # the answer to a piece of an upload
        parts = urlsplit(root_url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("a root URL that is none")
        self.host, self.port = parts.hostname, parts.port or _PORTS[parts.scheme]
        self._scheme = parts.scheme
        self._guard = guard
        self._ssl_context = ssl_context
        self._connect_seconds = connect_seconds
        self._seconds = seconds
        self.addresses: Sequence[Address] = ()
        """Where to connect; given out by the guard."""
        self.token = ""
        self.response_bytes_max = RESPONSE_BYTES_MAX
        self.repeatable = True
        """Whether the request changes nothing, or the same when made twice."""
        self.last_byte: LastByte | None = None
        self._aborted = False

    @property
    def is_connected(self) -> bool:
        return any(one.sock is not None for one in self.connections.values())

    def abort(self) -> None:
        """Wake a thread that waits for the server; may be called from any thread. Nothing more can be asked."""
        self._aborted = True
        for connection in list(self.connections.values()):
            if (sock := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = 0,
        connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:
        parts = urlsplit(uri)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        if (parts.scheme, parts.hostname, port) != (self._scheme, self.host, self.port):
            # An upload's address comes from the server: it is no way to send us elsewhere, with a token.
            raise PermanentError("the server named an address elsewhere", trouble=Trouble.ADMIN_BLOCKED)
        key = f"{parts.scheme}:{parts.netloc.lower()}"
        if key not in self.connections:
            self.connections[key] = self._new_connection(parts.netloc)
        sent = {**(headers or {}), "authorization": f"Bearer {self.token}", "accept-encoding": "identity"}
        return super().request(uri, method, body, sent, 0)  # type: ignore[no-any-return]

    def _new_connection(self, netloc: str) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._scheme == "https":
            connection = http.client.HTTPSConnection(netloc, timeout=self._seconds, context=self._ssl_context)
        else:
            connection = http.client.HTTPConnection(netloc, timeout=self._seconds)
        connection._create_connection = self._dial  # type: ignore[attr-defined]
        return connection

    def _dial(self, _: tuple[str, int], *_args: object) -> socket.socket:
        """Connect to one of the guard's addresses, tried in order. Raises TemporaryError, EgressRefused."""
        if self._aborted:
            raise self._given_up()
        for address in self.addresses:
            self._guard.check(address.ip, self.port)
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            sock.settimeout(self._connect_seconds)
            try:
                sock.connect(address.sockaddr)
            except OSError:
                sock.close()
                continue
            if self._aborted:  # meanwhile: nobody would wake us
                sock.close()
                raise self._given_up()
            sock.settimeout(self._seconds)
            return sock
        raise TemporaryError(f"cannot connect to {self.host}:{self.port}")

    def _given_up(self) -> TemporaryError:
        return TemporaryError(f"the call to {self.host}:{self.port} was given up")

    def _conn_request(
        self, conn: http.client.HTTPConnection, request_uri: str, method: str, body: Any, headers: dict[str, str]
    ) -> tuple[httplib2.Response, bytes]:
        if isinstance(body, str):
            body = body.encode()
        elif hasattr(body, "read"):  # a piece of an upload
            body = body.read()
        try:
            if not self.repeatable:
                conn.close()  # a connection that stood open may be closed already on the other side
            elif conn.sock is not None:
                try:
                    self._send(conn, request_uri, method, body, headers)
                    return self._receive(conn)
                except (ConnectionError, http.client.RemoteDisconnected):
                    conn.close()
            self._send(conn, request_uri, method, body, headers)
            return self._receive(conn)
        except BaseException:
            conn.close()
            raise

    def _send(
        self, conn: http.client.HTTPConnection, uri: str, method: str, body: bytes | None, headers: dict[str, str]
    ) -> None:
        watch = self.last_byte if body and _is_last(headers) else None
        if watch is None or not body:
            conn.request(method, uri, body, headers)
            return
        watch.begin()
        conn.putrequest(method, uri, skip_accept_encoding=True)
        for name, value in headers.items():
            conn.putheader(name, value)
        conn.endheaders()
        # Without its last byte a request is none: up to here nothing was sent.
        view = memoryview(body)
        conn.send(view[:-1])
        watch.leave()
        conn.send(view[-1:])

    def _receive(self, conn: http.client.HTTPConnection) -> tuple[httplib2.Response, bytes]:
        response = conn.getresponse()
        if self.last_byte is not None and self.last_byte.has_left:
            self.last_byte.status = response.status
        declared = response.length
        if declared is not None and declared > self.response_bytes_max:
            raise ResponseTooLarge("an answer is too large")
        content = response.read(self.response_bytes_max + 1)
        if len(content) > self.response_bytes_max:
            raise ResponseTooLarge("an answer is too large")
        if declared is not None and len(content) < declared:
            raise http.client.IncompleteRead(b"", declared - len(content))
        return httplib2.Response(response), content


def _is_last(headers: Mapping[str, str]) -> bool:
    """Whether a request completes what is sent: all but the first pieces of an upload do, and its beginning."""
    lower = {name.lower(): value for name, value in headers.items()}
    if "x-upload-content-type" in lower:
        return False
    place = _RANGE.fullmatch(lower.get("content-range", ""))
    return place is None or int(place.group(1)) + 1 == int(place.group(2))
