"""A mailbox on the real servers, as the tests use it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from connectors.base import AccessToken, Batch, HistoryBatch, HistoryPlan, RawMessage, Reader, ReadPlan
from connectors.imap import ImapReader
from connectors.imap_access import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.imap_session import ImapTools, open_session
from connectors.smtp import SmtpSender
from ingestd.demo.authserver import AuthServer
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

LONG_AGO = datetime(1990, 1, 1, tzinfo=UTC)
EVERYTHING = ReadPlan(start_at=LONG_AGO)


def raw_mail(subject: str, *, body: bytes = b"Hello\r\n", message_id: str | None = None, extra: bytes = b"") -> bytes:
    identity = message_id or f"<{time.monotonic_ns()}@customer.example.net>"
    head = f"From: <customer@example.net>\r\nTo: <help@example.com>\r\nSubject: {subject}\r\nMessage-ID: {identity}\r\n"
    return head.encode() + extra + b"\r\n" + body


class MailServer(Protocol):
    """What the tests ask of an IMAP server beside IMAP. Folders are named as people name them: Done/2026."""

    port_tls: int

    def name_of(self, folder: str) -> str: ...
    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> None: ...
    def mails(self, user: str, folder: str = "INBOX") -> list[bytes]: ...
    def flags(self, user: str, folder: str = "INBOX") -> list[str]: ...
    def folders(self, user: str) -> list[str]: ...
    def create_folder(self, user: str, folder: str) -> None: ...
    def delete_folder(self, user: str, folder: str) -> None: ...
    def rename_folder(self, user: str, folder: str, to: str) -> None: ...
    def expunge(self, user: str, folder: str, uid: int) -> None: ...
    def kick(self, user: str) -> None: ...
    def connections(self, user: str) -> int: ...


class TestTokens:
    """A TokenSource on the real authorization server."""

    __test__ = False

    def __init__(self, server: AuthServer, user: str) -> None:
        self._server = server
        self._user = user
        self._token = server.issue(user).access_token
        self.refreshes = 0
        self.working = True

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        if rejected is not None and rejected == self._token:
            self.refreshes += 1
            self._token = self._server.issue(self._user).access_token if self.working else "refused-token"
        return AccessToken(self._token)

    def set(self, token: str) -> None:
        self._token = token


@dataclass
class Mailbox:
    user: str
    tools: ImapTools
    server: MailServer
    postfix: Postfix
    auth_server: AuthServer
    tokens: TestTokens = field(init=False)
    access: ImapAccess = field(init=False)
    opened: list[ImapReader | SmtpSender] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = TestTokens(self.auth_server, self.user)
        self.access = ImapAccess(
            login=self.user,
            imap=ImapEndpoint("localhost", self.server.port_tls),
            smtp=SmtpEndpoint("localhost", self.postfix.port_tls),
            connect_seconds=10,
            read_seconds=10,
            poll_seconds=60,
        )
        self.permit()

    @property
    def dovecot(self) -> Dovecot:
        """The server, for what Dovecot alone can be told."""
        assert isinstance(self.server, Dovecot)
        return self.server

    def permit(self) -> None:
        for endpoint in (self.access.imap, self.access.smtp):
            self.tools.guard.permit(endpoint.host, endpoint.port)

    def change(self, **changes: Any) -> None:
        """Change the access, before a reader or sender is made."""
        self.access = dataclasses.replace(self.access, **changes)
        self.permit()

    def reader(self, plan: ReadPlan = EVERYTHING) -> ImapReader:
        reader = ImapReader(self.access, self.tokens, self.tools, plan)
        self.opened.append(reader)
        return reader

    def sender(self) -> SmtpSender:
        sender = SmtpSender(self.access, self.tokens, self.tools)
        self.opened.append(sender)
        return sender

    def deliver(self, subject: str, folder: str = "INBOX", **kwargs: Any) -> None:
        self.server.deliver(self.user, raw_mail(subject, **kwargs), folder)

    async def append(self, subject: str, received_at: datetime, folder: str = "INBOX", **kwargs: Any) -> None:
        """Put a message there that the server dates as it is told, as clients do that move old mail in."""
        mail = raw_mail(subject, **kwargs)
        session = await open_session(self.access, self.tokens, self.tools)
        try:
            await session.run("APPEND", lambda client: client.append(folder, mail, (), received_at))
        finally:
            await session.close()

    async def close(self) -> None:
        for one in self.opened:
            await one.close()


async def read_all(reader: Reader, cursor: str | None) -> tuple[list[Batch], str | None]:
    """Return all batches since `cursor` and the cursor behind them."""
    batches: list[Batch] = []
    async with aclosing(reader.changes(cursor)) as changes:  # type: ignore[type-var]
        async for batch in changes:
            batches.append(batch)
            cursor = batch.cursor
    return batches, cursor


async def read_messages(reader: Reader, cursor: str | None) -> tuple[list[RawMessage], str | None]:
    batches, cursor = await read_all(reader, cursor)
    return [message for batch in batches for message in batch.messages], cursor


async def read_history(
    reader: Reader, plan: HistoryPlan, cursor: str | None = None, batches: int | None = None
) -> list[HistoryBatch]:
    """Return the batches behind `cursor`, or the next few of them."""
    found: list[HistoryBatch] = []
    async with aclosing(reader.history(plan, cursor)) as history:  # type: ignore[type-var]
        async for batch in history:
            found.append(batch)
            if len(found) == batches:
                break
    return found


def subject_of(message: RawMessage) -> str:
    line = next(line for line in message.header.split(b"\r\n") if line.lower().startswith(b"subject:"))
    return line[8:].strip().decode()


def subjects(messages: list[RawMessage]) -> list[str]:
    return [subject_of(message) for message in messages]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def never() -> bool:
    """What a sender is told that may not send any more."""
    return False
