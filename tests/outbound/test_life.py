"""The life of a reply: put off, cancelled, tried again; in the order of its ticket; and who decided what."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

import ingestd.outbound.reply
from config import Outbound
from connectors.base import Envelope, SendOutcome, SendStatus, StillOurs, TemporaryError, always
from ingestd.outbound import diagram, steps
from ingestd.outbound.delay import delay_of
from ingestd.outbound.refused import ReplyRefused
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.resolve import Decided, decide
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.statuses import IllegalStepError, ReplyEvent
from ingestd.records import ReplyRecord
from storage import due, mailboxes, outbox
from storage.due import Due
from storage.outbox import Reply, ReplyStatus
from storage.replies import ListedReply
from storage.tables import outbox as outbox_table
from tests.clocks import DayAhead
from tests.office import Office, mail
from tests.outbound.test_sender import ACCEPTED, AUTO, LONG_AGO, QUICK, Provider
from tests.plans import plans
from tests.stores import Stores

DEFERRED = SendOutcome(SendStatus.DEFERRED, "mail", 451)
LOST = SendOutcome(SendStatus.UNKNOWN, "dot")
REFUSED = SendOutcome(SendStatus.REFUSED, "rcpt", 550, "5.1.1")
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


class Life:
    """An office with one ticket, and a provider for its replies."""

    def __init__(self, office: Office, provider: Provider, settings: Outbound) -> None:
        self.office, self.provider = office, provider
        self.outbox: MailboxOutbox = office.outbox(provider, settings, AUTO)

    @classmethod
    async def begin(cls, stores: Stores, *outcomes: SendOutcome | Exception, settings: Outbound = QUICK) -> Life:
        office = await Office.open(stores)
        await office.take(mail())
        return cls(office, Provider(*outcomes), settings)

    async def write(
        self, words: str = "We look.", *, send_at: datetime | None = None, undo_seconds: float | None = None
    ) -> UUID:
        draft = ReplyDraft(words, send_at=send_at, undo_seconds=undo_seconds)
        office = self.office
        return (await create_reply(office.desk, Outbound(), office.held.account_id, 1, draft)).message_id

    async def reply(self, message_id: UUID) -> Reply:
        return await self.office.stores.content.read(self.office.held.account_id, outbox.get_reply, message_id)

    async def listed(self, message_id: UUID) -> ListedReply:
        found = await self.office.desk.replies(self.office.held.account_id)
        return next(one for one in found if one.reply.message_id == message_id)

    async def statuses(self, *message_ids: UUID) -> list[str]:
        return [(await self.reply(one)).status.value for one in message_ids]

    async def decide(self, message_id: UUID, decision: ReplyEvent, author: str = "") -> Decided:
        return await decide(self.office.desk, self.office.held.account_id, message_id, decision, author=author)

    async def due(self) -> tuple[bool, timedelta | None]:
        """Whether the mailbox has something to do now, and when it has otherwise."""
        worker = self.office.lease.worker_id
        ready, next_in = await self.office.stores.content.read(None, due.due_mailboxes, worker, limit=10)
        return bool(ready), next_in

    async def make_due(self, *message_ids: UUID) -> None:
        def change(conn: Connection) -> None:
            conn.execute(update(outbox_table).where(outbox_table.c.message_id.in_(message_ids)).values(due_at=LONG_AGO))

        await self.office.stores.content.transaction(None, change)

    async def let_come(self, message_id: UUID) -> None:
        """Let the time come that a reply was put off to."""

        def change(conn: Connection) -> None:
            where = outbox_table.c.message_id == message_id
            conn.execute(update(outbox_table).where(where).values(due_at=LONG_AGO, send_at=LONG_AGO))

        await self.office.stores.content.transaction(None, change)


# -- put off ---------------------------------------------------------------------------------------


async def test_a_reply_that_was_put_off_waits_whatever_happens_to_its_mailbox(stores: Stores) -> None:
    life = await Life.begin(stores, ACCEPTED)
    at = datetime.now(UTC) + timedelta(days=2)
    reply_id = await life.write(send_at=at)
    reply = await life.reply(reply_id)
    assert (reply.status, reply.due_at, reply.send_at) == (ReplyStatus.QUEUED, at, at)
    held = life.office.held
    await stores.content.transaction(held.account_id, outbox.make_due, held.mailbox_id)
    soon = datetime.now(UTC) + timedelta(hours=1)
    await stores.content.transaction(held.account_id, outbox.postpone, held.mailbox_id, soon, unsent=True)
    await life.outbox.run_due()
    assert (await life.reply(reply_id)).due_at == at
    ready, next_in = await life.due()
    assert not ready
    assert next_in is not None
    assert next_in > timedelta(days=1)
    assert (await life.listed(reply_id)).waits_for_time
    later = at + timedelta(hours=1)
    await stores.content.transaction(held.account_id, outbox.postpone, held.mailbox_id, later, unsent=True)
    await stores.content.transaction(held.account_id, outbox.make_due, held.mailbox_id)
    assert (await life.reply(reply_id)).due_at == at  # back to its time, not before it
    await life.let_come(reply_id)
    await life.outbox.run_due()
    assert await life.statuses(reply_id) == ["sent"]
    await life.office.check()


async def test_it_is_dated_by_the_time_at_which_it_leaves(stores: Stores) -> None:
    life = await Life.begin(stores)
    at = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    await life.write(send_at=at)
    assert (await life.office.ticket(1)).messages[-1].record.mail.date == at


async def test_the_databases_clock_says_what_has_passed(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    life = await Life.begin(stores)
    monkeypatch.setattr(ingestd.outbound.reply, "datetime", DayAhead)
    at = datetime.now(UTC) + timedelta(minutes=1)
    assert (await life.reply(await life.write(send_at=at))).due_at == at


async def test_in_the_undo_window_it_can_be_cancelled_and_twice_is_once(stores: Stores) -> None:
    life = await Life.begin(stores)
    reply_id = await life.write(undo_seconds=60)
    await life.outbox.run_due()
    cancelled = await life.decide(reply_id, ReplyEvent.CANCEL, "kim")
    assert cancelled == Decided(ReplyStatus.CANCELLED, changed=True)
    assert await life.decide(reply_id, ReplyEvent.CANCEL, "lee") == Decided(ReplyStatus.CANCELLED, changed=False)
    reply = await life.reply(reply_id)
    assert (reply.due_at, reply.reason, reply.attempts) == (None, "cancelled_by_person", 0)
    assert (await life.office.event_types()).count("reply.cancelled") == 1
    _, view = await life.office.desk.reply(reply.account_id, reply_id)
    assert [(one.what, one.by) for one in view.record.decisions] == [("cancel", "kim")]
    await life.office.check()


async def test_what_was_put_off_can_be_sent_now(stores: Stores) -> None:
    life = await Life.begin(stores, ACCEPTED)
    reply_id = await life.write(send_at=datetime.now(UTC) + timedelta(days=2))
    assert (await life.decide(reply_id, ReplyEvent.PERSON_RETRY)).changed
    assert not (await life.decide(reply_id, ReplyEvent.PERSON_RETRY)).changed
    await life.outbox.run_due()
    assert await life.statuses(reply_id) == ["sent"]
    await life.office.check()


@pytest.mark.parametrize(
    ("send_at", "undo", "word"),
    [
        (NOW - timedelta(minutes=2), None, "passed"),
        (NOW + timedelta(days=61), None, "60 days"),
        (datetime(2026, 3, 1, 10), None, "time zone"),  # noqa: DTZ001  (that is what it is about)
        (None, -1.0, "below zero"),
        (None, 61 * 86_400.0, "60 days"),
    ],
)
def test_a_delay_that_cannot_be_is_refused(send_at: datetime | None, undo: float | None, word: str) -> None:
    with pytest.raises(ReplyRefused, match=word):
        delay_of(Outbound(), send_at, undo, NOW)


def test_a_time_that_has_just_passed_means_now() -> None:
    assert delay_of(Outbound(), NOW - timedelta(seconds=50), None, NOW).date(NOW) == NOW
    assert delay_of(Outbound(undo_seconds=30), None, None, NOW).date(NOW) == NOW + timedelta(seconds=30)
    assert delay_of(Outbound(undo_seconds=30), None, 5, NOW).date(NOW) == NOW + timedelta(seconds=5)


# -- a person's word -------------------------------------------------------------------------------


async def test_a_reply_under_way_cannot_be_cancelled_and_the_error_says_so(stores: Stores) -> None:
    life = await Life.begin(stores)
    reply_id = await life.write()
    held, reply = life.office.held, await life.reply(reply_id)
    taken = await stores.content.transaction(held.account_id, steps.take, held, reply, life.office.lease.worker_id)
    assert taken is not None
    with pytest.raises(IllegalStepError, match="is being sent right now"):
        await life.decide(reply_id, ReplyEvent.CANCEL)
    await life.office.check()


async def test_cancelled_between_the_list_and_the_attempt_it_is_not_sent(stores: Stores) -> None:
    life = await Life.begin(stores, ACCEPTED)
    first, second = await life.write(), await life.write()

    class Cancelling(Provider):
        async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
            if not await still_ours():
                return SendOutcome(SendStatus.DEFERRED, "data")
            await life.decide(second, ReplyEvent.CANCEL)
            return await super().send(envelope, content)

    life.outbox = life.office.outbox(Cancelling(ACCEPTED), QUICK, AUTO)
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["sent", "cancelled"]
    await life.office.check()


async def test_a_person_decides_while_the_worker_looks(stores: Stores) -> None:
    life = await Life.begin(stores, LOST)
    reply_id = await life.write()
    await life.outbox.run_due()

    class Deciding(Provider):
        async def find_in_sent(self, message_id: str, token: str) -> list[object]:  # type: ignore[override]
            await life.decide(reply_id, ReplyEvent.PERSON_FAILED)
            return []

    life.outbox = life.office.outbox(Deciding(), QUICK, AUTO)  # type: ignore[arg-type]
    await life.make_due(reply_id)
    await life.outbox.run_due()
    assert await life.statuses(reply_id) == ["failed"]
    await life.office.check()


async def test_what_a_person_tries_again_has_all_its_attempts_again(stores: Stores) -> None:
    life = await Life.begin(stores, DEFERRED, DEFERRED, DEFERRED, DEFERRED)
    reply_id = await life.write()
    for expected in ("deferred", "failed"):
        await life.make_due(reply_id)
        await life.outbox.run_due()
        assert await life.statuses(reply_id) == [expected]
    assert (await life.decide(reply_id, ReplyEvent.PERSON_RETRY, "kim")).status is ReplyStatus.QUEUED
    for expected in ("deferred", "failed"):
        await life.make_due(reply_id)
        await life.outbox.run_due()
        assert await life.statuses(reply_id) == [expected]
    await life.office.check()


async def test_decisions_are_bounded(stores: Stores) -> None:
    life = await Life.begin(stores)
    reply_id = await life.write(undo_seconds=60)
    for number in range(25):
        await life.decide(reply_id, ReplyEvent.PERSON_RETRY, f"agent {number}")
        held = life.office.held
        until = datetime.now(UTC) + timedelta(hours=1)
        await stores.content.transaction(held.account_id, outbox.postpone, held.mailbox_id, until, unsent=True)
    _, view = await life.office.desk.reply(life.office.held.account_id, reply_id)
    assert [one.by for one in view.record.decisions] == [f"agent {number}" for number in range(5, 25)]


async def test_a_decision_that_comes_during_an_attempt_is_not_lost(stores: Stores) -> None:
    """The worker seals the record anew when the attempt has ended: it must have read it when the attempt began."""
    life = await Life.begin(stores, ACCEPTED)
    first = await life.write()
    listed = await life.reply(first)
    await life.make_due(first)
    held = life.office.held
    until = datetime.now(UTC) + timedelta(hours=1)
    await stores.content.transaction(held.account_id, outbox.postpone, held.mailbox_id, until, unsent=True)
    await life.decide(first, ReplyEvent.PERSON_RETRY, "kim")
    assert await life.outbox._step(Due(listed), deque())
    _, view = await life.office.desk.reply(held.account_id, first)
    assert [one.by for one in view.record.decisions] == ["kim"]
    assert view.reply.status is ReplyStatus.SENT


# -- the order within a ticket ---------------------------------------------------------------------


async def test_replies_of_a_ticket_leave_in_order_and_nothing_is_busy_meanwhile(stores: Stores) -> None:
    life = await Life.begin(stores, DEFERRED, ACCEPTED, ACCEPTED)
    first, second = await life.write("first"), await life.write("second")
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["deferred", "queued"]
    assert (await life.listed(second)).waits_for_earlier
    reply = await life.reply(first)
    hour = datetime.now(UTC) + timedelta(hours=1)
    await stores.content.transaction(
        reply.account_id,
        outbox.change_reply,
        first,
        was=reply.status,
        status=reply.status,
        due_at=hour,
        reason=reply.reason,
    )
    ready, next_in = await life.due()
    assert (ready, next_in is not None and next_in > timedelta(minutes=59)) == (False, True)
    await life.outbox.run_due()
    assert len(life.provider.outcomes) == 2
    await life.make_due(first)
    assert (await life.due())[0]
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["sent", "sent"]
    assert [b"first" in one for one in life.provider.accepted] == [True, False]
    await life.office.check()


async def test_another_ticket_is_not_concerned(stores: Stores) -> None:
    life = await Life.begin(stores, DEFERRED, ACCEPTED)
    first = await life.write()
    await life.office.take(mail("Other", message_id="<q2@example.org>"))
    other = (await life.office.reply(2)).message_id
    await life.outbox.run_due()
    assert await life.statuses(first, other) == ["deferred", "sent"]


async def test_one_that_is_looked_for_holds_up_and_one_that_waits_for_a_person_does_not(stores: Stores) -> None:
    life = await Life.begin(stores, LOST, ACCEPTED)
    first, second = await life.write(), await life.write()
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["unknown", "queued"]
    assert not (await life.listed(first)).waits_for_person

    def old(conn: Connection) -> None:
        conn.execute(update(outbox_table).where(outbox_table.c.message_id == first).values(status_since=LONG_AGO))

    await stores.content.transaction(None, old)
    await life.make_due(first)
    await life.outbox.run_due()
    assert (await life.listed(first)).waits_for_person
    assert await life.statuses(first, second) == ["unknown", "sent"]
    await life.office.check()


async def test_one_that_was_put_off_holds_nothing_up(stores: Stores) -> None:
    life = await Life.begin(stores, ACCEPTED, ACCEPTED)
    first = await life.write(send_at=datetime.now(UTC) + timedelta(days=1))
    second = await life.write()
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["queued", "sent"]
    await life.let_come(first)
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["sent", "sent"]
    await life.office.check()


async def test_one_that_its_mailbox_gave_back_still_holds_up(stores: Stores) -> None:
    life = await Life.begin(stores, TemporaryError("gone"), ACCEPTED, ACCEPTED)
    first, second = await life.write("first"), await life.write("second")
    await life.outbox.run_due()
    await life.make_due(second)
    reply = await life.reply(first)
    assert reply.due_at is not None
    held = life.office.held
    await stores.content.transaction(
        held.account_id,
        mailboxes.set_sending,
        held.mailbox_id,
        fence=held.fence,
        trouble=None,
        reason=None,
        retry_in=None,
    )
    hour = datetime.now(UTC) + timedelta(hours=1)
    await stores.content.transaction(
        held.account_id,
        outbox.change_reply,
        first,
        was=reply.status,
        status=reply.status,
        due_at=hour,
        reason=reply.reason,
    )
    await life.outbox.run_due()
    assert await life.statuses(first, second) == ["queued", "queued"]
    await life.office.check()


async def test_what_is_due_is_found_by_indexes(stores: Stores) -> None:
    """With many messages in a ticket and many replies in a mailbox, no look-up may read a whole table."""
    life = await Life.begin(stores)
    reply_id = await life.write()
    held, worker = life.office.held, life.office.lease.worker_id

    def look(conn: Connection) -> list[str]:
        return plans(
            conn,
            "outbox",
            lambda: due.list_due(conn, held.account_id, held.mailbox_id, limit=20),
            lambda: due.due_mailboxes(conn, worker, limit=20),
            lambda: due.get_turn(conn, held.account_id, reply_id),
        )

    found = await stores.content.transaction(None, look)
    wrong = ("Seq Scan on messages", "Seq Scan on outbox", "SCAN other", "SCAN mine", "SCAN theirs", "SCAN outbox")
    assert found
    assert [line for line in found for one in wrong if one in line] == []
    assert any("ix_messages_account_id_ticket_id_message_id" in line for line in found)


# -- the page ------------------------------------------------------------------------------------


def test_the_diagram_is_current() -> None:
    text_now = diagram.PAGE.read_text(encoding="utf-8")
    assert diagram.page(text_now) == text_now, "run: python -m ingestd.outbound.diagram"


def test_old_records_have_no_decisions() -> None:
    assert ReplyRecord("a@example.com", ("b@example.com",), "<m@example.com>", "token").decisions == ()
