"""A mailbox on the fake of Microsoft Graph, as the tests use it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from connectors.base import ReadPlan
from connectors.egress import EgressGuard
from connectors.graph import GraphReader
from connectors.graph_access import GraphAccess
from connectors.graph_delta import Known
from connectors.graph_limiter import MailboxLimiter
from connectors.graph_mailbox import graph_reader, graph_sender
from connectors.graph_sender import GraphSender
from connectors.graph_transport import GraphTransport
from ingestd.demo.authserver import AuthServer
from ingestd.demo.graph_faults import Fault
from ingestd.demo.graph_store import WELL_KNOWN, Item, Mailbox, NotFound
from ingestd.demo.graphserver import GraphServer
from tests.connectors.mailbox import EVERYTHING, TestTokens, raw_mail

_NAMES = {"Trash": "Deleted Items", "Junk": "Junk Email", "Sent": "Sent Items", "INBOX": "Inbox"}
"""What other servers call the folders."""


def mail_to(recipients: Sequence[str], subject: str, **kwargs: Any) -> bytes:
    """Return a mail whose header names those that it goes to."""
    named = ", ".join(f"<{one}>" for one in recipients)
    return raw_mail(subject, **kwargs).replace(b"To: <help@example.com>", f"To: {named}".encode(), 1)


class GraphFolders:
    """What the contract asks of a server beside the protocol."""

    def __init__(self, server: GraphServer) -> None:
        self._server = server

    def mailbox(self, user: str) -> Mailbox:
        return self._server.mailboxes[user]

    def name_of(self, folder: str) -> str:
        return _NAMES.get(folder, folder)

    def _items(self, user: str, folder: str) -> list[Item]:
        mailbox = self.mailbox(user)
        return mailbox.in_folder(mailbox.at_path(self.name_of(folder)).id)

    def mails(self, user: str, folder: str = "INBOX") -> list[bytes]:
        return [item.content for item in self._items(user, folder)]

    def flags(self, user: str, folder: str = "INBOX") -> list[str]:
        """As Dovecot tells them."""
        return [
            " ".join([*(["\\Seen"] if item.is_read else []), *item.categories]) for item in self._items(user, folder)
        ]

    def create_folder(self, user: str, folder: str) -> None:
        mailbox, parent = self.mailbox(user), None
        names = folder.split("/")
        for depth in range(1, len(names) + 1):
            try:
                parent = mailbox.at_path("/".join(names[:depth])).id
            except NotFound:
                parent = mailbox.create_folder(names[depth - 1], parent).id

    def delete_folder(self, user: str, folder: str) -> None:
        mailbox = self.mailbox(user)
        mailbox.delete_folder(mailbox.at_path(self.name_of(folder)).id)

    def rename_folder(self, user: str, folder: str, to: str) -> None:
        self.mailbox(user).at_path(self.name_of(folder)).name = to

    def kick(self, user: str) -> None:
        self._server.kick(user)


@dataclass
class GraphBox:
    user: str
    graph: GraphServer
    auth_server: AuthServer
    tokens: TestTokens = field(init=False)
    access: GraphAccess = field(init=False)
    server: GraphFolders = field(init=False)
    transport: httpx2.AsyncBaseTransport = field(init=False)
    limiter: MailboxLimiter = field(default_factory=MailboxLimiter)
    opened: list[GraphReader | GraphSender] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = TestTokens(self.auth_server, self.user)
        self.access = GraphAccess(
            base_url=self.graph.url, connect_seconds=10, read_seconds=10, poll_seconds_min=1.4, poll_seconds=60
        )
        self.server = GraphFolders(self.graph)
        guard = EgressGuard([("127.0.0.1", int(self.graph.url.split(":")[2].partition("/")[0]))])
        self.transport = GraphTransport(guard)
        self.graph.faults.clear(self.user)
        # Of who had this mailbox before.
        mailbox = self.mailbox
        for item in list(mailbox.items.values()):
            mailbox.remove(item)
        for folder in [one for one in mailbox.children(None) if one.well_known not in WELL_KNOWN]:
            mailbox.delete_folder(folder.id)

    @property
    def mailbox(self) -> Mailbox:
        return self.graph.mailboxes[self.user]

    def change(self, **changes: Any) -> None:
        """Change the access, before a reader or sender is made."""
        self.access = dataclasses.replace(self.access, **changes)

    def reader(self, plan: ReadPlan = EVERYTHING, *, name: str = "reader", known: Known | None = None) -> GraphReader:
        reader = graph_reader(
            self.access,
            self.tokens,
            transport=self.transport,
            limiter=self.limiter,
            plan=plan,
            name=name,
            known=known,
        )
        self.opened.append(reader)
        return reader

    def sender(self) -> GraphSender:
        sender = graph_sender(self.access, self.tokens, transport=self.transport, limiter=self.limiter)
        self.opened.append(sender)
        return sender

    def deliver(self, subject: str, folder: str = "INBOX", **kwargs: Any) -> Item:
        return self.graph.deliver(self.user, raw_mail(subject, **kwargs), self.server.name_of(folder))

    async def append(self, subject: str, received_at: datetime, folder: str = "INBOX", **kwargs: Any) -> None:
        """Put a message there with a date of its own, as a migration does: at another time than all else."""
        self.mailbox.advance(timedelta(minutes=2))
        self.graph.deliver(self.user, raw_mail(subject, **kwargs), self.server.name_of(folder), received=received_at)

    def fail(self, fault: Fault) -> None:
        self.graph.fail(self.user, fault)

    def calls(self, method: str, pattern: str) -> int:
        """Return how many calls on this mailbox were of this kind."""
        return sum(pattern in path for user, verb, path in list(self.graph.log) if user == self.user and verb == method)

    async def close(self) -> None:
        for one in self.opened:
            await one.close()
        await self.transport.aclose()


@pytest.fixture
async def box(user: str, graph: GraphServer, auth_server: AuthServer) -> AsyncIterator[GraphBox]:
    box = GraphBox(user, graph, auth_server)
    yield box
    await box.close()
