"""What the gauges are made of, counted on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from storage import backfills, edits, erasures, leases, mailboxes, messages, outbox, quarantine, tables, tickets
from storage.backfills import BackfillStatus
from storage.database import now
from storage.edits import NewEdit
from storage.figures import Figures, read_figures
from storage.mailboxes import MailboxState
from storage.messages import NewMessage, Raw
from storage.outbox import ReplyStatus
from storage.quarantine import NewQuarantine, QuarantineStatus
from storage.tickets import NewTicket
from storage.types import new_id
from tests.storage.conftest import add_mailbox
from tests.stores import Stores

_RAW = Raw(messages.ROWS, 1, 3, [b"raw"])
_HOUR = timedelta(hours=1)


async def figures_of(stores: Stores) -> Figures:
    return await stores.content.read(None, read_figures)


def _age(conn: Connection, table: Any, column: str, age: timedelta, **where: object) -> None:
    query = update(table).values({column: now(conn) - age})
    for name, value in where.items():
        query = query.where(table.c[name] == value)
    conn.execute(query)


def _add_replies(
    conn: Connection, account_id: UUID, mailbox_id: UUID, statuses: Sequence[tuple[ReplyStatus, bool]]
) -> list[UUID]:
    """One ticket, and a reply for each (status, whether a step of it is due)."""
    ticket_id, message_ids = new_id(), [new_id() for _ in statuses]
    tickets.insert_tickets(conn, account_id, 1, [NewTicket(ticket_id, mailbox_id, b"requester", None, b"sealed")])
    messages.insert_messages(
        conn,
        account_id,
        [
            NewMessage(one, mailbox_id, ticket_id, "out", "agent", one.bytes, now(conn), _RAW, b"sealed")
            for one in message_ids
        ],
    )
    for message_id, (status, due) in zip(message_ids, statuses, strict=True):
        outbox.insert_reply(conn, account_id, mailbox_id, message_id, epoch=1, sealed=b"sealed")
        values = {"status": status} | ({} if due else {"due_at": None})
        conn.execute(update(tables.outbox).where(tables.outbox.c.message_id == message_id).values(values))
    return message_ids


async def test_an_empty_store_has_none_of_it(stores: Stores) -> None:
    figures = await figures_of(stores)
    assert figures == Figures({}, {}, {}, {}, 0, {}, 0, {}, {}, {}, {}, {}, {}, {}, 0, 0, 0, 0.0, {}, 0, 0.0, 0, 0.0)


async def test_mailboxes_by_state_trouble_and_age(stores: Stores, account: UUID, mailbox: UUID) -> None:
    failing, paused = await add_mailbox(stores, account), await add_mailbox(stores, account)

    def change(conn: Connection, account_id: UUID) -> None:
        mailboxes.set_state(
            conn, account_id, failing, fence=1, state=MailboxState.FAILING, trouble="throttled", reason="throttled"
        )
        mailboxes.set_state(conn, account_id, paused, fence=1, state=MailboxState.PAUSED)
        mailboxes.mark_read_through(conn, account_id, mailbox, fence=1)
        _age(conn, tables.mailboxes, "state_since", _HOUR, mailbox_id=failing)
        _age(conn, tables.mailboxes, "read_at", 2 * _HOUR, mailbox_id=mailbox)
        _age(conn, tables.mailboxes, "created_at", 3 * _HOUR, mailbox_id=failing)

    await stores.content.transaction(account, change)
    figures = await figures_of(stores)
    assert figures.accounts == {"active": 1}
    assert figures.mailboxes == {"active": 1, "failing": 1, "paused": 1}
    assert figures.mailboxes_in_trouble == {"throttled": 1}
    assert 3600 <= figures.mailboxes_oldest_seconds["failing"] < 3700
    assert figures.mailboxes_oldest_seconds["active"] < 100
    # One that was never read counts from its linking; one that is not worked on, not at all.
    assert 7200 <= figures.read_age_seconds["active"] < 7300
    assert 10800 <= figures.read_age_seconds["failing"] < 10900
    assert set(figures.read_age_seconds) == {"active", "failing"}


async def test_a_mailbox_without_a_living_worker_is_unheld(stores: Stores, account: UUID, mailbox: UUID) -> None:
    await add_mailbox(stores, account)
    assert (await figures_of(stores)).mailboxes_unheld == 2
    worker_id = new_id()
    await stores.content.transaction(None, leases.register, worker_id)
    await stores.content.transaction(None, leases.claim, worker_id, 15.0, 1)
    assert (await figures_of(stores)).mailboxes_unheld == 1
    await stores.content.transaction(None, leases.release, worker_id)
    assert (await figures_of(stores)).mailboxes_unheld == 2


async def test_replies_with_which_something_is_to_happen(stores: Stores, account: UUID, mailbox: UUID) -> None:
    due, not_due = True, False
    message_ids = await stores.content.transaction(
        account,
        _add_replies,
        mailbox,
        [
            (ReplyStatus.QUEUED, due),
            (ReplyStatus.QUEUED, due),
            (ReplyStatus.UNKNOWN, not_due),
            (ReplyStatus.SENT, not_due),
            (ReplyStatus.SENT, due),  # its Sent copy
        ],
    )
    await stores.content.transaction(
        account,
        lambda conn, _: _age(conn, tables.messages, "created_at", _HOUR, message_id=message_ids[1]),
    )
    figures = await figures_of(stores)
    assert figures.outbox == {"queued": 2, "unknown": 1, "sent": 1}
    assert 3600 <= figures.outbox_oldest_seconds["queued"] < 3700
    assert figures.outbox_oldest_seconds["unknown"] < 100
    await stores.content.transaction(
        account,
        lambda conn, _: _age(conn, tables.outbox, "send_at", _HOUR / 2, message_id=message_ids[1]),
    )
    figures = await figures_of(stores)
    assert 1800 <= figures.outbox_oldest_seconds["queued"] < 1900  # it was put off until then


@pytest.mark.parametrize("state", [MailboxState.PAUSED, MailboxState.REAUTH_REQUIRED])
async def test_what_waits_for_its_owner_grows_no_older(
    stores: Stores, account: UUID, mailbox: UUID, state: MailboxState
) -> None:
    """A reply in a mailbox that a person stopped waits as it should; one that a person must judge does not."""
    replies = [(ReplyStatus.QUEUED, True), (ReplyStatus.UNKNOWN, False)]
    message_ids = await stores.content.transaction(account, _add_replies, mailbox, replies)

    def change(conn: Connection, account_id: UUID) -> None:
        edits.insert_edits(conn, account_id, [NewEdit(new_id(), mailbox, message_ids[0], "read", b"sealed")])
        mailboxes.set_folders(conn, account_id, mailbox, sealed=b"sealed", missing=2)
        _age(conn, tables.edits, "created_at", _HOUR)
        _age(conn, tables.messages, "created_at", _HOUR)

    await stores.content.transaction(account, change)
    figures = await figures_of(stores)
    assert set(figures.outbox_oldest_seconds) == {"queued", "unknown"}
    assert (set(figures.edits_oldest_seconds), figures.folders_missing) == ({"due"}, 2)
    await stores.content.transaction(account, mailboxes.set_state, mailbox, fence=1, state=state)
    figures = await figures_of(stores)
    assert figures.outbox == {"queued": 1, "unknown": 1}
    assert set(figures.outbox_oldest_seconds) == {"unknown"}
    assert figures.edits == {"due": 1}
    assert (figures.edits_oldest_seconds, figures.folders_missing) == ({}, 0)


async def test_edits_backfills_quarantine_and_erasures(stores: Stores, account: UUID, mailbox: UUID) -> None:
    other = await add_mailbox(stores, account)
    message_ids = await stores.content.transaction(account, _add_replies, mailbox, [(ReplyStatus.SENT, False)])

    def add(conn: Connection, account_id: UUID) -> None:
        edits.insert_edits(conn, account_id, [NewEdit(new_id(), mailbox, message_ids[0], "read", b"sealed")])
        for one, seen in ((mailbox, 40), (other, 100)):
            backfills.insert_backfill(conn, account_id, one, since=None, before=now(conn), newest_first=True)
            conn.execute(
                update(tables.backfills)
                .where(tables.backfills.c.mailbox_id == one)
                .values(seen=seen, total=100, status=BackfillStatus.RUNNING if seen < 100 else BackfillStatus.DONE)
            )
        held, dropped = new_id(), new_id()
        quarantine.insert_quarantine(
            conn,
            account_id,
            [NewQuarantine(one, mailbox, one.bytes, "timeout", now(conn), _RAW, b"sealed") for one in (held, dropped)],
        )
        conn.execute(
            update(tables.quarantine)
            .where(tables.quarantine.c.quarantine_id == dropped)
            .values(status=QuarantineStatus.DROPPED)
        )
        _age(conn, tables.edits, "created_at", _HOUR)
        _age(conn, tables.backfills, "created_at", _HOUR)
        _age(conn, tables.quarantine, "created_at", _HOUR, quarantine_id=dropped)
        _age(conn, tables.quarantine, "created_at", _HOUR / 2, quarantine_id=held)
        erasures.insert_erasure(conn, account_id, other)
        _age(conn, tables.erasures, "requested_at", _HOUR)

    await stores.content.transaction(account, add)
    figures = await figures_of(stores)
    assert figures.edits == {"due": 1}
    assert 3600 <= figures.edits_oldest_seconds["due"] < 3700
    assert figures.backfills == {"running": 1, "done": 1}
    assert set(figures.backfills_oldest_seconds) == {"running"}
    assert 3600 <= figures.backfills_oldest_seconds["running"] < 3700
    assert 1800 <= figures.quarantine_oldest_seconds < 1900
    assert figures.backfill_remaining_messages == 60
    assert figures.quarantine_messages == 1
    assert figures.erasures_waiting == 1
    assert 3600 <= figures.erasures_oldest_seconds < 3700
    await stores.content.transaction(account, erasures.set_step, other, "done")
    assert (await figures_of(stores)).erasures_waiting == 0
