"""Replies that leave one after the other: what came of one and the beginning of the next are one transaction.

Whatever comes between, no outcome is lost, and no reply is left as if it were on its way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from connectors.base import ConnectorError, Envelope, SendOutcome, SendStatus, StillOurs, TemporaryError, always
from ingestd.outbound.resolve import decide
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.outbound.statuses import ReplyEvent
from storage import mailboxes, outbox, pauses
from storage.outbox import Attempt, ReplyStatus
from tests.office import Office, mail
from tests.outbound.test_sender import ACCEPTED, QUICK, Provider
from tests.stores import Stores

NEVER = SentPolicy("never", 0.0)
REFUSED = SendOutcome(SendStatus.REFUSED, "rcpt", 550)
DEFERRED = SendOutcome(SendStatus.DEFERRED, "rcpt", 450)
SENT, QUEUED = ReplyStatus.SENT, ReplyStatus.QUEUED


@dataclass
class Row:
    """Replies that wait behind each other, each to a ticket of its own unless `tickets` says otherwise."""

    office: Office
    replies: list[UUID]
    names: list[str] = field(default_factory=list)
    """Of the transactions that were committed."""
    while_sending: dict[int, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    """What happens while the server has this reply, by its place."""

    @classmethod
    async def begin(cls, stores: Stores, tickets: Sequence[int] = (1, 2, 3)) -> Row:
        office = await Office.open(stores)
        await office.take(*(mail(message_id=f"<q{number}@example.org>") for number in range(max(tickets))))
        return cls(office, [(await office.reply(number)).message_id for number in tickets])

    async def run(self, *outcomes: SendOutcome | ConnectorError) -> None:
        row, content = self, self.office.stores.content

        class Watched(Provider):
            async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
                place = len(outcomes) - len(self.outcomes)
                answer = await super().send(envelope, content, still_ours=still_ours)
                if len(self.outcomes) < len(outcomes) - place and place in row.while_sending:  # not one that was kept
                    await row.while_sending[place]()
                return answer

        sending = self.office.outbox(Watched(*outcomes), QUICK, NEVER)
        before, content.committed = content.committed, self.names.append  # type: ignore[assignment, method-assign]
        try:
            await sending.run_due()
        finally:
            content.committed = before  # type: ignore[method-assign]

    async def statuses(self) -> list[ReplyStatus]:
        read, held = self.office.stores.content.read, self.office.held
        return [(await read(held.account_id, outbox.get_reply, one)).status for one in self.replies]

    async def attempts(self, place: int) -> list[Attempt]:
        read, held = self.office.stores.content.read, self.office.held
        return await read(held.account_id, outbox.list_attempts, self.replies[place])


async def test_three_replies_are_four_transactions(stores: Stores) -> None:
    row = await Row.begin(stores)
    await row.run(ACCEPTED, ACCEPTED, ACCEPTED)
    assert row.names == ["take", "settle_and_take", "settle_and_take", "settle"]
    assert await row.statuses() == [SENT, SENT, SENT]
    assert [one.outcome for place in range(3) for one in await row.attempts(place)] == ["accepted"] * 3
    await row.office.check()


async def test_the_next_one_is_begun_while_the_first_is_recorded_and_leaves_behind_that(stores: Stores) -> None:
    row = await Row.begin(stores, tickets=(1, 2))
    content, has_begun = row.office.stores.content, threading.Event()

    class Server(Provider):
        async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
            if self.accepted:
                has_begun.set()
            return await super().send(envelope, content, still_ours=still_ours)

    server, at_the_commit = Server(ACCEPTED, ACCEPTED), list[int]()

    def watch(committing: str) -> None:
        if committing == "settle_and_take":
            # On PostgreSQL this is the event loop's own thread: nothing could begin while it waits.
            assert not content.is_sqlite or has_begun.wait(20)
            at_the_commit.append(len(server.accepted))

    content.committing = watch  # type: ignore[assignment, method-assign]
    await row.office.outbox(server, QUICK, NEVER).run_due()
    assert (at_the_commit, len(server.accepted)) == ([1], 2)
    assert await row.statuses() == [SENT, SENT]
    await row.office.check()


async def test_one_that_is_refused_or_deferred_holds_up_no_other_ticket(stores: Stores) -> None:
    row = await Row.begin(stores)
    await row.run(REFUSED, DEFERRED, ACCEPTED)
    assert row.names == ["take", "settle_and_take", "settle_and_take", "settle"]
    assert await row.statuses() == [ReplyStatus.FAILED, ReplyStatus.DEFERRED, SENT]
    await row.office.check()


async def test_one_that_is_deferred_holds_up_those_of_its_ticket(stores: Stores) -> None:
    row = await Row.begin(stores, tickets=(1, 1, 2))
    await row.run(DEFERRED, ACCEPTED)
    assert await row.statuses() == [ReplyStatus.DEFERRED, QUEUED, SENT]
    assert await row.attempts(1) == []
    await row.office.check()


async def test_a_mailbox_in_trouble_begins_with_no_other(stores: Stores) -> None:
    row = await Row.begin(stores)
    await row.run(ACCEPTED, TemporaryError("the connection was lost"))
    assert await row.statuses() == [SENT, QUEUED, QUEUED]
    assert [one.outcome for one in await row.attempts(1)] == ["not_sent"]
    assert await row.attempts(2) == []
    await row.office.check()


async def test_the_next_one_is_cancelled_while_the_first_is_sent(stores: Stores) -> None:
    row = await Row.begin(stores)
    office = row.office
    row.while_sending[0] = lambda: decide(office.desk, office.held.account_id, row.replies[1], ReplyEvent.CANCEL)
    await row.run(ACCEPTED, ACCEPTED)
    assert await row.statuses() == [SENT, ReplyStatus.CANCELLED, SENT]
    assert await row.attempts(1) == []
    await office.check()


async def test_what_is_under_way_when_the_mailbox_is_paused_is_recorded_and_nothing_begins(stores: Stores) -> None:
    row = await Row.begin(stores)
    held, content = row.office.held, row.office.stores.content

    async def pause() -> None:
        await content.transaction(held.account_id, pauses.pause, held.mailbox_id)

    row.while_sending[0] = pause
    await row.run(ACCEPTED)
    assert await row.statuses() == [SENT, QUEUED, QUEUED]
    await row.office.check()


@pytest.mark.parametrize("name", ["take", "settle_and_take"])
async def test_stopped_while_a_reply_is_taken_it_is_given_back(stores: Stores, name: str) -> None:
    """Nothing of it was sent: it must not be looked for as if it might have been."""
    row = await Row.begin(stores)
    content, loop = row.office.stores.content, asyncio.get_running_loop()
    running = asyncio.create_task(row.run(ACCEPTED, ACCEPTED, ACCEPTED))
    stopped = False

    def stop(committing: str) -> None:
        nonlocal stopped
        if committing == name and not stopped:
            stopped = True
            loop.call_soon_threadsafe(running.cancel)

    content.committing = stop  # type: ignore[assignment, method-assign]
    with pytest.raises(asyncio.CancelledError):
        await running
    given_back = 0 if name == "take" else 1
    assert await row.statuses() == [SENT] * given_back + [QUEUED] * (3 - given_back)
    assert [one.outcome for one in await row.attempts(given_back)] == ["not_sent"]
    await row.office.check()


async def test_stopped_and_paused_while_a_reply_is_sent(stores: Stores) -> None:
    """The next one cannot be taken, and the stop arrives while that is found out."""
    row = await Row.begin(stores)
    held, content = row.office.held, row.office.stores.content
    running = asyncio.create_task(row.run(ACCEPTED, ACCEPTED))

    async def pause_and_stop() -> None:
        await content.transaction(held.account_id, pauses.pause, held.mailbox_id)
        running.cancel()

    row.while_sending[0] = pause_and_stop
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await row.statuses() == [SENT, QUEUED, QUEUED]
    assert await row.attempts(1) == []
    await row.office.check()


async def test_stopped_while_the_mailbox_is_lost_it_stops(stores: Stores) -> None:
    """The outcome cannot be written any more: whoever has the mailbox now calls the reply unknown."""
    row = await Row.begin(stores)
    held, content = row.office.held, row.office.stores.content
    running = asyncio.create_task(row.run(ACCEPTED, ACCEPTED))

    async def lose_and_stop() -> None:
        await content.transaction(held.account_id, mailboxes.start_disconnect, held.mailbox_id)
        running.cancel()

    row.while_sending[0] = lose_and_stop
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_stopped_once_the_outcome_is_known_it_is_recorded(stores: Stores) -> None:
    row = await Row.begin(stores)
    running = asyncio.create_task(row.run(ACCEPTED, ACCEPTED, ACCEPTED))

    async def stop() -> None:
        running.cancel()  # which arrives where the sender waits next

    # The provider returns its answer without waiting for anything more.
    row.while_sending[1] = stop
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await row.statuses() == [SENT, SENT, QUEUED]
    await row.office.check()
