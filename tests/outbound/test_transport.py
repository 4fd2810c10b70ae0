"""Replies through a real Postfix, with their Sent copies in a real Dovecot: whatever goes wrong on the way, where the
reply stands then, how often the server really took it, and how many copies lie in Sent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, update

from config import Backoff, Outbound
from connectors.base import OWN_HEADER, ConnectorError, PermanentError, Trouble
from connectors.egress import EgressGuard
from connectors.imap_access import SmtpEndpoint
from connectors.imap_session import ImapTools
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer
from ingestd.mail.compose import AttachmentContent
from ingestd.mail.types import Address
from ingestd.outbound.budgets import Allowance, Budget, Connections
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.records import ReplyRecord
from storage import mailboxes, outbox
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.tables import mailboxes as mailboxes_table
from storage.tables import outbox as outbox_table
from tests.connectors.mailbox import Mailbox
from tests.office import Office, mail
from tests.outbound.test_sender import LONG_AGO
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import (
    USERS,
    auth_server,
    certificates,
    dovecot,
    introspection_url,
    plain_dovecot,
    started,
)
from tests.servers.policy import Policy
from tests.servers.postfix import Postfix
from tests.servers.proxy import Fault, Proxy
from tests.servers.script import server_context
from tests.stores import Stores

__all__ = ["auth_server", "certificates", "dovecot", "plain_dovecot"]

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in test_sender

SIZE_MAX = 60_000
UTF8 = "jürgen@example.com"
FILING = USERS[200:240]
"""Of their mail, the server files a copy in Sent by itself."""
_filing, _plain = itertools.cycle(FILING), itertools.cycle(USERS[240:])
QUICK = Outbound(
    attempts_max=3,
    backoff=Backoff(initial_seconds=0.001, max_seconds=0.002),
    sent_attempts_max=2,
    connect_timeout_seconds=5,
    command_timeout_seconds=5,
)
STEPS_MAX = 8
REVOKED = PermanentError("the token endpoint says invalid_grant", trouble=Trouble.GRANT_REVOKED)
OK_QUEUED = b"250 2.0.0 Ok: queued"


@pytest.fixture(scope="session")
def policy() -> Iterator[Policy]:
    server = Policy()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def asking_postfix(certificates: Certificates, dovecot: Dovecot, policy: Policy) -> Iterator[Postfix]:
    yield from started(
        lambda: Postfix(certificates, dovecot, [*USERS, UTF8], size_max=SIZE_MAX, filing=FILING, policy=policy.port)
    )


@pytest.fixture(scope="session")
def ascii_postfix(certificates: Certificates, dovecot: Dovecot) -> Iterator[Postfix]:
    yield from started(lambda: Postfix(certificates, dovecot, USERS, smtputf8=False))


@pytest.fixture(scope="session")
def full_dovecot(certificates: Certificates, auth_server: AuthServer) -> Iterator[Dovecot]:
    """Where no mailbox may hold anything."""
    yield from started(lambda: Dovecot(certificates, introspection_url(auth_server), quota_bytes=1))


@dataclass
class Way:
    """One mailbox, its customer, a reply on its way between them, and a proxy in between."""

    office: Office
    box: Mailbox
    dovecot: Dovecot
    """Where customers' mail is delivered."""
    policy: Policy
    proxy: Proxy
    customer: str
    replies: list[Reply] = field(default_factory=list)
    outbox: MailboxOutbox = field(init=False)

    async def start(
        self, draft: ReplyDraft | None = None, *, settings: Outbound = QUICK, sent_copy: str = "auto"
    ) -> None:
        office = self.office
        self.outbox = office.outbox(
            self.box.sender(),
            settings,
            SentPolicy(sent_copy, 0.0 if self.box.user not in FILING else 20.0),
            Allowance(Budget(100, 100, 100), Connections(1)),
        )
        await office.take(mail(sender=self.customer))
        created = await create_reply(
            office.desk, settings, office.held.account_id, 1, draft or ReplyDraft("Grüße, we look into it.")
        )
        self.reply_id = created.message_id

    async def reply(self) -> Reply:
        return await self.office.stores.content.read(self.office.held.account_id, outbox.get_reply, self.reply_id)

    async def until_settled(self) -> Reply:
        """Do the steps of the reply, each as soon as it can be, until none changes anything any more."""

        def due(conn: Connection) -> None:
            conn.execute(update(outbox_table).where(outbox_table.c.due_at.is_not(None)).values(due_at=LONG_AGO))
            conn.execute(
                update(mailboxes_table)
                .where(mailboxes_table.c.send_retry_at.is_not(None))
                .values(send_retry_at=LONG_AGO)
            )

        reply = await self.reply()
        for _ in range(STEPS_MAX):
            await self.office.stores.content.transaction(None, due)
            await self.outbox.run_due()
            reply = await self.reply()
            if reply.due_at is None:
                break
            if reply.sent_copy is SentCopy.DUE and self.box.user in FILING:
                await self._until_delivered()
        return reply

    async def _until_delivered(self) -> None:
        """The server files its copy when it delivers."""
        async with asyncio.timeout(10):
            while not await self.copies(self.box.user, "Sent"):
                await asyncio.sleep(0.05)

    async def copies(self, user: str, folder: str = "INBOX", server: Dovecot | None = None) -> int:
        """Return how often the mailbox holds the reply, by the header that is ours alone."""
        record = await self.record()
        return (server or self.dovecot).count(user, folder, f"{OWN_HEADER}: {record.token}".encode())

    async def record(self) -> ReplyRecord:
        reply = await self.reply()
        return self.office.context.key.open_record(ReplyRecord.place(reply.message_id), reply.sealed, ReplyRecord)

    async def check(self, *, delivered: int, in_sent: int, server: Postfix | None = None) -> None:
        async with asyncio.timeout(10):
            while await self.copies(self.customer) != delivered:
                await asyncio.sleep(0.05)
        postfix = server or self.box.postfix
        assert postfix.accepted((await self.record()).message_id) == delivered
        assert isinstance(self.box.server, Dovecot)
        if in_sent or "Sent" in self.box.server.folders(self.box.user):
            assert await self.copies(self.box.user, "Sent", self.box.server) == in_sent
        await self.office.check()


@pytest.fixture
def tools(certificates: Certificates) -> Iterator[ImapTools]:
    with ThreadPoolExecutor(4) as executor:
        yield ImapTools(client_context(certificates.ca_file), EgressGuard([]), executor)


Opens = Callable[..., Awaitable[Way]]


@pytest.fixture
async def opened(
    stores: Stores,
    tools: ImapTools,
    certificates: Certificates,
    dovecot: Dovecot,
    asking_postfix: Postfix,
    auth_server: AuthServer,
    policy: Policy,
) -> AsyncIterator[Opens]:
    """Return what opens a way through the asking server, by a proxy within TLS."""
    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    proxy = Proxy(asking_postfix.port_tls, server_context=context, upstream_context=tools.ssl_context)
    ways: list[Way] = []

    async def open_way(*, files: bool = False, imap: Dovecot | None = None, customer: str = "") -> Way:
        user = next(_filing if files else _plain)
        box = Mailbox(user, tools, imap or dovecot, asking_postfix, auth_server)
        box.change(smtp=SmtpEndpoint("localhost", proxy.port))
        office = await Office.open(stores, address=user)
        ways.append(Way(office, box, dovecot, policy, proxy, customer or next(_plain)))
        return ways[-1]

    async with proxy.running():
        yield open_way
        for way in ways:
            await way.box.close()


# -- the server says yes ---------------------------------------------------------------------------


@pytest.mark.parametrize("files", [True, False], ids=["the provider files", "the provider files nothing"])
@pytest.mark.parametrize("sent_copy", ["auto", "append"])
async def test_accepted(opened: Opens, files: bool, sent_copy: str) -> None:
    way = await opened(files=files)
    await way.start(sent_copy=sent_copy)
    reply = await way.until_settled()
    assert (reply.status, reply.sent_copy, reply.attempts) == (ReplyStatus.SENT, SentCopy.FILED, 1)
    await way.check(delivered=1, in_sent=1)
    (mail_,) = await asyncio.to_thread(way.dovecot.mails, way.customer)
    assert b"Gr" in mail_
    held = way.office.held
    mailbox = await way.office.stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    learned = (mailbox.sent_found, mailbox.sent_appended, mailbox.sent_rewritten)
    if sent_copy == "auto":
        assert learned == ((1, 0, 0) if files else (0, 1, 0))


async def test_slow(opened: Opens) -> None:
    way = await opened()
    way.proxy.delay_seconds = 0.05
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.attempts) == (ReplyStatus.SENT, 1)
    await way.check(delivered=1, in_sent=1)


async def test_a_partly_refused_reply_goes_to_the_rest_and_says_so(opened: Opens) -> None:
    way = await opened()
    other = next(_plain)
    way.policy.always("RCPT", other, "550 5.7.1 not for you")
    await way.start(ReplyDraft("For both of you.", cc=[Address(other)]))
    reply = await way.until_settled()
    assert (reply.status, reply.reason) == (ReplyStatus.SENT, "partly_refused")
    assert (await way.record()).refused == {other: 550}
    await way.check(delivered=1, in_sent=1)
    assert await way.copies(other) == 0


# -- the server says no ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "named"),
    [("MAIL", "mail"), ("RCPT", "rcpt"), ("DATA", "data"), ("END-OF-MESSAGE", "dot")],
)
async def test_refused(opened: Opens, stage: str, named: str) -> None:
    way = await opened()
    way.policy.always(stage, way.box.user, "550 5.7.1 not today, and not tomorrow")  # type: ignore[arg-type]
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.reason, reply.attempts) == (ReplyStatus.FAILED, f"refused_at_{named}", 1)
    await way.check(delivered=0, in_sent=0)


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        ("RCPT", "450 4.2.0 Greylisted, try again in 1 seconds"),
        ("MAIL", "451 4.3.0 not now"),
        ("RCPT", "421 4.3.2 closing"),
        ("DATA", "421 4.3.2 closing"),
        ("END-OF-MESSAGE", "452 4.3.1 no room"),
        ("END-OF-MESSAGE", "421 4.3.2 closing"),
    ],
)
async def test_not_now_then_yes(opened: Opens, stage: str, answer: str) -> None:
    way = await opened()
    way.policy.answer(stage, way.box.user, answer)  # type: ignore[arg-type]
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.attempts) == (ReplyStatus.SENT, 2)
    attempts = await way.office.stores.content.read(reply.account_id, outbox.list_attempts, reply.message_id)
    assert [(one.outcome, one.code) for one in attempts] == [("deferred", int(answer[:3])), ("accepted", 250)]
    await way.check(delivered=1, in_sent=1)


async def test_over_the_servers_size(opened: Opens) -> None:
    way = await opened()
    await way.start(ReplyDraft("See below.", [AttachmentContent("a.bin", "application/octet-stream", bytes(SIZE_MAX))]))
    reply = await way.until_settled()
    assert (reply.status, reply.reason) == (ReplyStatus.FAILED, "refused_at_mail")
    await way.check(delivered=0, in_sent=0)


# -- the connection is lost ------------------------------------------------------------------------


@pytest.mark.parametrize("marker", [b"MAIL FROM", b"RCPT TO", b"DATA\r\n"])
async def test_dropped_before_the_body_is_sent_once(opened: Opens, marker: bytes) -> None:
    way = await opened()
    way.proxy.fault = Fault("client", marker=marker)
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.attempts, way.proxy.fault.happened) == (ReplyStatus.SENT, 2, True)
    await way.check(delivered=1, in_sent=1)


async def test_dropped_before_the_final_dot_is_never_sent_blindly(opened: Opens) -> None:
    """The dot was written, and did not get there: from here that looks as if it had."""
    way = await opened()
    way.proxy.fault = Fault("client", marker=b"\r\n.\r\n")
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.attempts) == (ReplyStatus.UNKNOWN, 1)
    await way.check(delivered=0, in_sent=0)


@pytest.mark.parametrize("files", [True, False], ids=["the provider files", "the provider files nothing"])
@pytest.mark.parametrize("action", ["cut", "hang"])
async def test_dropped_after_the_final_dot(opened: Opens, files: bool, action: str) -> None:
    way = await opened(files=files)
    way.proxy.fault = Fault("server", marker=OK_QUEUED, action=action)  # type: ignore[arg-type]
    way.box.change(dot_seconds=0.5)
    await way.start()
    await way.outbox.run_due()
    assert (await way.reply()).status is ReplyStatus.UNKNOWN
    if files:
        await way._until_delivered()
    reply = await way.until_settled()
    if files:
        assert (reply.status, reply.reason, reply.sent_copy) == (ReplyStatus.SENT, "found_in_sent", SentCopy.FILED)
    else:
        assert reply.status is ReplyStatus.UNKNOWN
    assert reply.attempts == 1
    await way.check(delivered=1, in_sent=1 if files else 0)


async def test_broken_tls_is_the_mailboxs_trouble(opened: Opens, tools: ImapTools) -> None:
    """What answers speaks no TLS; later it does."""
    way = await opened()

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 no TLS here\r\n")
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
    async with server:
        way.box.change(smtp=SmtpEndpoint("localhost", server.sockets[0].getsockname()[1]))
        await way.start()
        await way.outbox.run_due()
        reply = await way.reply()
        assert (reply.status, reply.reason) == (ReplyStatus.QUEUED, "transient")
    way.box.change(smtp=SmtpEndpoint("localhost", way.proxy.port))
    way.outbox = way.office.outbox(way.box.sender(), QUICK, SentPolicy("auto", 0.0))
    assert (await way.until_settled()).status is ReplyStatus.SENT
    await way.check(delivered=1, in_sent=1)


async def test_a_refused_login_with_a_lost_grant_behind_it_is_the_mailboxs_state(opened: Opens) -> None:
    way = await opened()
    way.box.tokens.working = False
    way.box.tokens.set("refused-token")
    await way.start()

    async def revoked() -> ConnectorError:
        return REVOKED

    way.outbox._trouble._why_refused = revoked
    await way.outbox.run_due()
    reply = await way.reply()
    assert (reply.status, reply.reason) == (ReplyStatus.QUEUED, "login_refused")
    held = way.office.held
    mailbox = await way.office.stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    assert (mailbox.state.value, mailbox.trouble) == ("reauth_required", "grant_revoked")
    await way.check(delivered=0, in_sent=0)


# -- the Sent copy ---------------------------------------------------------------------------------


async def test_a_full_mailbox_keeps_the_copy_out_and_never_sends_again(opened: Opens, full_dovecot: Dovecot) -> None:
    way = await opened(imap=full_dovecot)
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.sent_copy, reply.attempts) == (ReplyStatus.SENT, SentCopy.FAILED, 1)
    await way.check(delivered=1, in_sent=0)


async def test_where_sent_is_missing_it_is_made(opened: Opens, plain_dovecot: Dovecot) -> None:
    way = await opened(imap=plain_dovecot)
    way.box.change(mechanisms=("XOAUTH2",))
    assert "Sent" not in plain_dovecot.folders(way.box.user)
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.sent_copy) == (ReplyStatus.SENT, SentCopy.FILED)
    await way.check(delivered=1, in_sent=1)
    (flags,) = plain_dovecot.flags(way.box.user, "Sent")
    assert "\\Seen" in flags


# -- what the server can take ----------------------------------------------------------------------


async def test_utf8_addresses_where_the_server_has_smtputf8(opened: Opens) -> None:
    way = await opened(customer=UTF8)
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.attempts) == (ReplyStatus.SENT, 1)
    assert b"SMTPUTF8" in way.proxy.sent_by_client
    await way.check(delivered=1, in_sent=1)


async def test_utf8_addresses_where_it_has_not(opened: Opens, ascii_postfix: Postfix) -> None:
    way = await opened(customer=UTF8)
    way.box.change(smtp=SmtpEndpoint("localhost", ascii_postfix.port_tls))
    await way.start()
    reply = await way.until_settled()
    assert (reply.status, reply.reason) == (ReplyStatus.FAILED, "refused_at_mail")
    (attempt,) = await way.office.stores.content.read(reply.account_id, outbox.list_attempts, reply.message_id)
    assert attempt.enhanced_code == "5.6.7"
    assert ascii_postfix.accepted((await way.record()).message_id) == 0
