"""A mailbox on the demo's Gmail, as the contract suite uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.base import ReadPlan
from connectors.gmail import GmailReader, Known
from connectors.gmail_access import GmailAccess
from connectors.gmail_mailbox import gmail_reader, gmail_sender
from connectors.gmail_push import PushListener
from connectors.gmail_sender import GmailSender
from connectors.gmail_session import GmailTools
from ingestd.demo.authserver import AuthServer
from ingestd.demo.gmailbox import GmailBox, Stored
from ingestd.demo.gmailserver import GmailServer
from tests.connectors.mailbox import EVERYTHING, TestTokens, raw_mail

_NAMES = {"Trash": "TRASH", "Junk": "SPAM", "Sent": "SENT"}
"""What the contract calls folders that Gmail has names of its own for."""


class GmailFolders:
    """What the contract asks of a mail server: labels as folders."""

    def __init__(self, server: GmailServer) -> None:
        self.gmail = server

    def name_of(self, folder: str) -> str:
        return _NAMES.get(folder, folder)

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> None:
        box = self.gmail.box(user)
        box.add(raw, (box.label(self.name_of(folder)), "UNREAD"))

    def mails(self, user: str, folder: str = "INBOX") -> list[bytes]:
        return [one.raw for one in self._stored(user, folder)]

    def flags(self, user: str, folder: str = "INBOX") -> list[str]:
        box = self.gmail.box(user)
        return [
            " ".join([*(box.labels[label] for label in one.labels), *(() if "UNREAD" in one.labels else ("\\Seen",))])
            for one in self._stored(user, folder)
        ]

    def folders(self, user: str) -> list[str]:
        return list(self.gmail.box(user).labels.values())

    def create_folder(self, user: str, folder: str) -> None:
        self.gmail.box(user).label(folder)

    def kick(self, user: str) -> None:
        self.gmail.kick(user)

    def _stored(self, user: str, folder: str) -> Sequence[Stored]:
        box = self.gmail.box(user)
        return box.find(labels=[box.label(self.name_of(folder))], with_hidden=True)[::-1]


@dataclass
class GmailMailbox:
    user: str
    tools: GmailTools
    gmail: GmailServer
    auth_server: AuthServer
    tokens: TestTokens = field(init=False)
    access: GmailAccess = field(init=False)
    server: GmailFolders = field(init=False)
    opened: list[GmailReader | GmailSender] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = GmailFolders(self.gmail)
        self.tokens = TestTokens(self.auth_server, self.user)
        self.access = GmailAccess(
            login=self.user,
            connect_seconds=10,
            read_seconds=10,
            call_seconds=20,
            poll_seconds_min=0.1,
            poll_seconds=0.5,
        )

    @property
    def box(self) -> GmailBox:
        return self.gmail.box(self.user)

    def change(self, **changes: Any) -> None:
        """Change the access, before a reader or sender is made."""
        self.access = dataclasses.replace(self.access, **changes)

    def reader(
        self, plan: ReadPlan = EVERYTHING, *, known: Known | None = None, push: PushListener | None = None
    ) -> GmailReader:
        reader = gmail_reader(self.access, self.tokens, tools=self.tools, plan=plan, known=known, push=push)
        self.opened.append(reader)
        return reader

    def sender(self) -> GmailSender:
        sender = gmail_sender(self.access, self.tokens, tools=self.tools)
        self.opened.append(sender)
        return sender

    def deliver(self, subject: str, folder: str = "INBOX", **kwargs: Any) -> None:
        self.server.deliver(self.user, raw_mail(subject, **kwargs), folder)

    async def append(self, subject: str, received_at: datetime, folder: str = "INBOX", **kwargs: Any) -> None:
        """Put a message there with a date, as clients do that move old mail in."""
        labels = (self.box.label(folder), "UNREAD")
        self.box.add(raw_mail(subject, **kwargs), labels, internal_ms=int(received_at.timestamp() * 1000))

    async def close(self) -> None:
        for one in self.opened:
            await one.close()
