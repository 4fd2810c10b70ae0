"""Solved tickets go once they are older than their account keeps them, all of it; old mail does not come again."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from connectors.base import RawMessage
from ingestd import account_states
from ingestd.desk import Desk
from ingestd.privacy.expiry import MessageRetention
from ingestd.privacy.quarantine_expiry import QuarantineRetention
from storage import expiry, mailboxes
from storage.errors import NotFound
from storage.tables import MAILBOX_TABLES, events, outbox
from storage.tickets import TicketStatus
from tests.inbound.test_replay import Parser
from tests.office import Office, mail
from tests.plans import plans
from tests.stores import Stores

DAY = timedelta(days=1)
_KEPT = {"forgotten_messages", "events"}
"""What is left of a ticket: hashes, and ids in the log."""
_LARGE = random.Random(0).randbytes(40_000).hex()


def _engine(office: Office, days: int | None = 365) -> MessageRetention:
    return MessageRetention(office.stores.content, office.stores.blobs, lambda: days)


async def _solved(office: Office, *numbers: int) -> datetime:
    for number in numbers:
        await office.act(number, "closed")
    return datetime.now(UTC)


async def _rows(office: Office) -> dict[str, int]:
    def count(conn: Connection) -> dict[str, int]:
        mailbox_id = office.held.mailbox_id
        mine = {one.name: select(func.count()).where(one.c.mailbox_id == mailbox_id) for one in MAILBOX_TABLES}
        return {name: found for name, query in mine.items() if (found := conn.execute(query).scalar_one())}

    return await office.stores.content.read(None, count)


async def test_a_solved_ticket_goes_with_all_that_hangs_on_it(stores: Stores) -> None:
    office = await Office.open(stores)
    office.desk = Desk(stores.content, stores.blobs, office.keys, blob_bytes_min=4096)
    part = "Content-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n"
    first = mail(headers=part), mail("Large", message_id="<q2@example.org>", text=_LARGE)
    await office.take(*first)
    await office.take(mail("Re: Printer", message_id="<q3@example.org>", headers="In-Reply-To: <q1@example.org>\r\n"))
    reply = await office.reply(1, idempotency_key="once")
    now = await _solved(office, 1, 2)
    before = await _rows(office)
    assert {"messages", "attachments", "raw_chunks", "thread_keys", "outbox", "reply_recipients"} <= set(before)
    assert office.stores.blobs.count(office.held.account_id, office.held.mailbox_id) == 1

    engine = _engine(office)
    assert await engine.run(now + 364 * DAY) == 0
    # The reply waits to be sent: its ticket is not over. The other one is.
    assert await engine.run(now + 366 * DAY) == 1
    with pytest.raises(NotFound):
        await office.ticket(2)
    assert office.stores.blobs.count(office.held.account_id, office.held.mailbox_id) == 0
    await office.check()
    await stores.content.transaction(office.held.account_id, _call_it_failed, reply.message_id)
    assert await engine.run(now + 366 * DAY) == 1
    assert set(await _rows(office)) == _KEPT
    assert (await _rows(office))["forgotten_messages"] == 4
    await office.check()
    # Old mail does not come again, by whichever way; new mail does, and is another ticket.
    assert (await office.take(*first)).tickets == 0
    assert (await office.take(mail("Re: Printer", message_id="<q4@example.org>"))).tickets == 1
    assert (await office.ticket(3)).ticket.number == 3
    assert await stores.content.read(None, _told) == ["2", "1"]
    await office.check()


async def test_what_is_touched_or_kept_stays(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, content = office.held.account_id, stores.content
    await office.take(*(mail(message_id=f"<q{n}@example.org>") for n in range(4)))
    now = await _solved(office, 1, 2)
    await office.act(3, "spam")
    assert await _engine(office, None).run(now + 9999 * DAY) == 0
    # By its account's own number of days, and not while it is suspended or held.
    await content.transaction(account_id, expiry.set_solved_days, 10)
    await content.transaction(account_id, account_states.suspend)
    assert await _engine(office).run(now + 11 * DAY) == 0
    await content.transaction(account_id, account_states.resume)
    await content.transaction(account_id, account_states.hold)
    assert await _engine(office).run(now + 11 * DAY) == 0
    await content.transaction(account_id, account_states.release)
    # Somebody opens it again between the look and the act.
    found = await content.read(account_id, expiry.list_expired, now + DAY, 10)
    assert len(found) == 2
    await office.act(2, "open")
    gone = [await content.transaction(account_id, expiry.delete_some, one, now + DAY, 100) for one in found]
    assert [one is None for one in gone] == [False, True]
    assert await _engine(office).run(now + 11 * DAY) == 0
    assert [one.ticket.number for one in await office.desk.tickets(account_id)] == [2, 3, 4]
    await office.check()


async def test_a_long_ticket_goes_in_chunks_beside_new_mail(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, content = office.held.account_id, stores.content
    await office.take(mail())
    names = [f"<a{number}@example.org>" for number in range(60)]
    answers = [mail("Re", message_id=one, headers="In-Reply-To: <q1@example.org>\r\n") for one in names]
    await office.take(*answers)
    now = await _solved(office, 1)
    (ticket_id,) = await content.read(account_id, expiry.list_expired, now + DAY, 10)
    chunk = await content.transaction(account_id, expiry.delete_some, ticket_id, now + DAY, 100)
    assert chunk is not None
    assert not chunk.done
    assert 100 <= chunk.rows <= 110
    await office.check()  # a crash here leaves a whole, shorter ticket
    new = mail(message_id="<n@example.org>")
    _, taken = await asyncio.gather(_engine(office, 1).run(now + 2 * DAY), office.take(new))
    assert taken.tickets == 1
    assert await content.read(account_id, expiry.list_expired, now + DAY, 10) == []
    assert (await _rows(office))["tickets"] == 1
    await office.check()


async def test_it_stops_for_a_mailbox_that_is_being_forgotten(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, content = office.held.account_id, stores.content
    await office.take(mail())
    now = await _solved(office, 1)
    (ticket_id,) = await content.read(account_id, expiry.list_expired, now + DAY, 10)
    await content.transaction(account_id, mailboxes.start_disconnect, office.held.mailbox_id)
    assert await content.read(account_id, expiry.list_expired, now + DAY, 10) == []
    assert not await _engine(office, 1)._delete(account_id, ticket_id, now + DAY)


def _call_it_failed(conn: Connection, account_id: UUID, message_id: UUID) -> None:
    values = {"status": "failed", "reason": "refused_at_rcpt", "due_at": None}
    conn.execute(update(outbox).where(outbox.c.message_id == message_id).values(**values))


def _told(conn: Connection) -> list[Any]:
    return list(conn.execute(select(events.c.detail).where(events.c.type == "ticket.erased")).scalars())


async def test_what_is_due_is_found_by_indexes(stores: Stores) -> None:
    """A run asks for it every hour, of accounts with millions of tickets."""
    office = await Office.open(stores)
    await office.take(mail())
    account_id = office.held.account_id
    at = await _solved(office, 1)

    def explain(conn: Connection) -> list[str]:
        def look() -> None:
            (ticket_id,) = expiry.list_expired(conn, account_id, at + DAY, 50)
            expiry.delete_some(conn, account_id, ticket_id, at + DAY, 100)

        return plans(conn, "account_id", look)

    lines = await stores.content.transaction(None, explain)
    # Also by an index of which only the account is used: that goes through all of it.
    scans = ("Seq Scan", "SCAN", "(account_id=?)")
    wrong = [one for one in lines if any(scan in one for scan in scans) and not one.startswith("SEARCH accounts")]
    assert not wrong, lines
    assert not [one for one in lines if "TEMP B-TREE" in one], lines


async def test_spam_and_trash_go_by_the_operators_own_number_of_days(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, content = office.held.account_id, stores.content
    first = [mail(message_id=f"<q{n}@example.org>") for n in range(4)]
    await office.take(*first)
    await office.act(1, "spam")
    await office.act(2, "deleted")
    now = await _solved(office, 3)
    engine = MessageRetention(content, stores.blobs, lambda: None, lambda: 90)
    assert await _engine(office, None).run(now + 9999 * DAY) == 0  # by default all is kept
    assert await engine.run(now + 89 * DAY) == 0
    # Somebody takes it out of the trash between the look and the act.
    (ticket_id,) = await content.read(account_id, expiry.list_expired, now + DAY, 10, TicketStatus.DELETED)
    await office.act(2, "open")
    chunk = await content.transaction(account_id, expiry.delete_some, ticket_id, now + DAY, 100, TicketStatus.DELETED)
    assert chunk is None
    await office.act(2, "deleted")
    await content.transaction(account_id, account_states.hold)
    assert await engine.run(now + 91 * DAY) == 0
    await content.transaction(account_id, account_states.release)
    assert await engine.run(now + 91 * DAY) == 2
    assert [one.ticket.number for one in await office.desk.tickets(account_id)] == [3, 4]
    assert await content.read(None, _told) == ["1", "2"]
    # None of it comes again.
    assert (await office.take(*first)).tickets == 0
    await office.check()


async def test_what_waits_in_quarantine_for_too_long_is_dropped(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, content = office.held.account_id, stores.content
    office.desk = Desk(content, stores.blobs, office.keys, blob_bytes_min=4096)
    poison = [
        RawMessage(f"7:{n}:INBOX", "INBOX", len(raw), datetime.now(UTC), raw, raw)
        for n, raw in enumerate((mail(), mail("Large", message_id="<q2@example.org>", text=_LARGE)))
    ]
    rejects: Any = Parser("timeout")
    assert list((await office.take_fetched(poison, parser=rejects)).quarantined) == ["timeout", "timeout"]
    now = datetime.now(UTC)
    days: list[int | None] = [None]
    engine = QuarantineRetention(content, stores.blobs, office.keys, lambda: days[0])
    assert await engine.run(now + 9999 * DAY) == 0
    days[0] = 30
    assert await engine.run(now + 29 * DAY) == 0
    await content.transaction(account_id, account_states.hold)
    assert await engine.run(now + 31 * DAY) == 0
    await content.transaction(account_id, account_states.release)
    assert stores.blobs.count(account_id, office.held.mailbox_id) == 1
    assert await engine.run(now + 31 * DAY) == 2
    assert await engine.run(now + 31 * DAY) == 0
    assert stores.blobs.count(account_id, office.held.mailbox_id) == 0
    assert "raw_chunks" not in await _rows(office)
    await office.check()
    # Their identities stay: neither comes again.
    again = await office.take_fetched(poison)
    assert (again.tickets, list(again.quarantined)) == (0, [])
    dropped = select(events.c.detail).where(events.c.type == "message.dropped")
    assert await content.read(None, lambda conn: list(conn.execute(dropped).scalars())) == ["expired", "expired"]
    await office.check()
