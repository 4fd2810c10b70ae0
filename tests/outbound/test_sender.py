"""Every outcome of a send, and what the outbox makes of it, on real databases with a scripted provider."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from config import Backoff, Outbound
from connectors.base import (
    AuthError,
    Envelope,
    FiledCopy,
    PermanentError,
    PlaceMissing,
    SendOutcome,
    SendStatus,
    StillOurs,
    TemporaryError,
    Trouble,
    always,
)
from ingestd.outbound import steps
from ingestd.outbound.resolve import Decided, decide
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.outbound.statuses import IllegalStepError, ReplyEvent
from storage import mailboxes, outbox
from storage.errors import Conflict
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.tables import outbox as outbox_table
from tests.office import Office, mail
from tests.stores import Stores

ACCEPTED = SendOutcome(SendStatus.ACCEPTED, "dot", 250)
QUICK = Outbound(attempts_max=2, backoff=Backoff(initial_seconds=0.001, max_seconds=0.002), sent_attempts_max=2)
AUTO = SentPolicy("auto", 0.0)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Provider:
    """Answers each send with the next outcome; `sent` is its Sent folder."""

    def __init__(self, *outcomes: SendOutcome | Exception, files: bool = False) -> None:
        self.outcomes = list(outcomes)
        self.files = files
        self.accepted: list[bytes] = []
        self.sent: list[bytes] = []
        self.append_fails = 0
        self.sent_is_missing = False
        self.asked = 0
        self.hung_up = 0
        self.gives_id = ""
        """The Message-ID that it puts in the place of ours."""

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        if not await still_ours():
            return SendOutcome(SendStatus.DEFERRED, "data")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.status in {SendStatus.ACCEPTED, SendStatus.UNKNOWN}:
            self.accepted.append(content)
            if self.files:
                self.sent.append(content)
        return outcome

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        self.asked += 1
        if self.sent_is_missing:
            raise PlaceMissing("LIST: no folder for Sent")
        return [FiledCopy("1:1:Sent", self.gives_id or message_id) for one in self.sent if message_id.encode() in one]

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        if self.append_fails:
            self.append_fails -= 1
            raise TemporaryError("APPEND was refused")
        self.sent.append(content)
        return FiledCopy("1:2:Sent", None)

    async def hang_up(self) -> None:
        self.hung_up += 1

    async def close(self) -> None: ...


class Sending:
    """An office with one queued reply, and a provider for it."""

    def __init__(self, office: Office, provider: Provider, settings: Outbound, policy: SentPolicy, reply: UUID) -> None:
        self.office, self.provider, self.reply_id = office, provider, reply
        self.outbox: MailboxOutbox = office.outbox(provider, settings, policy)

    @classmethod
    async def begin(
        cls, stores: Stores, provider: Provider, settings: Outbound = QUICK, policy: SentPolicy = AUTO
    ) -> Sending:
        office = await Office.open(stores)
        await office.take(mail())
        created = await office.reply(1)
        return cls(office, provider, settings, policy, created.message_id)

    async def reply(self) -> Reply:
        office = self.office
        return await office.stores.content.read(office.held.account_id, outbox.get_reply, self.reply_id)

    async def decide(self, event: ReplyEvent, author: str = "kim") -> Decided:
        return await decide(self.office.desk, self.office.held.account_id, self.reply_id, event, author=author)

    async def step(self) -> Reply:
        """Make the next step due now, and do it."""

        def due(conn: Connection) -> None:
            conn.execute(update(outbox_table).where(outbox_table.c.due_at.is_not(None)).values(due_at=LONG_AGO))

        await self.office.stores.content.transaction(None, due)
        await self.outbox.run_due()
        return await self.reply()

    async def age(self, seconds: float) -> None:
        """Let the reply's status be older than it is."""

        def back(conn: Connection, since: datetime) -> None:
            conn.execute(update(outbox_table).values(status_since=since))

        since = (await self.reply()).status_since - timedelta(seconds=seconds)
        await self.office.stores.content.transaction(None, back, since)


async def test_accepted_and_filed_by_us(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED))
    reply = await work.step()
    assert (reply.status, reply.sent_copy) == (ReplyStatus.SENT, SentCopy.DUE)
    reply = await work.step()
    assert (reply.sent_copy, reply.due_at) == (SentCopy.FILED, None)
    assert len(work.provider.sent) == len(work.provider.accepted) == 1
    assert "reply.sent" in await work.office.event_types()
    await work.office.check()


async def test_filed_by_the_provider(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED, files=True), policy=SentPolicy("auto", 60.0))
    await work.step()
    assert (await work.step()).sent_copy is SentCopy.FILED
    held = work.office.held
    mailbox = await stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    assert (mailbox.sent_found, mailbox.sent_appended, len(work.provider.sent)) == (1, 0, 1)
    await work.office.check()


@pytest.mark.parametrize("outcome", [ACCEPTED, SendOutcome(SendStatus.UNKNOWN, "dot")], ids=["filed", "found"])
async def test_the_id_that_the_provider_gave_is_learned_and_brings_answers_home(
    stores: Stores, outcome: SendOutcome
) -> None:
    """On both ways to Sent: the answer of a customer who got it names an id that we never wrote."""
    work = await Sending.begin(stores, Provider(outcome, files=True), policy=SentPolicy("auto", 60.0))
    work.provider.gives_id = "<given@provider.example.com>"
    await work.step()
    assert (await work.step()).sent_copy is SentCopy.FILED
    held = work.office.held
    mailbox = await stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    assert (mailbox.sent_found, mailbox.sent_appended, mailbox.sent_rewritten) == (1, 0, 1)
    await work.office.take(
        mail("Re: Printer", message_id="<q2@example.org>", headers="In-Reply-To: <given@provider.example.com>\r\n")
    )
    kinds = [one.row.kind for one in (await work.office.ticket(1)).messages]
    assert kinds == ["customer", "reply", "customer"]
    await work.office.check()


async def test_no_copy_is_wanted(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED), policy=SentPolicy("never", 0.0))
    reply = await work.step()
    assert (reply.sent_copy, reply.due_at, work.provider.asked) == (SentCopy.NONE, None, 0)
    await work.office.check()


async def test_no_copy_is_wanted_of_one_that_a_person_says_was_sent(stores: Stores) -> None:
    lost = SendOutcome(SendStatus.UNKNOWN, "dot")
    work = await Sending.begin(stores, Provider(lost), policy=SentPolicy("never", 0.0))
    await work.step()
    await work.decide(ReplyEvent.PERSON_SENT)
    reply = await work.step()
    assert (reply.status, reply.reason) == (ReplyStatus.SENT, "resolved_by_person")
    assert (reply.sent_copy, reply.due_at, work.provider.sent) == (SentCopy.NONE, None, [])
    await work.office.check()


async def test_a_failing_copy_never_sends_again(stores: Stores) -> None:
    provider = Provider(ACCEPTED)
    provider.append_fails = 100
    work = await Sending.begin(stores, provider)
    for _ in range(6):
        reply = await work.step()
    assert (reply.status, reply.sent_copy, reply.due_at) == (ReplyStatus.SENT, SentCopy.FAILED, None)
    assert len(provider.accepted) == 1
    await work.office.check()


async def test_refused(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.REFUSED, "rcpt", 550, "5.1.1")))
    reply = await work.step()
    assert (reply.status, reply.reason, reply.due_at) == (ReplyStatus.FAILED, "refused_at_rcpt", None)
    attempts = await stores.content.read(reply.account_id, outbox.list_attempts, reply.message_id)
    assert [(one.outcome, one.stage, one.code, one.enhanced_code) for one in attempts] == [
        ("refused", "rcpt", 550, "5.1.1")
    ]
    await work.office.check()


async def test_deferred_then_accepted(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.DEFERRED, "mail", 451), ACCEPTED))
    assert (await work.step()).status is ReplyStatus.DEFERRED
    assert (await work.step()).status is ReplyStatus.SENT
    await work.office.check()


async def test_deferred_once_too_often(stores: Stores) -> None:
    deferred = SendOutcome(SendStatus.DEFERRED, "mail", 451)
    work = await Sending.begin(stores, Provider(deferred, deferred))
    await work.step()
    assert (await work.step()).status is ReplyStatus.FAILED
    await work.office.check()


@pytest.mark.parametrize(
    "error", [AuthError("refused"), PermanentError("SMTP is off", trouble=Trouble.PROTOCOL_DISABLED)]
)
async def test_the_mailboxs_trouble_is_not_the_replys(stores: Stores, error: Exception) -> None:
    work = await Sending.begin(stores, Provider(error, error, error, ACCEPTED))
    for _ in range(3):
        assert (await work.step()).status is ReplyStatus.QUEUED  # however often
    assert (await work.step()).status is ReplyStatus.SENT
    await work.office.check()


async def test_a_lost_grant_is_the_mailboxs_state_and_the_reply_waits(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(PermanentError("gone", trouble=Trouble.GRANT_REVOKED)))
    assert (await work.step()).status is ReplyStatus.QUEUED
    held = work.office.held
    mailbox = await stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    assert (mailbox.state, mailbox.trouble) == (mailboxes.MailboxState.REAUTH_REQUIRED, "grant_revoked")
    assert "mailbox.reauth_required" in await work.office.event_types()
    await work.office.check()


async def test_lost_after_the_dot_and_found_in_sent(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.UNKNOWN, "dot"), files=True))
    assert (await work.step()).status is ReplyStatus.UNKNOWN
    reply = await work.step()
    assert (reply.status, reply.reason, reply.sent_copy) == (ReplyStatus.SENT, "found_in_sent", SentCopy.FILED)
    assert len(work.provider.accepted) == 1
    await work.office.check()


async def test_lost_after_the_dot_and_absent_waits_for_a_person(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.UNKNOWN, "dot"), ACCEPTED))
    await work.step()
    reply = await work.step()
    assert (reply.status, reply.due_at is None) == (ReplyStatus.UNKNOWN, False)
    await work.age(901)
    reply = await work.step()
    assert (reply.status, reply.reason, reply.due_at) == (ReplyStatus.UNKNOWN, "needs_person", None)
    assert len(work.provider.accepted) == 1
    await work.office.check()


@pytest.mark.parametrize(("proofs", "status"), [(2, ReplyStatus.UNKNOWN), (3, ReplyStatus.QUEUED)])
async def test_absence_proves_something_only_where_the_provider_files(
    stores: Stores, proofs: int, status: ReplyStatus
) -> None:
    settings = QUICK.model_copy(update={"resend_when_absent": True})
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.UNKNOWN, "dot"), ACCEPTED), settings)
    held = work.office.held
    for _ in range(proofs):
        await stores.content.transaction(
            held.account_id, mailboxes.count_sent_copy, held.mailbox_id, fence=held.fence, found=True
        )
    await work.step()
    await work.age(901)
    assert (await work.step()).status is status
    await work.office.check()


async def test_absence_from_a_folder_that_is_missing_proves_nothing(stores: Stores) -> None:
    settings = QUICK.model_copy(update={"resend_when_absent": True})
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.UNKNOWN, "dot"), ACCEPTED), settings)
    work.provider.sent_is_missing = True
    held = work.office.held
    for _ in range(3):
        await stores.content.transaction(
            held.account_id, mailboxes.count_sent_copy, held.mailbox_id, fence=held.fence, found=True
        )
    await work.step()
    await work.age(901)
    reply = await work.step()
    assert (reply.status, reply.reason) == (ReplyStatus.UNKNOWN, "needs_person")
    assert len(work.provider.accepted) == 1
    await work.office.check()


async def test_where_there_is_no_sent_folder_the_filing_makes_it(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED))
    work.provider.sent_is_missing = True
    await work.step()
    assert (await work.step()).sent_copy is SentCopy.FILED
    assert len(work.provider.sent) == 1
    await work.office.check()


async def test_a_worker_that_dies_within_an_attempt_leaves_an_unknown(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider())
    held, reply = work.office.held, await work.reply()
    await stores.content.transaction(held.account_id, steps.take, held, reply, work.office.lease.worker_id)
    assert await stores.content.transaction(held.account_id, steps.recover, held) == 1
    reply = await work.reply()
    assert (reply.status, reply.reason) == (ReplyStatus.UNKNOWN, "worker_lost")
    await work.office.check()


async def test_a_worker_that_slept_past_its_lease_sends_nothing(stores: Stores) -> None:
    """Another may have taken its replies over meanwhile."""
    work = await Sending.begin(stores, Provider(ACCEPTED, ACCEPTED))
    work.office.lease.renewed(work.office.lease.asking() - work.office.lease.seconds)
    assert (await work.step()).status is ReplyStatus.DEFERRED
    assert work.provider.accepted == []
    work.office.lease.renewed(work.office.lease.asking())
    assert (await work.step()).status is ReplyStatus.SENT
    await work.office.check()


async def test_stopped_in_the_middle_of_a_send(stores: Stores) -> None:
    started, never = asyncio.Event(), asyncio.Event()

    class Hanging(Provider):
        async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
            started.set()
            await never.wait()
            raise AssertionError

    work = await Sending.begin(stores, Hanging())
    task = asyncio.create_task(work.outbox.run_due())
    async with asyncio.timeout(10):
        await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await work.reply()).status is ReplyStatus.UNKNOWN
    await work.office.check()


@pytest.mark.parametrize(
    ("event", "status", "copy"),
    [
        (ReplyEvent.PERSON_SENT, ReplyStatus.SENT, SentCopy.DUE),
        (ReplyEvent.PERSON_RESEND, ReplyStatus.QUEUED, SentCopy.NONE),
        (ReplyEvent.PERSON_FAILED, ReplyStatus.FAILED, SentCopy.NONE),
    ],
)
async def test_a_person_decides(stores: Stores, event: ReplyEvent, status: ReplyStatus, copy: SentCopy) -> None:
    work = await Sending.begin(stores, Provider(SendOutcome(SendStatus.UNKNOWN, "dot")))
    await work.step()
    assert await work.decide(event) == Decided(status, changed=True)
    assert (await work.reply()).sent_copy is copy
    await work.office.check()


async def test_a_sent_reply_cannot_be_cancelled_or_sent_again(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED))
    await work.step()
    for event in (ReplyEvent.CANCEL, ReplyEvent.PERSON_RESEND):
        with pytest.raises(IllegalStepError):
            await work.decide(event)
    await work.office.check()


async def test_a_copy_that_we_filed_before_a_crash_is_not_filed_again(stores: Stores) -> None:
    """The APPEND went through, the record of it did not."""
    work = await Sending.begin(stores, Provider(ACCEPTED))
    sent = await work.step()
    held = work.office.held
    await stores.content.transaction(
        held.account_id,
        steps.postpone_copy,
        held,
        sent,
        due_in=timedelta(),
        failed=True,
    )
    work.provider.sent.append(work.provider.accepted[0])
    assert (await work.step()).sent_copy is SentCopy.FILED
    mailbox = await stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    assert (len(work.provider.sent), mailbox.sent_found) == (1, 0)
    await work.office.check()


async def test_a_repeated_request_is_the_same_reply(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    first = await office.reply(1, idempotency_key="k")
    again = await office.reply(1, idempotency_key="k")
    assert (again.message_id, again.repeated) == (first.message_id, True)
    with pytest.raises(Conflict):
        await office.reply(1, "Something else.", idempotency_key="k")
    assert len((await office.ticket(1)).messages) == 2
    await office.check()


async def test_a_bounce_that_our_token_proves_changes_the_reply(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED))
    await work.step()
    ours = (await work.office.ticket(1)).messages[-1].record.mail.message_id
    await work.office.take(bounce(ours.replace("<a", "<b") if ours.startswith("<a") else "<forged@example.com>"))
    assert (await work.reply()).status is ReplyStatus.SENT
    committed = await work.office.take(bounce(ours))
    assert list(committed.bounced) == [(await work.reply()).message_id]
    assert (await work.reply()).status is ReplyStatus.BOUNCED
    view = await work.office.ticket(1)
    assert [one.row.kind for one in view.messages] == ["customer", "reply", "bounce"]
    assert "reply.bounced" in await work.office.event_types()
    await work.office.check()


def bounce(original: str) -> bytes:
    """Return a delivery status notification (RFC 3464) for a message that had this Message-ID."""
    return (
        "From: MAILER-DAEMON@mx.example.org\r\nTo: support@example.com\r\nSubject: Undelivered Mail\r\n"
        f"Message-ID: <dsn-{abs(hash(original))}@mx.example.org>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is the mail system. It could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
        "Final-Recipient: rfc822; anna@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        f"Message-ID: {original}\r\nSubject: Re: Printer\r\n\r\n--b--\r\n"
    ).encode()
