"""Mail that is lost on purpose: read by a real reader, whatever the provider, and taken by nobody."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, update

from ingestd.build.mailboxes import Mailboxes
from ingestd.build.outside import Outside, new_metrics
from ingestd.build.store import Store
from ingestd.inbound.lease import Lease
from ingestd.records import CursorRecord
from storage import mailboxes
from storage.tables import mailboxes as table
from storage.types import new_id


async def pass_over(store: Store, account_id: UUID, mailbox_id: UUID) -> int:
    """Put the cursor of a mailbox that nobody works on behind all that has come; return how many mails that loses."""
    mailbox = await store.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    key, place = await store.keys.mailbox(account_id, mailbox_id), CursorRecord.place(mailbox_id)
    cursor = None
    if mailbox.cursor_sealed is not None:
        cursor = key.open_record(place, mailbox.cursor_sealed, CursorRecord).cursor
    outside, lost = Outside(store.settings), 0
    try:
        lease = Lease(new_id(), store.settings.inbound.lease_seconds)
        builder = Mailboxes(store, outside, cast("Any", None), new_metrics(), lease)
        _, reader = await builder.look(account_id, mailbox_id)
        async for batch in reader.changes(cursor):
            cursor, lost = batch.cursor, lost + len(batch.messages)
        await reader.close()
    finally:
        await outside.close()
    assert cursor is not None
    sealed = key.seal_record(place, CursorRecord(cursor))

    def write(conn: Connection, account_id: UUID) -> None:
        here = table.c.account_id == account_id, table.c.mailbox_id == mailbox_id
        conn.execute(update(table).where(*here).values(cursor_sealed=sealed))

    await store.content.transaction(account_id, write)
    return lost
