"""The demo's submission server: aiosmtpd with XOAUTH2 over TLS, for local recipients only."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from ingestd.demo.xoauth2 import CHALLENGE, CheckToken, authenticated_user

MESSAGE_BYTES_MAX: Final = 36_700_160
"""What Gmail takes; the server says so in its SIZE."""
TOKEN_LINE_BYTES_MAX: Final = 12_288
SHUTDOWN_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class Submission:
    """One accepted message: bare addresses and the bytes as they came."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class _Handler:
    """Who may send as whom, and to whom (aiosmtpd's hooks)."""

    def __init__(self, check: CheckToken, is_local: Callable[[str], bool], accept: Accept) -> None:
        self.check = check
        self._is_local = is_local
        self._accept = accept
        self.connections: set[_Connection] = set()

    async def handle_MAIL(  # noqa: N802  # aiosmtpd finds its hooks by name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        if address != session.auth_data:
            return "553 5.7.1 Not your address"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd finds its hooks by name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self._is_local(address):
            return "550 5.1.1 No such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        await self._accept(Submission(envelope.mail_from or "", tuple(envelope.rcpt_tos), content))
        return "250 2.0.0 Accepted"


Accept = Callable[[Submission], Awaitable[None]]


class _Connection(SMTP):
    """One client's connection."""

    # Bearer tokens are longer than the 512 bytes of RFC 5321 §4.5.3.1.4.
    command_size_limit = TOKEN_LINE_BYTES_MAX
    command_size_limits: dict[str, int] = defaultdict(lambda: TOKEN_LINE_BYTES_MAX)  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.event_handler.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.connections.discard(self)
        super().connection_lost(error)

    async def auth_XOAUTH2(self, _: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        if len(args) == 1:
            response = await self.challenge_auth("")
            if not isinstance(response, bytes):
                return AuthResult(success=False)
        else:
            try:
                response = base64.b64decode(args[1], validate=True)
            except binascii.Error:
                return AuthResult(success=False, handled=False, message="501 5.5.2 Not base64")
        user = authenticated_user(response, self.event_handler.check)
        if user is None:
            await self.challenge_auth(CHALLENGE)
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True, auth_data=user)


class DemoSubmission:
    """The server; `accept` is given every message that was taken."""

    def __init__(
        self,
        ssl_context: SSLContext,
        check: CheckToken,
        is_local: Callable[[str], bool],
        accept: Accept,
        *,
        tls: Literal["implicit", "starttls"] = "implicit",
    ) -> None:
        self.port = 0
        self._ssl_context = ssl_context
        self._tls = tls
        self._handler = _Handler(check, is_local, accept)

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[None]:
        """Serve on 127.0.0.1."""
        loop = asyncio.get_running_loop()
        implicit = self._ssl_context if self._tls == "implicit" else None
        listener = await loop.create_server(
            lambda: self._connection(loop),
            "127.0.0.1",
            port,
            ssl=implicit,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS_MAX if implicit else None,
        )
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            for connection in list(self._handler.connections):
                if isinstance(connection.transport, asyncio.WriteTransport):
                    connection.transport.abort()
            await listener.wait_closed()

    def _connection(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        starttls = self._tls == "starttls"
        return _Connection(
            self._handler,
            data_size_limit=MESSAGE_BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="demo provider",
            tls_context=self._ssl_context if starttls else None,
            require_starttls=starttls,
            # Under implicit TLS aiosmtpd does not know that there is TLS; `handle_MAIL` requires the login.
            auth_require_tls=starttls,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            loop=loop,
        )
