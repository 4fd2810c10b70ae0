"""What content_0002 knew of closed tickets and of messages is known on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert

from storage import accounts, mailboxes, messages, schema
from storage.database import open_database
from storage.tables import messages as messages_table
from storage.tables import tickets as tickets_table
from storage.ticket_lists import list_tickets
from storage.types import new_id
from tests.stores import StoreUrls

THEN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def _fill(conn: Connection, account_id: UUID, ids: dict[str, UUID]) -> None:
    schema.upgrade(conn, schema.CONTENT, "content_0002")
    mailbox_id = new_id()
    accounts.insert_account(conn, account_id, b"")
    mailboxes.insert_mailbox(conn, account_id, mailbox_id, provider="local", start_from="now", start_days=0, sealed=b"")
    for number, (status, ticket_id) in enumerate(ids.items(), 1):
        common = {"account_id": account_id, "mailbox_id": mailbox_id, "ticket_id": ticket_id, "created_at": THEN}
        changed = THEN + timedelta(days=number)
        ticket: dict[str, Any] = {"number": number, "status": status, "requester_key": b"k", "updated_at": changed}
        conn.execute(insert(tickets_table).values(**common, **ticket, sealed=b""))
        message: dict[str, Any] = {
            "message_id": new_id(),
            "direction": "in",
            "kind": "customer",
            "identity_key": bytes(number),
        }
        message |= {"received_at": THEN, "size_bytes": 1, "chunks": 1, "raw_place": "rows", "sealed": b""}
        conn.execute(insert(messages_table).values(**common, **message))


async def test_a_ticket_that_was_closed_was_closed_when_it_last_changed(store_urls: StoreUrls) -> None:
    database = open_database(store_urls.content, schema.METADATA[schema.CONTENT])
    account_id, ids = new_id(), {"open": new_id(), "closed": new_id()}
    try:
        await database.transaction(account_id, _fill, ids)
        await database.transaction(None, schema.upgrade, schema.CONTENT)
        found = await database.read(account_id, list_tickets)
        assert [one.closed_at for one in found] == [None, THEN + timedelta(days=2)]
        assert [one.follows_ticket_id for one in found] == [None, None]
        came = await database.read(account_id, messages.recently_received, ids["closed"], 10)
        assert came == [(THEN, False)]
    finally:
        await database.close()
