"""What a mailbox may send a minute and a day, and over how many connections; what is beyond waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from config import Outbound
from connectors.base import SendOutcome, SendStatus
from ingestd.outbound.budgets import Allowance, Budget, Connections, Spent, free_at
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from storage import outbox, sending
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.tables import attempts as attempts_table
from storage.types import new_id
from tests.office import Office, mail
from tests.outbound.test_sender import ACCEPTED, QUICK, Provider
from tests.plans import plans
from tests.stores import Stores

NEVER = SentPolicy("never", 0.0)
PLENTY = Budget(messages_per_minute=1000, messages_per_day=1000, recipients_per_day=1000)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Sending:
    """An office whose mailbox has a budget, with queued replies."""

    def __init__(self, office: Office, provider: Provider, budget: Budget, replies: list[UUID]) -> None:
        self.office, self.provider, self.replies, self.budget = office, provider, replies, budget
        self.outbox = self.new_worker()

    @classmethod
    async def begin(cls, stores: Stores, budget: Budget, *outcomes: SendOutcome, replies: int) -> Sending:
        office = await Office.open(stores)
        # Each to a ticket of its own, as those of one ticket wait for each other; and a ticket more.
        await office.take(*(mail(message_id=f"<q{number}@example.org>") for number in range(replies + 1)))
        made = [(await office.reply(number)).message_id for number in range(1, replies + 1)]
        return cls(office, Provider(*(outcomes or [ACCEPTED] * replies)), budget, made)

    def new_worker(self, settings: Outbound = QUICK) -> MailboxOutbox:
        return self.office.outbox(self.provider, settings, NEVER, Allowance(self.budget, Connections(1)))

    async def all(self) -> list[Reply]:
        read = self.office.stores.content.read
        return [await read(self.office.held.account_id, outbox.get_reply, one) for one in self.replies]

    async def statuses(self) -> list[tuple[str, str | None]]:
        return [(one.status.value, one.reason) for one in await self.all()]

    async def age(self, by: timedelta) -> None:
        """Let all that was sent have been sent earlier, and what waits be due."""

        def back(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
            for one in conn.execute(attempts_table.select()).all():
                same = (attempts_table.c.message_id == one.message_id) & (attempts_table.c.number == one.number)
                conn.execute(update(attempts_table).where(same).values(started_at=one.started_at - by))
            outbox.make_due(conn, account_id, mailbox_id)

        held = self.office.held
        await self.office.stores.content.transaction(held.account_id, back, held.mailbox_id)


@pytest.mark.parametrize(
    ("budget", "spent", "window"),
    [
        (Budget(2, 1000, 1000), Spent.MINUTE, timedelta(minutes=1)),
        (Budget(1000, 2, 1000), Spent.DAY, timedelta(days=1)),
        (Budget(1000, 1000, 2), Spent.RECIPIENTS, timedelta(days=1)),
    ],
)
async def test_what_is_beyond_a_budget_waits_until_there_is_room(
    stores: Stores, budget: Budget, spent: Spent, window: timedelta
) -> None:
    work = await Sending.begin(stores, budget, replies=4)
    await work.outbox.run_due()
    waits = ("queued", spent.value)
    assert await work.statuses() == [("sent", None), ("sent", None), waits, waits]
    third = (await work.all())[2]
    assert third.attempts == 0, "to wait is no attempt"
    assert third.due_at is not None
    first = await stores.content.read(third.account_id, outbox.list_attempts, work.replies[0])
    assert third.due_at == first[0].started_at + window, "not a moment too early, and none too late"
    await work.age(window)
    await work.outbox.run_due()
    assert [one.status for one in await work.all()] == [ReplyStatus.SENT] * 4
    await work.office.check()


async def test_a_restart_forgets_nothing(stores: Stores) -> None:
    work = await Sending.begin(stores, Budget(2, 1000, 1000), replies=3)
    await work.outbox.run_due()
    work.outbox = work.new_worker()
    await work.age(timedelta())
    await work.outbox.run_due()
    assert len(work.provider.accepted) == 2


async def test_what_did_not_leave_is_not_counted(stores: Stores) -> None:
    refused, deferred = (
        SendOutcome(SendStatus.REFUSED, "rcpt", 550),
        SendOutcome(SendStatus.DEFERRED, "mail", 451),
    )
    unknown = SendOutcome(SendStatus.UNKNOWN, "dot")
    work = await Sending.begin(stores, Budget(2, 1000, 1000), refused, deferred, unknown, ACCEPTED, replies=4)
    for _ in range(3):
        await work.outbox.run_due()
    assert [one.status for one in await work.all()] == [
        ReplyStatus.FAILED,
        ReplyStatus.DEFERRED,
        ReplyStatus.UNKNOWN,
        ReplyStatus.SENT,
    ]
    used = await stores.content.read(work.office.held.account_id, sending.usage, work.office.held.mailbox_id)
    assert (used.messages_minute, used.messages_day, used.recipients_day) == (2, 2, 2)


async def test_what_was_sent_is_found_by_its_time(stores: Stores) -> None:
    """However much an account ever sent."""
    work = await Sending.begin(stores, Budget(2, 1000, 1000), replies=1)
    held, since = work.office.held, datetime.now(UTC) - timedelta(days=1)

    def look(conn: Connection) -> list[str]:
        return plans(
            conn,
            "attempts",
            lambda: sending.usage(conn, held.account_id, held.mailbox_id),
            lambda: sending.sent_since(conn, held.account_id, held.mailbox_id, since),
        )

    found = await stores.content.transaction(None, look)
    # Of an index that begins with the account, SQLite had used nothing else.
    wrong = [one for one in found if "SEARCH attempts" in one and "started_at>?" not in one]
    assert found
    assert [one for one in found if one in wrong or "Seq Scan" in one or "SCAN attempts" in one] == []


async def test_it_is_told_once_and_shown(stores: Stores) -> None:
    work = await Sending.begin(stores, Budget(1, 1000, 1000), replies=2)
    held = work.office.held
    await work.outbox.run_due()
    work.replies.append((await work.office.reply(3)).message_id)
    await work.outbox.run_due()
    tools = work.outbox._replies.tools
    assert b'ingestd_budgets_spent_total{budget="budget_minute"} 1.0' in tools.metrics.render()
    found = await stores.content.read(held.account_id, sending.waiting, held.mailbox_id, [Spent.MINUTE])
    assert found is not None
    assert (found.reason, found.replies) == ("budget_minute", 2)
    assert await stores.content.read(held.account_id, sending.waiting, held.mailbox_id, [Spent.DAY]) is None


async def test_sent_copies_and_questions_do_not_wait_for_a_budget(stores: Stores) -> None:
    work = await Sending.begin(stores, Budget(1, 1000, 1000), replies=2)
    work.outbox = work.office.outbox(
        work.provider, QUICK, SentPolicy("append", 0.0), Allowance(work.budget, Connections(1))
    )
    for _ in range(3):
        await work.outbox.run_due()
    first, second = await work.all()
    assert (first.status, first.sent_copy, second.status) == (ReplyStatus.SENT, SentCopy.FILED, ReplyStatus.QUEUED)


async def test_a_mailbox_that_waits_for_a_connection_holds_no_other(stores: Stores) -> None:
    """The place among those that send is one of all mailboxes: it is not taken while waiting."""
    office, other = await Office.open(stores), await Office.open(stores)
    full, sends = Connections(1), asyncio.Semaphore(1)
    await full.acquire(new_id())
    outboxes = []
    for one, connections in ((office, full), (other, Connections(1))):
        await one.take(mail())
        await one.reply(1)
        box = one.outbox(Provider(ACCEPTED), QUICK, NEVER, Allowance(PLENTY, connections))
        object.__setattr__(box._replies.tools, "sends", sends)
        outboxes.append(box)
    waiting = asyncio.create_task(outboxes[0].run_due())
    async with asyncio.timeout(10):
        await outboxes[1].run_due()
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    view = await other.ticket(1)
    assert view.messages[-1].reply is not None
    assert view.messages[-1].reply.reply.status is ReplyStatus.SENT
    assert (await office.ticket(1)).messages[-1].reply.reply.status is ReplyStatus.QUEUED  # type: ignore[union-attr]


async def test_connections_are_shared_and_an_idle_one_is_closed_for_who_needs_it() -> None:
    connections, (first, second, third) = Connections(2), (new_id() for _ in range(3))
    closed: list[UUID] = []

    def closes(mailbox_id: UUID):  # type: ignore[no-untyped-def]
        async def hang_up() -> None:
            closed.append(mailbox_id)

        return hang_up

    await connections.acquire(first)
    await connections.acquire(second)
    waiting = asyncio.create_task(connections.acquire(third))
    await asyncio.sleep(0)
    assert not waiting.done()
    connections.release(second, closes(second))
    await waiting
    assert closed == [second]
    connections.release(third, closes(third))
    await connections.acquire(third)  # its own, kept
    assert closed == [second]
    connections.forget(first)
    await connections.acquire(second)
    assert closed == [second]


async def test_a_place_that_was_given_to_who_is_cancelled_goes_to_the_next() -> None:
    connections, (first, second, third) = Connections(1), (new_id() for _ in range(3))
    await connections.acquire(first)
    waiting = [asyncio.create_task(connections.acquire(one)) for one in (second, third)]
    await asyncio.sleep(0)
    connections.forget(first)
    waiting[0].cancel()
    async with asyncio.timeout(5):
        await waiting[1]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


@given(
    seconds=st.lists(st.integers(1, 59), max_size=20),
    limit=st.integers(1, 10),
    cost=st.integers(1, 12),
)
def test_free_at_is_the_first_moment_with_room(seconds: list[int], limit: int, cost: int) -> None:
    window = timedelta(minutes=1)
    costs = [(NOON - timedelta(seconds=back), 1) for back in sorted(seconds, reverse=True)]

    def used(at: datetime) -> int:
        return sum(one for then, one in costs if then > at - window)

    found = free_at(costs, cost, limit, window)
    if found is None:
        assert not costs or used(NOON) + cost <= limit
        return
    assert used(found) + cost <= limit or used(found) == 0
    assert used(found - timedelta(microseconds=1)) + cost > limit
