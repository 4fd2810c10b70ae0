"""A mailbox on the real servers, as the tests use it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from connectors.base import Batch, RawMessage, Reader, ReadPlan, StartFrom
from connectors.imap import ImapReader
from connectors.imap_access import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.imap_session import ImapTools
from connectors.smtp import SmtpSender
from ingestd.demo.authserver import AuthServer
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

EVERYTHING = ReadPlan(start_from=StartFrom.EVERYTHING)


def raw_mail(subject: str, *, body: bytes = b"Hello\r\n", message_id: str | None = None, extra: bytes = b"") -> bytes:
    identity = message_id or f"<{time.monotonic_ns()}@customer.example.net>"
    head = f"From: <customer@example.net>\r\nTo: <help@example.com>\r\nSubject: {subject}\r\nMessage-ID: {identity}\r\n"
    return head.encode() + extra + b"\r\n" + body


class TestTokens:
    """A TokenSource on the real authorization server."""

    __test__ = False

    def __init__(self, server: AuthServer, user: str) -> None:
        self._server = server
        self._user = user
        self._token = server.issue(user).access_token
        self.refreshes = 0
        self.working = True

    async def __call__(self, *, rejected: str | None = None) -> str:
        if rejected is not None and rejected == self._token:
            self.refreshes += 1
            self._token = self._server.issue(self._user).access_token if self.working else "refused-token"
        return self._token

    def set(self, token: str) -> None:
        self._token = token


@dataclass
class Mailbox:
    user: str
    tools: ImapTools
    dovecot: Dovecot
    postfix: Postfix
    auth_server: AuthServer
    tokens: TestTokens = field(init=False)
    access: ImapAccess = field(init=False)
    opened: list[ImapReader | SmtpSender] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = TestTokens(self.auth_server, self.user)
        self.access = ImapAccess(
            login=self.user,
            imap=ImapEndpoint("localhost", self.dovecot.port_tls),
            smtp=SmtpEndpoint("localhost", self.postfix.port_tls),
            connect_seconds=10,
            read_seconds=10,
            poll_seconds=60,
        )
        self.permit()

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
        self.dovecot.deliver(self.user, raw_mail(subject, **kwargs), folder)

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


def subject_of(message: RawMessage) -> str:
    line = next(line for line in message.header.split(b"\r\n") if line.lower().startswith(b"subject:"))
    return line[8:].strip().decode()


def subjects(messages: list[RawMessage]) -> list[str]:
    return [subject_of(message) for message in messages]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
