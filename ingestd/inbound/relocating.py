"""Known messages that were read again: they lie elsewhere now, and what is to be done to them goes there.

A message comes a second time when it was moved out and back, or when its folder was numbered anew
(UIDVALIDITY). It stays the one ticket message that it is; only its locator is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from ingestd.inbound.intake import MailboxContext, Read, identities
from ingestd.records import EditRecord, MessageRecord
from storage import edits, messages


def relocate(conn: Connection, account_id: UUID, context: MailboxContext, seen: Sequence[Read]) -> None:
    """Note where known messages lie now, also for edits that are still due. The caller holds the mailbox."""
    lying = {key: read for read in seen for key in read.all_keys()} | {read.identity_key: read for read in seen}
    found = messages.records_by_identity(conn, account_id, context.mailbox_id, identities(seen))
    for known_by, message_id, sealed in found:
        read, place = lying[known_by], MessageRecord.place(message_id)
        record = context.key.open_record(place, sealed, MessageRecord)
        if record.locator == read.locator:
            continue
        moved = msgspec.structs.replace(record, locator=read.locator, folder=read.folder)
        messages.replace_record(conn, account_id, message_id, context.key.seal_record(place, moved))
        for edit_id, sealed_edit in edits.list_of_message(conn, account_id, message_id):
            edit_place = EditRecord.place(edit_id)
            edit = context.key.open_record(edit_place, sealed_edit, EditRecord)
            edit = msgspec.structs.replace(edit, locator=read.locator, folder=read.folder)
            edits.relocate(conn, account_id, edit_id, context.key.seal_record(edit_place, edit))
