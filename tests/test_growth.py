"""What is not of the daemon's own story (`tests.crash.campaign`) does not slow down with the database's size either:
lists, retention, erasures, looks. And what looks for that finds it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, exists, func, select, update

from ingestd.privacy.expiry import MessageRetention
from ingestd.privacy.quarantine_expiry import QuarantineRetention
from ingestd.privacy.requests import request_disconnect
from storage import events, leases
from storage.figures import read_figures
from storage.outbox import OPEN, ReplyStatus
from storage.tables import mailboxes, messages, metadata, outbox, tickets
from storage.ticket_lists import TicketFilter, TicketOrder, list_tickets
from storage.tickets import TicketStatus
from storage.types import new_id
from tests import growth
from tests.office import LEASE_SECONDS, Office, mail
from tests.plans import pretend_large, wide_reads
from tests.statements import Statement, heard
from tests.stores import Stores
from tests.test_maintenance import maintenance

_ID = new_id()
_OF_MAILBOX = (messages.c.account_id == _ID) & (messages.c.mailbox_id == _ID)
_TICKET = (tickets.c.account_id == _ID) & (tickets.c.ticket_id == _ID)
_LATER = datetime.now(UTC) + timedelta(days=400)


async def test_lists_retention_and_erasures_do_not_slow_down(stores: Stores) -> None:
    with heard() as found:
        office = await Office.open(stores)
        await _work(office)
        await _list(office)
        await _look(stores)
        await _forget(office)
    await growth.check(stores.content, stores.keystore, found)


async def _work(office: Office) -> None:
    await office.take(mail(), mail("poison", message_id="<q2@example.org>"), mail(message_id="<q3@example.org>"))
    await office.take(mail(message_id="<q4@example.org>", headers="In-Reply-To: <q1@example.org>\r\n"))
    for _ in range(2):
        await office.reply(1, idempotency_key="once")
    await office.act(2, "closed")


async def _list(office: Office) -> None:
    account_id, desk = office.held.account_id, office.desk
    for wanted in (TicketFilter((TicketStatus.OPEN,)), TicketFilter(mailbox_id=office.held.mailbox_id)):
        for order in TicketOrder:
            await office.stores.content.read(account_id, list_tickets, wanted, order=order, descending=True, limit=10)
    await desk.ticket(account_id, 1)
    await desk.mailbox_page(account_id, after=None, limit=10)
    await desk.quarantine(account_id, limit=10)
    await desk.replies(account_id, statuses=[ReplyStatus.QUEUED], limit=10)
    await office.stores.content.read(account_id, events.read_log, 0, 10)


async def _look(stores: Stores) -> None:
    worker_id = new_id()
    await stores.content.transaction(None, leases.register, worker_id)
    await stores.content.transaction(None, leases.look, worker_id, LEASE_SECONDS, 10)
    await stores.content.transaction(None, leases.release, worker_id)
    await stores.content.read(None, read_figures)


async def _forget(office: Office) -> None:
    stores, account_id = office.stores, office.held.account_id
    await MessageRetention(stores.content, stores.blobs, lambda: 365).run(_LATER)
    await QuarantineRetention(stores.content, stores.blobs, office.keys, lambda: 30).run(_LATER)
    daemon = maintenance(office)
    await daemon.sweep(_LATER)
    await daemon.foresight.look()
    await stores.content.transaction(account_id, request_disconnect, office.held.mailbox_id)
    await daemon.erase()


WIDE = {
    "nothing is given": select(messages.c.size_bytes),
    "an account's": select(messages.c.size_bytes).where(messages.c.account_id == _ID),
    "a mailbox's": select(func.max(messages.c.size_bytes)).where(_OF_MAILBOX),
    "sorted before its limit": select(messages.c.message_id)
    .where(_OF_MAILBOX)
    .order_by(messages.c.size_bytes)
    .limit(9),
    "in a join": select(tickets.c.number).join(messages, messages.c.created_at == tickets.c.created_at).where(_TICKET),
    "in what is asked within": select(tickets.c.number).where(_TICKET, exists().where(messages.c.size_bytes == 0)),
    "changed": update(messages).where(_OF_MAILBOX).values(muted=True),
    "beside the index of some rows": select(outbox.c.message_id).where(outbox.c.status == "queued"),
}
NARROW = {
    "one": select(messages.c.size_bytes).where(messages.c.account_id == _ID, messages.c.message_id == _ID),
    "by its own index": select(messages.c.size_bytes).where(_OF_MAILBOX, messages.c.header_key == b""),
    "a ticket's": select(messages.c.size_bytes).where(messages.c.account_id == _ID, messages.c.ticket_id == _ID),
    "a page": select(messages.c.message_id)
    .where(messages.c.account_id == _ID)
    .order_by(messages.c.message_id)
    .limit(9),
    "what is open": select(outbox.c.message_id).where(OPEN),
    "one mailbox": select(mailboxes.c.state).where(mailboxes.c.account_id == _ID, mailboxes.c.mailbox_id == _ID),
}


@pytest.mark.parametrize("name", [*WIDE, *NARROW])
async def test_what_would_slow_down_is_found(stores: Stores, name: str) -> None:
    def ask(conn: Connection) -> list[str]:
        pretend_large(conn, metadata)
        compiled = (WIDE | NARROW)[name].compile(conn, compile_kwargs={"render_postcompile": True})
        return wide_reads(conn, metadata, str(compiled))

    assert bool(await stores.content.transaction(None, ask)) == (name in WIDE)


async def test_what_is_found_is_told(stores: Stores) -> None:
    found = {Statement(f"storage/leases.py:{number}", "SELECT 1") for number in range(growth.PLACES_MIN)}
    await growth.check(stores.content, stores.keystore, found)
    found.add(Statement("storage/leases.py:claim", "SELECT fence FROM mailboxes"))
    with pytest.raises(growth.GrowsWithTheDatabase, match=r"leases.py:claim reads mailboxes by nothing"):
        await growth.check(stores.content, stores.keystore, found)
    with pytest.raises(AssertionError, match="no real work"):
        await growth.check(stores.content, stores.keystore, ())
