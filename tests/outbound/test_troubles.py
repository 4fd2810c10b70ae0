"""A mailbox that can be read and not sent from: replies wait, it is told, and they go out when it is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from config import Outbound
from connectors.base import (
    AuthError,
    ConnectorError,
    Envelope,
    PermanentError,
    RateLimited,
    SendOutcome,
    SendStatus,
    StillOurs,
    TemporaryError,
    Trouble,
    always,
)
from ingestd.inbound import states
from ingestd.outbound.sender import MailboxOutbox
from storage import events, mailboxes, outbox
from storage.mailboxes import Mailbox, MailboxState
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.tables import mailboxes as mailboxes_table
from storage.tables import outbox as outbox_table
from tests.office import Office, mail
from tests.outbound.test_sender import ACCEPTED, AUTO, LONG_AGO, QUICK, Provider
from tests.stores import Stores

ADMIN = PermanentError("auth at smtp.example.com:587 refused (535 5.7.139)", trouble=Trouble.ADMIN_BLOCKED)
OFF = PermanentError("SMTP is off", trouble=Trouble.PROTOCOL_DISABLED)


class Sending:
    """An office with queued replies, and a provider for them."""

    def __init__(self, office: Office, provider: Provider, replies: list[UUID], settings: Outbound) -> None:
        self.office, self.provider, self.replies = office, provider, replies
        self.outbox: MailboxOutbox = office.outbox(provider, settings, AUTO)

    @classmethod
    async def begin(cls, stores: Stores, provider: Provider, replies: int = 1, settings: Outbound = QUICK) -> Sending:
        office = await Office.open(stores)
        # Each to a ticket of its own, as those of one ticket wait for each other.
        await office.take(*(mail(message_id=f"<q{number}@example.org>") for number in range(replies)))
        made = [(await office.reply(number)).message_id for number in range(1, replies + 1)]
        return cls(office, provider, made, settings)

    async def reply(self, number: int = 0) -> Reply:
        return await self.office.stores.content.read(
            self.office.held.account_id, outbox.get_reply, self.replies[number]
        )

    async def mailbox(self) -> Mailbox:
        held = self.office.held
        return await self.office.stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)

    async def events(self) -> list[tuple[str, str | None]]:
        found = await self.office.stores.content.read(self.office.held.account_id, events.list_events, 0, 1000)
        return [(one.type, one.detail) for one in found if one.type.startswith("mailbox.")]

    async def later(self) -> None:
        """Let every pause be over, and do what is due."""

        def change(conn: Connection) -> None:
            conn.execute(update(outbox_table).where(outbox_table.c.due_at.is_not(None)).values(due_at=LONG_AGO))
            waiting = mailboxes_table.c.send_retry_at.is_not(None)
            conn.execute(update(mailboxes_table).where(waiting).values(send_retry_at=LONG_AGO))

        await self.office.stores.content.transaction(None, change)
        await self.outbox.run_due()


async def test_sending_that_is_not_allowed_is_told_and_replies_wait(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ADMIN, ADMIN, ADMIN, ACCEPTED))
    await work.outbox.run_due()
    assert (await work.mailbox()).send_trouble is None  # once proves nothing
    await work.later()
    mailbox = await work.mailbox()
    assert (mailbox.state, mailbox.trouble) == (MailboxState.ACTIVE, None)  # it can be read
    assert (mailbox.send_trouble, mailbox.send_reason) == ("admin_blocked", str(ADMIN))
    assert mailbox.send_since is not None
    assert mailbox.send_retry_at is not None
    await work.later()
    assert (await work.mailbox()).send_since == mailbox.send_since
    reply = await work.reply()
    assert (reply.status, reply.reason, reply.attempts) == (ReplyStatus.QUEUED, "admin_blocked", 3)
    await work.later()
    assert (await work.reply()).status is ReplyStatus.SENT
    mailbox = await work.mailbox()
    assert (mailbox.send_trouble, mailbox.send_since, mailbox.send_retry_at) == (None, None, None)
    assert await work.events() == [("mailbox.send_warning", "admin_blocked"), ("mailbox.send_recovered", None)]
    await work.office.check()


async def test_another_trouble_of_sending_is_news(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ADMIN, ADMIN, OFF, OFF, ACCEPTED))
    for _ in range(5):
        await work.later()
    assert await work.events() == [
        ("mailbox.send_warning", "admin_blocked"),
        ("mailbox.send_warning", "protocol_disabled"),
        ("mailbox.send_recovered", None),
    ]


async def test_one_reply_finds_out_for_all(stores: Stores) -> None:
    """A hundred replies must not be a hundred failed logins."""
    slow = Outbound()
    work = await Sending.begin(stores, Provider(OFF, ACCEPTED, ACCEPTED, ACCEPTED), replies=2, settings=slow)
    await work.outbox.run_due()
    created = await work.office.reply(1)
    await work.outbox.run_due()
    assert len(work.provider.outcomes) == 3
    mailbox = await work.mailbox()
    for message_id in (*work.replies, created.message_id):
        reply = await stores.content.read(work.office.held.account_id, outbox.get_reply, message_id)
        assert reply.status is ReplyStatus.QUEUED
        assert mailbox.send_retry_at is not None
        assert reply.due_at is not None
        assert abs(reply.due_at - mailbox.send_retry_at) < timedelta(seconds=5)
    await work.later()
    assert len(work.provider.accepted) == 3
    await work.office.check()


@pytest.mark.parametrize(
    "hint",
    [
        RateLimited("throttled", retry_after=600),
        SendOutcome(SendStatus.DEFERRED, "mail", 432, "4.3.2", retry_after=600),
    ],
)
async def test_a_throttled_provider_is_left_alone_for_as_long_as_it_says(
    stores: Stores, hint: RateLimited | SendOutcome
) -> None:
    work = await Sending.begin(stores, Provider(hint, hint, hint, ACCEPTED, ACCEPTED), replies=2)
    await work.outbox.run_due()
    mailbox, reply = await work.mailbox(), await work.reply()
    assert (mailbox.send_trouble, reply.status) == ("throttled", ReplyStatus.QUEUED)
    assert mailbox.send_since is not None
    assert mailbox.send_retry_at is not None
    assert mailbox.send_retry_at - mailbox.send_since >= timedelta(seconds=600)
    await work.outbox.run_due()
    assert [(await work.reply(number)).attempts for number in (0, 1)] == [1, 0]
    for _ in range(3):  # more than attempts_max, and the reply is not to blame
        await work.later()
    assert (await work.reply()).status is ReplyStatus.SENT
    assert await work.events() == [("mailbox.send_warning", "throttled"), ("mailbox.send_recovered", None)]
    await work.office.check()


async def test_a_greylisted_reply_waits_as_long_as_it_is_told_and_alone(stores: Stores) -> None:
    grey = SendOutcome(SendStatus.DEFERRED, "rcpt", 450, "4.2.0", retry_after=600, of_message=True)
    work = await Sending.begin(stores, Provider(grey, ACCEPTED, ACCEPTED), replies=2)
    await work.outbox.run_due()
    first, second = await work.reply(0), await work.reply(1)
    assert (first.status, second.status) == (ReplyStatus.DEFERRED, ReplyStatus.SENT)
    assert first.due_at is not None
    assert first.due_at - first.status_since > timedelta(seconds=599)
    assert ((await work.mailbox()).send_trouble, (await work.mailbox()).send_retry_at) == (None, None)
    await work.later()
    assert (await work.reply()).status is ReplyStatus.SENT
    await work.office.check()


async def test_a_server_that_is_away_costs_no_reply_its_attempts(stores: Stores) -> None:
    away = TemporaryError("connect to smtp.example.com:465: connection lost")
    deferred = SendOutcome(SendStatus.DEFERRED, "mail", 451)
    work = await Sending.begin(stores, Provider(away, away, away, deferred, away, ACCEPTED))
    for _ in range(6):
        await work.later()
    reply = await work.reply()
    assert (reply.status, reply.attempts) == (ReplyStatus.SENT, 6)
    await work.office.check()


async def test_what_a_refused_login_means_is_asked(stores: Stores) -> None:
    verdicts: list[ConnectorError] = [OFF, OFF]

    class Asking(Office):
        async def why_refused(self) -> ConnectorError:
            return verdicts.pop()

    work = await Sending.begin(stores, Provider(AuthError("535"), AuthError("535"), ACCEPTED))
    office = Asking(**{name: getattr(work.office, name) for name in Office.__dataclass_fields__})
    work.outbox = office.outbox(work.provider, QUICK, AUTO)
    await work.later()
    await work.later()
    assert ((await work.mailbox()).send_trouble, verdicts) == ("protocol_disabled", [])


async def test_steps_in_sent_wait_while_the_mailbox_cannot_be_read(stores: Stores) -> None:
    work = await Sending.begin(stores, Provider(ACCEPTED, ACCEPTED), replies=1)
    held = work.office.held
    await stores.content.transaction(
        held.account_id,
        states.note_failure,
        held.mailbox_id,
        fence=held.fence,
        streak=states.Streak(failures=1),
        error=RateLimited("throttled", retry_after=600),
        retry_in=timedelta(seconds=600),
    )
    await work.outbox.run_due()
    await work.outbox.run_due()
    reply, mailbox = await work.reply(), await work.mailbox()
    assert (reply.status, reply.sent_copy, work.provider.asked) == (ReplyStatus.SENT, SentCopy.DUE, 0)
    assert reply.due_at == mailbox.retry_at
    await work.office.check()


async def test_a_pause_keeps_what_has_not_begun_and_lets_the_rest_be_written(stores: Stores) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Provider):
        async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
            inside.set()
            await go_on.wait()
            return await super().send(envelope, content, still_ours=still_ours)

    work = await Sending.begin(stores, Slow(ACCEPTED, ACCEPTED), replies=2)
    held = work.office.held
    running = asyncio.create_task(work.outbox.run_due())
    async with asyncio.timeout(10):
        await inside.wait()
        assert await stores.content.transaction(held.account_id, states.pause, held.mailbox_id)
        assert not await stores.content.transaction(held.account_id, states.pause, held.mailbox_id)
        go_on.set()
        await running
    # The first was past the point of no return, the second had not begun.
    assert [(await work.reply(number)).status for number in (0, 1)] == [ReplyStatus.SENT, ReplyStatus.QUEUED]
    await work.later()
    assert (await work.reply(1)).attempts == 0
    assert await stores.content.transaction(held.account_id, states.resume, held.mailbox_id)
    assert not await stores.content.transaction(held.account_id, states.resume, held.mailbox_id)
    assert (await work.mailbox()).state is MailboxState.ACTIVE
    assert await work.events() == [("mailbox.paused", None), ("mailbox.resumed", None)]
    assert len(work.provider.accepted) == 1
    await work.office.check()


async def test_a_mail_that_can_be_kept_back_is_kept_back(stores: Stores) -> None:
    inside = asyncio.Event()

    class Stopping(Provider):
        async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
            inside.set()
            work.outbox.stop()
            return await super().send(envelope, content, still_ours=still_ours)

    work = await Sending.begin(stores, Stopping(ACCEPTED, ACCEPTED), replies=2)
    await work.outbox.run_due()
    assert work.provider.accepted == []
    assert [(await work.reply(number)).status for number in (0, 1)] == [ReplyStatus.DEFERRED, ReplyStatus.QUEUED]
    await work.office.check()


async def test_a_paused_mailbox_that_is_linked_again_stays_paused(stores: Stores) -> None:
    office = await Office.open(stores)
    held = office.held
    await stores.content.transaction(held.account_id, states.pause, held.mailbox_id)
    before = await stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    await stores.content.transaction(held.account_id, mailboxes.relink, held.mailbox_id, before.sealed)
    after = await stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    assert (after.state, after.state_since, after.fence) == (before.state, before.state_since, before.fence + 1)
