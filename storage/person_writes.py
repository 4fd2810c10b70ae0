"""What the erasure of a person deletes and writes anew: each a part of one transaction.

It holds the mailbox that it writes for, and then the erasure's own row (`storage.persons.lock`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, delete, select, update

from storage import mailboxes as mailbox_rows
from storage.accounts import draw_numbers
from storage.errors import Conflict
from storage.events import NewEvent, insert_events
from storage.expiry import Deleted, delete_from_ticket, delete_message, delete_ticket, forget
from storage.messages import BLOB, NewAttachment, Raw, insert_attachments, insert_chunks
from storage.outbox import ReplyStatus
from storage.persons import Found, PersonErasure, count, lock
from storage.quarantine import QuarantineStatus
from storage.tables import (
    attachments,
    messages,
    outbox,
    participants,
    quarantine,
    raw_chunks,
    reply_recipients,
    tickets,
)


class PersonBusy(Exception):
    """A reply to the person, or in what is to be deleted, is being sent just now: try again later."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What is to stand in the place of a message or quarantine row."""

    sealed: bytes
    raw: Raw | None
    """None where the bytes stay. In rows, always: what is written into a blob is not undone with a transaction."""
    parts: Sequence[NewAttachment] = ()
    """All attachments, in their order."""
    outbox_sealed: bytes | None = None
    recipients: Mapping[bytes, bytes] | None = None
    """New keys of recipients, by those that they had."""


def delete_requested(conn: Connection, account_id: UUID, at: PersonErasure, ticket: Found, limit: int) -> Deleted:
    """Delete some of a ticket that the person requested, at last the ticket. Raises Conflict, NotFound, PersonBusy."""
    mailbox_rows.hold_unfenced(conn, account_id, ticket.mailbox_id)
    lock(conn, at)
    same = tickets.c.account_id == account_id, tickets.c.ticket_id == ticket.row_id
    row = conn.execute(select(tickets.c.number, tickets.c.merged_into_id).where(*same)).one_or_none()
    if row is None:
        return Deleted(0, (), done=True)
    number, into_id = row
    if into_id is not None:
        deleted = _delete_merged(conn, account_id, ticket, into_id, limit)
    else:
        _refuse_sending(conn, account_id, messages.c.ticket_id == ticket.row_id)
        deleted = delete_from_ticket(conn, account_id, ticket.mailbox_id, ticket.row_id, number, limit)
    count(conn, account_id, at, {"tickets_deleted": int(deleted.done), "messages_deleted": deleted.messages})
    return deleted


def delete_written(conn: Connection, account_id: UUID, at: PersonErasure, message: Found) -> Deleted:
    """Delete a message that the person wrote; with the last of its ticket, the ticket. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, message.mailbox_id)
    lock(conn, at)
    deleted = _delete_one(conn, account_id, message.mailbox_id, message.row_id)
    count(conn, account_id, at, {"messages_deleted": deleted.messages, "tickets_deleted": int(deleted.done)})
    return deleted


def rewrite_ticket(conn: Connection, account_id: UUID, at: PersonErasure, ticket: Found, sealed: bytes) -> None:
    """Write a ticket's record anew. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, ticket.mailbox_id)
    lock(conn, at)
    same = tickets.c.account_id == account_id, tickets.c.ticket_id == ticket.row_id, tickets.c.sealed == ticket.sealed
    if not conn.execute(update(tickets).where(*same).values(sealed=sealed)).rowcount:
        raise Conflict("the ticket was changed meanwhile")
    count(conn, account_id, at, {"tickets_rewritten": 1})


def hold_message(conn: Connection, account_id: UUID, at: PersonErasure, message: Found) -> None:
    """Hold a message's mailbox and the erasure, before the message is rewritten.

    Raises Conflict where the message is not as it was, NotFound, PersonBusy where it is being sent.
    """
    mailbox_rows.hold_unfenced(conn, account_id, message.mailbox_id)
    lock(conn, at)
    same = messages.c.account_id == account_id, messages.c.message_id == message.row_id
    _refuse_sending(conn, account_id, messages.c.message_id == message.row_id)
    if conn.execute(select(messages.c.message_id).where(*same, messages.c.sealed == message.sealed)).first() is None:
        raise Conflict("the message was changed meanwhile")


def rewrite_message(
    conn: Connection, account_id: UUID, at: PersonErasure, message: Found, new: Rewritten
) -> list[tuple[UUID, UUID]]:
    """Write a message anew that is held; its identity stays. Return the blob that nothing refers to any more."""
    same = messages.c.account_id == account_id, messages.c.message_id == message.row_id
    values: dict[str, Any] = {"sealed": new.sealed}
    gone = _replace_raw(conn, account_id, message, new.raw, values)
    if new.raw is not None:
        values["altered"] = True
    conn.execute(update(messages).where(*same).values(values))
    theirs = attachments.c.account_id == account_id, attachments.c.message_id == message.row_id
    conn.execute(delete(attachments).where(*theirs))
    insert_attachments(conn, account_id, message.row_id, message.mailbox_id, new.parts)
    if new.outbox_sealed is not None:
        reply = outbox.c.account_id == account_id, outbox.c.message_id == message.row_id
        conn.execute(update(outbox).where(*reply).values(sealed=new.outbox_sealed))
    for was, key in (new.recipients or {}).items():
        one = reply_recipients.c.message_id == message.row_id, reply_recipients.c.address_key == was
        conn.execute(
            update(reply_recipients).where(reply_recipients.c.account_id == account_id, *one).values(address_key=key)
        )
    count(conn, account_id, at, {"messages_rewritten": 1})
    _, sequence = draw_numbers(conn, account_id, events=1)
    told = NewEvent("message.erased", message.mailbox_id, message.ticket_id, message.row_id, "rewritten")
    insert_events(conn, account_id, sequence, [told])
    return gone


def delete_quarantined(conn: Connection, account_id: UUID, at: PersonErasure, row: Found) -> list[tuple[UUID, UUID]]:
    """Delete a quarantined message, and remember its identity. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, row.mailbox_id)
    lock(conn, at)
    owned = raw_chunks.c.account_id == account_id, raw_chunks.c.owner_id == row.row_id
    gone = forget_held(conn, account_id, row.row_id)
    if not gone:
        raise Conflict("the message is not in quarantine any more")
    conn.execute(delete(raw_chunks).where(*owned))
    count(conn, account_id, at, {"quarantine_deleted": 1})
    return [(row.mailbox_id, row.row_id)] if row.raw_place == BLOB else []


def forget_held(conn: Connection, account_id: UUID, quarantine_id: UUID) -> int:
    """Delete a row that is held in quarantine, and remember its identity; return how many that were."""
    held = and_(quarantine.c.quarantine_id == quarantine_id, quarantine.c.status == QuarantineStatus.HELD)
    return forget(conn, quarantine, account_id, held)


def rewrite_quarantined(
    conn: Connection, account_id: UUID, at: PersonErasure, row: Found, new: Rewritten
) -> list[tuple[UUID, UUID]]:
    """As `rewrite_message`, of one in quarantine. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, row.mailbox_id)
    lock(conn, at)
    same = quarantine.c.account_id == account_id, quarantine.c.quarantine_id == row.row_id
    if conn.execute(select(quarantine.c.status).where(*same, quarantine.c.sealed == row.sealed)).first() is None:
        raise Conflict("the message is not in quarantine any more")
    values: dict[str, Any] = {"sealed": new.sealed}
    gone = _replace_raw(conn, account_id, row, new.raw, values)
    conn.execute(update(quarantine).where(*same).values(values))
    count(conn, account_id, at, {"quarantine_rewritten": 1})
    return gone


def end_standing(
    conn: Connection, account_id: UUID, at: PersonErasure, mailbox_id: UUID, keys: Sequence[bytes]
) -> None:
    """Take the person's standing on the tickets of others away. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, mailbox_id)
    lock(conn, at)
    mine = participants.c.account_id == account_id, participants.c.mailbox_id == mailbox_id
    # Who requests a ticket has standing on it: what came since this erasure began is not the erasure's.
    requested = (
        select(tickets.c.ticket_id)
        .where(
            tickets.c.account_id == account_id,
            tickets.c.ticket_id == participants.c.ticket_id,
            tickets.c.requester_key == participants.c.address_key,
        )
        .exists()
    )
    gone = conn.execute(delete(participants).where(*mine, participants.c.address_key.in_(keys), ~requested))
    if gone.rowcount:
        count(conn, account_id, at, {"participants_deleted": gone.rowcount})


def _delete_merged(conn: Connection, account_id: UUID, ticket: Found, into_id: UUID, limit: int) -> Deleted:
    """Delete what a ticket brought that was merged into another one, at last the ticket."""
    brought = messages.c.account_id == account_id, messages.c.ticket_id == into_id
    query = select(messages.c.message_id).where(*brought, messages.c.merged_from_id == ticket.row_id)
    _refuse_sending(conn, account_id, and_(messages.c.ticket_id == into_id, messages.c.merged_from_id == ticket.row_id))
    rows, blobs, count = 0, list[tuple[UUID, UUID]](), 0
    for (message_id,) in conn.execute(query.limit(limit)).all():
        if rows >= limit:
            return Deleted(rows, blobs, done=False, messages=count)
        one = _delete_one(conn, account_id, ticket.mailbox_id, message_id)
        rows, count = rows + one.rows, count + one.messages
        blobs.extend(one.blobs)
    if conn.execute(query.limit(1)).first() is not None:
        return Deleted(rows, blobs, done=False, messages=count)
    return Deleted(rows, blobs, done=True, messages=count)


def _delete_one(conn: Connection, account_id: UUID, mailbox_id: UUID, message_id: UUID) -> Deleted:
    """Delete a message, and of the tickets that it was in those that have none left."""
    same = messages.c.account_id == account_id, messages.c.message_id == message_id
    columns = messages.c.ticket_id, messages.c.merged_from_id, messages.c.raw_place
    row = conn.execute(select(*columns).where(*same)).one_or_none()
    if row is None:
        return Deleted(0, (), done=False)
    ticket_id, from_id, raw_place = row
    _refuse_sending(conn, account_id, messages.c.message_id == message_id)
    rows = delete_message(conn, account_id, mailbox_id, message_id)
    told = [NewEvent("message.erased", mailbox_id, ticket_id, message_id, "deleted")]
    left = select(messages.c.message_id).where(messages.c.account_id == account_id, messages.c.ticket_id == ticket_id)
    empty = conn.execute(left.limit(1)).first() is None
    emptied = [ticket_id] if empty else []
    if from_id is not None and conn.execute(left.where(messages.c.merged_from_id == from_id).limit(1)).first() is None:
        emptied.insert(0, from_id)
    for one in emptied:
        number = conn.execute(
            select(tickets.c.number).where(tickets.c.account_id == account_id, tickets.c.ticket_id == one)
        ).scalar_one_or_none()
        if number is not None:
            rows += delete_ticket(conn, account_id, one)
            told.append(NewEvent("ticket.erased", mailbox_id, one, detail=str(number)))
    _, sequence = draw_numbers(conn, account_id, events=len(told))
    insert_events(conn, account_id, sequence, told)
    blobs = [(mailbox_id, message_id)] if raw_place == BLOB else []
    return Deleted(rows, blobs, done=bool(emptied), messages=1)


def _replace_raw(
    conn: Connection, account_id: UUID, row: Found, raw: Raw | None, values: dict[str, Any]
) -> list[tuple[UUID, UUID]]:
    if raw is None:
        return []
    owned = raw_chunks.c.account_id == account_id, raw_chunks.c.owner_id == row.row_id
    conn.execute(delete(raw_chunks).where(*owned))
    insert_chunks(conn, account_id, [(row.row_id, row.mailbox_id, raw)])
    values |= {"size_bytes": raw.size_bytes, "chunks": raw.chunks, "raw_place": raw.place}
    return [(row.mailbox_id, row.row_id)] if row.raw_place == BLOB else []


def _refuse_sending(conn: Connection, account_id: UUID, which: Any) -> None:
    """Raise PersonBusy where one of these messages is being sent just now."""
    here = messages.join(
        outbox, and_(outbox.c.account_id == messages.c.account_id, outbox.c.message_id == messages.c.message_id)
    )
    sending = outbox.c.status == ReplyStatus.SENDING
    query = select(outbox.c.message_id).select_from(here).where(messages.c.account_id == account_id, which, sending)
    if conn.execute(query.limit(1)).first() is not None:
        raise PersonBusy
