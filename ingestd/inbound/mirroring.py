"""Edits that a ticket's action or its status asks for: planned for its messages, in the action's own transaction.

Of a long ticket the newest messages are edited, so many as a setting says, and looked at in small portions:
an action must not hold up those that read and send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from connectors.base import Edit, EditKind
from ingestd.mirror import Mirror, Plan, Waiting, plan_read, plan_status
from ingestd.records import EditRecord, MessageRecord
from storage import edits, messages
from storage.edits import EditCause, EditStatus, MessageEdit, NewEdit
from storage.errors import SealBroken
from storage.sealing import DataKey
from storage.tickets import Ticket, TicketStatus
from storage.types import new_id

_PORTION: Final = 100
"""Messages whose records are in memory at the same time."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What an action does in the mailbox."""

    planned: int = 0
    """Edits."""
    lost: int = 0
    """Messages whose place in the mailbox is not known any more: somebody moved or deleted them there."""


def mirror_status(
    conn: Connection, account_id: UUID, key: DataKey, mirror: Mirror, ticket: Ticket, status: TicketStatus, limit: int
) -> Mirrored:
    """Plan what a ticket's new status asks for. The caller holds the mailbox, and writes the status.

    Where nothing is mirrored, nothing is undone either.
    """
    if not mirror.of_status:
        return Mirrored()
    was = TicketStatus(ticket.status)

    def plan(record: MessageRecord, waiting: Sequence[Waiting]) -> Plan:
        return plan_status(mirror, was, status, record.folder, record.home, waiting)

    return _plan(conn, account_id, key, ticket, plan, limit)


def mirror_read(
    conn: Connection, account_id: UUID, key: DataKey, mirror: Mirror, ticket: Ticket, limit: int
) -> Mirrored:
    """Plan what is asked for where an agent reads a ticket. The caller holds the mailbox."""
    if mirror.read is None:
        return Mirrored()
    return _plan(conn, account_id, key, ticket, lambda record, waiting: plan_read(mirror, record.home, waiting), limit)


def new_edit(
    key: DataKey, mailbox_id: UUID, message_id: UUID, edit: Edit, cause: EditCause, locator: str, folder: str
) -> NewEdit:
    """Seal an edit of a message that lies at `locator`."""
    edit_id = new_id()
    record = EditRecord(locator=locator, folder=folder, target=edit.target)
    sealed = key.seal_record(EditRecord.place(edit_id), record)
    return NewEdit(edit_id, mailbox_id, message_id, edit.kind.value, sealed, cause)


def _plan(
    conn: Connection,
    account_id: UUID,
    key: DataKey,
    ticket: Ticket,
    plan: Callable[[MessageRecord, Sequence[Waiting]], Plan],
    limit: int,
) -> Mirrored:
    before, left, planned, lost = None, limit, 0, 0
    while left > 0:
        portion = min(left, _PORTION)
        rows = messages.newest_received(conn, account_id, ticket.ticket_id, before=before, limit=portion)
        waiting = edits.list_of_messages(conn, account_id, [message_id for message_id, _ in rows])
        for message_id, sealed in rows:
            place = MessageRecord.place(message_id)
            try:
                record = key.open_record(place, sealed, MessageRecord)
            except (SealBroken, msgspec.MsgspecError):
                continue  # `ingestd verify` tells of it
            if not record.locator:
                lost += 1
                continue
            made = plan(record, _opened(key, waiting.get(message_id, ())))
            if made.home != record.home:
                changed = msgspec.structs.replace(record, home=made.home)
                messages.replace_record(conn, account_id, message_id, key.seal_record(place, changed))
            edits.delete_edits(conn, account_id, made.dropped)
            new = [
                new_edit(key, ticket.mailbox_id, message_id, edit, cause, record.locator, record.folder)
                for edit, cause in made.new
            ]
            edits.insert_edits(conn, account_id, new)
            planned += len(new)
        if len(rows) < portion:
            break
        before, left = rows[-1][0], left - portion
    if planned:
        edits.announce(conn)
    return Mirrored(planned, lost)


def _opened(key: DataKey, rows: Sequence[MessageEdit]) -> list[Waiting]:
    """Open what waits for a message; the target of a record that is damaged is unknown, and matters no more."""
    found = []
    for one in rows:
        try:
            target = key.open_record(EditRecord.place(one.edit_id), one.sealed, EditRecord).target
        except (SealBroken, msgspec.MsgspecError):
            target = None
        edit = Edit(EditKind(one.kind), target)
        found.append(Waiting(one.edit_id, edit, one.cause, failed=one.status is EditStatus.FAILED))
    return found
