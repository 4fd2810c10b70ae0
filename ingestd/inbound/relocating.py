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
from storage.edits import MessageEdit
from storage.errors import SealBroken
from storage.sealing import DataKey


def relocate(conn: Connection, account_id: UUID, context: MailboxContext, seen: Sequence[Read]) -> None:
    """Note where known messages lie now, also for edits that are still due. The caller holds the mailbox."""
    lying = {key: read for read in seen for key in read.all_keys()} | {read.identity_key: read for read in seen}
    moved: dict[UUID, Read] = {}
    found = messages.records_by_identity(conn, account_id, context.mailbox_id, identities(seen))
    for known_by, message_id, sealed in found:
        read, place = lying[known_by], MessageRecord.place(message_id)
        record = context.key.open_record(place, sealed, MessageRecord)
        if record.locator == read.locator:
            continue
        now = msgspec.structs.replace(record, locator=read.locator, folder=read.folder, lost_by="")
        messages.replace_record(conn, account_id, message_id, context.key.seal_record(place, now))
        moved[message_id] = read
    for message_id, waiting in edits.list_of_messages(conn, account_id, moved).items() if moved else ():
        move_edits(conn, account_id, context.key, waiting, moved[message_id].locator, moved[message_id].folder)


def move_edits(
    conn: Connection, account_id: UUID, key: DataKey, waiting: Sequence[MessageEdit], locator: str, folder: str
) -> None:
    """Note where the message lies now that these edits wait for. The caller holds the mailbox."""
    for one in waiting:
        place = EditRecord.place(one.edit_id)
        try:
            record = key.open_record(place, one.sealed, EditRecord)
        except (SealBroken, msgspec.MsgspecError):
            continue  # it is given up when its turn comes
        record = msgspec.structs.replace(record, locator=locator, folder=folder)
        edits.relocate(conn, account_id, one.edit_id, key.seal_record(place, record))
