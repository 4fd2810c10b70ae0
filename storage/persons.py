"""The erasure of a person within an account: the intent, how far it has come, and what each of its steps writes.

A step's transaction holds the mailbox that it writes for, and then the erasure's own row, at the place where the step
began: of two processes at the same erasure, the second one finds it moved, and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from storage import accounts as account_rows
from storage import mailboxes as mailbox_rows
from storage.accounts import draw_numbers
from storage.database import now, wake
from storage.errors import Conflict, NotFound
from storage.events import NewEvent, insert_events
from storage.expiry import Deleted, delete_from_ticket, delete_message, delete_ticket, forget
from storage.mailboxes import is_readable
from storage.messages import BLOB, NewAttachment, Raw, insert_attachments, insert_chunks
from storage.outbox import ReplyStatus
from storage.quarantine import QuarantineStatus
from storage.tables import (
    accounts,
    attachments,
    mailboxes,
    messages,
    outbox,
    participants,
    person_erasures,
    quarantine,
    raw_chunks,
    reply_recipients,
    tickets,
)
from storage.types import Id

STEPS: Final = ("requested", "names", "tickets", "messages", "quarantine", "erased", "done")
"""Of an erasure, in their order: what is looked through at each of them."""
_UNFINISHED_MAX = 20
"""Of one account: each reads all of its mail."""


class PersonBusy(Exception):
    """A reply to the person, or in what is to be deleted, is being sent just now: try again later."""


@dataclass(frozen=True, slots=True)
class PersonErasure:
    account_id: UUID
    erasure_id: UUID
    dry_run: bool
    """A preview: it is counted what would be done, and nothing is written."""
    step: str
    address_key: bytes
    """The hash of the address under a key that is derived from the account's."""
    requested_at: datetime
    step_at: datetime
    until_id: UUID
    """What came later than this id stays."""
    after_id: UUID | None
    """How far the step has come."""
    checked: int
    total: int
    counts: str
    sealed: bytes | None

    @property
    def done(self) -> dict[str, int]:
        """What was deleted, rewritten or left, by kind."""
        counts: dict[str, int] = json.loads(self.counts)
        return counts


@dataclass(frozen=True, slots=True)
class Found:
    """A ticket, a message or a quarantine row that is looked at."""

    row_id: UUID
    mailbox_id: UUID
    sealed: bytes
    ticket_id: UUID | None = None
    direction: str = ""
    chunks: int = 0
    raw_place: str = ""
    merged_from_id: UUID | None = None


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


_COLUMNS = [person_erasures.c[name] for name in PersonErasure.__dataclass_fields__]


def request(
    conn: Connection,
    account_id: UUID,
    erasure_id: UUID,
    *,
    address_key: bytes,
    until_id: UUID,
    sealed: bytes,
    dry_run: bool,
) -> UUID:
    """Write the intent; return its id, or that of the same one that is under way.

    Raises NotFound, Conflict where the account is held or has too many under way.
    """
    account_rows.hold_still(conn, account_id)
    if account_rows.get_account(conn, account_id).held_since is not None and not dry_run:
        raise Conflict("the account is held: release it first")
    mine = person_erasures.c.account_id == account_id, person_erasures.c.step != "done"
    columns = person_erasures.c.erasure_id, person_erasures.c.address_key, person_erasures.c.dry_run
    unfinished = conn.execute(select(*columns).where(*mine)).all()
    for other_id, other_key, is_dry in unfinished:
        if bytes(other_key) == address_key and is_dry == dry_run:
            return UUID(str(other_id))
    if len(unfinished) >= _UNFINISHED_MAX:
        raise Conflict(f"{_UNFINISHED_MAX} erasures of persons are under way in this account: wait for one of them")
    _insert(conn, account_id, erasure_id, address_key, until_id, sealed, dry_run=dry_run)
    return erasure_id


def request_again(conn: Connection, account_id: UUID, erasure_id: UUID, address_key: bytes, until_id: UUID) -> bool:
    """Write an intent that a restored copy of the database does not have; return whether it was missing.

    Raises NotFound for an account that is gone.
    """
    account_rows.hold_still(conn, account_id)
    try:
        get_erasure(conn, account_id, erasure_id)
    except NotFound:
        _insert(conn, account_id, erasure_id, address_key, until_id, None, dry_run=False)
        return True
    return False


def _insert(
    conn: Connection,
    account_id: UUID,
    erasure_id: UUID,
    address_key: bytes,
    until_id: UUID,
    sealed: bytes | None,
    *,
    dry_run: bool,
) -> None:
    at = now(conn)
    conn.execute(
        insert(person_erasures).values(
            account_id=account_id,
            erasure_id=erasure_id,
            dry_run=dry_run,
            step="requested",
            address_key=address_key,
            requested_at=at,
            step_at=at,
            until_id=until_id,
            checked=0,
            total=0,
            counts="{}",
            sealed=sealed,
        )
    )
    wake(conn, "erasures")


def get_erasure(conn: Connection, account_id: UUID, erasure_id: UUID) -> PersonErasure:
    """Raises NotFound."""
    same = person_erasures.c.account_id == account_id, person_erasures.c.erasure_id == erasure_id
    row = conn.execute(select(*_COLUMNS).where(*same)).one_or_none()
    if row is None:
        raise NotFound(f"no erasure {erasure_id}")
    return PersonErasure(*row)


def list_unfinished(conn: Connection) -> list[PersonErasure]:
    """Return those of all accounts that are open, oldest first."""
    mine = person_erasures.join(accounts, accounts.c.account_id == person_erasures.c.account_id)
    query = select(*_COLUMNS).select_from(mine)
    query = query.where(person_erasures.c.step != "done", accounts.c.status.in_(account_rows.OPEN))
    return [PersonErasure(*row) for row in conn.execute(query.order_by(person_erasures.c.erasure_id))]


def count_all(conn: Connection, account_id: UUID) -> int:
    """Return how many rows an erasure looks at: messages twice, first for names."""
    total = 0
    for table, times in ((tickets, 1), (messages, 2), (quarantine, 1)):
        query = select(func.count()).select_from(table).where(table.c.account_id == account_id)
        total += times * conn.execute(query).scalar_one()
    return total


def advance(
    conn: Connection,
    account_id: UUID,
    at: PersonErasure,
    *,
    step: str,
    after_id: UUID | None = None,
    checked: int = 0,
    counts: Mapping[str, int] | None = None,
    total: int | None = None,
    sealed: bytes | None = None,
) -> PersonErasure:
    """Let the erasure stand at a step and a place in it, with so many more rows `checked`. Raises Conflict."""
    _lock(conn, at)
    values: dict[str, Any] = {"step": step, "after_id": after_id, "checked": person_erasures.c.checked + checked}
    if step != at.step:
        values["step_at"] = now(conn)
    if total is not None:
        values |= {"total": total, "checked": 0}
    if sealed is not None:
        values["sealed"] = sealed
    if step == "done":
        values["sealed"] = None
    conn.execute(update(person_erasures).where(_same(at)).values(values))
    if counts:
        _count(conn, at, counts)
    if step != at.step:
        wake(conn, "erasures")
    return get_erasure(conn, account_id, at.erasure_id)


def page_of_tickets(conn: Connection, account_id: UUID, after: UUID, until: UUID, limit: int) -> list[Found]:
    """Return up to `limit` tickets whose ids lie behind `after`, and not behind `until`."""
    place = {"of_account": account_id, "after": after, "until": until, "most": limit}
    return [Found(*row) for row in conn.execute(_TICKETS, place)]


def page_of_messages(conn: Connection, account_id: UUID, after: UUID, until: UUID, limit: int) -> list[Found]:
    """As `page_of_tickets`."""
    place = {"of_account": account_id, "after": after, "until": until, "most": limit}
    return [Found(*row) for row in conn.execute(_MESSAGES, place)]


def page_of_quarantine(conn: Connection, account_id: UUID, after: UUID, until: UUID, limit: int) -> list[Found]:
    """As `page_of_tickets`; those that still have their bytes."""
    place = {"of_account": account_id, "after": after, "until": until, "most": limit}
    rows = conn.execute(_QUARANTINE, place)
    return [Found(one[0], one[1], one[2], chunks=one[3], raw_place=one[4]) for one in rows]


def tickets_by_id(conn: Connection, account_id: UUID, ticket_ids: Sequence[UUID]) -> list[Found]:
    """Return those of an account's tickets that there are."""
    columns = tickets.c.ticket_id, tickets.c.mailbox_id, tickets.c.sealed
    query = select(*columns).where(tickets.c.account_id == account_id, tickets.c.ticket_id.in_(ticket_ids))
    return [Found(*row) for row in conn.execute(query)]


def delete_requested(conn: Connection, account_id: UUID, at: PersonErasure, ticket: Found, limit: int) -> Deleted:
    """Delete some of a ticket that the person requested, at last the ticket. Raises Conflict, NotFound, PersonBusy."""
    mailbox_rows.hold_unfenced(conn, account_id, ticket.mailbox_id)
    _lock(conn, at)
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
    _count(conn, at, {"tickets_deleted": int(deleted.done), "messages_deleted": deleted.messages})
    return deleted


def delete_written(conn: Connection, account_id: UUID, at: PersonErasure, message: Found) -> Deleted:
    """Delete a message that the person wrote; with the last of its ticket, the ticket. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, message.mailbox_id)
    _lock(conn, at)
    deleted = _delete_one(conn, account_id, message.mailbox_id, message.row_id)
    _count(conn, at, {"messages_deleted": deleted.messages, "tickets_deleted": int(deleted.done)})
    return deleted


def rewrite_ticket(conn: Connection, account_id: UUID, at: PersonErasure, ticket: Found, sealed: bytes) -> None:
    """Write a ticket's record anew. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, ticket.mailbox_id)
    _lock(conn, at)
    same = tickets.c.account_id == account_id, tickets.c.ticket_id == ticket.row_id, tickets.c.sealed == ticket.sealed
    if not conn.execute(update(tickets).where(*same).values(sealed=sealed)).rowcount:
        raise Conflict("the ticket was changed meanwhile")
    _count(conn, at, {"tickets_rewritten": 1})


def hold_message(conn: Connection, account_id: UUID, at: PersonErasure, message: Found) -> None:
    """Hold a message's mailbox and the erasure, before the message is rewritten.

    Raises Conflict where the message is not as it was, NotFound, PersonBusy where it is being sent.
    """
    mailbox_rows.hold_unfenced(conn, account_id, message.mailbox_id)
    _lock(conn, at)
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
    _count(conn, at, {"messages_rewritten": 1})
    _, sequence = draw_numbers(conn, account_id, events=1)
    told = NewEvent("message.erased", message.mailbox_id, message.ticket_id, message.row_id, "rewritten")
    insert_events(conn, account_id, sequence, [told])
    return gone


def count(conn: Connection, account_id: UUID, at: PersonErasure, more: Mapping[str, int]) -> None:
    """Add to the counts of an erasure that is held."""
    assert at.account_id == account_id
    _count(conn, at, more)


def delete_quarantined(conn: Connection, account_id: UUID, at: PersonErasure, row: Found) -> list[tuple[UUID, UUID]]:
    """Delete a quarantined message, and remember its identity. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, row.mailbox_id)
    _lock(conn, at)
    owned = raw_chunks.c.account_id == account_id, raw_chunks.c.owner_id == row.row_id
    gone = forget_held(conn, account_id, row.row_id)
    if not gone:
        raise Conflict("the message is not in quarantine any more")
    conn.execute(delete(raw_chunks).where(*owned))
    _count(conn, at, {"quarantine_deleted": 1})
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
    _lock(conn, at)
    same = quarantine.c.account_id == account_id, quarantine.c.quarantine_id == row.row_id
    if conn.execute(select(quarantine.c.status).where(*same, quarantine.c.sealed == row.sealed)).first() is None:
        raise Conflict("the message is not in quarantine any more")
    values: dict[str, Any] = {"sealed": new.sealed}
    gone = _replace_raw(conn, account_id, row, new.raw, values)
    conn.execute(update(quarantine).where(*same).values(values))
    _count(conn, at, {"quarantine_rewritten": 1})
    return gone


def end_standing(
    conn: Connection, account_id: UUID, at: PersonErasure, mailbox_id: UUID, keys: Sequence[bytes]
) -> None:
    """Take the person's standing on the tickets of others away. Raises Conflict, NotFound."""
    mailbox_rows.hold_unfenced(conn, account_id, mailbox_id)
    _lock(conn, at)
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
        _count(conn, at, {"participants_deleted": gone.rowcount})


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


def _lock(conn: Connection, at: PersonErasure) -> None:
    after = person_erasures.c.after_id
    place = after.is_(None) if at.after_id is None else after == at.after_id
    query = select(person_erasures.c.erasure_id).where(_same(at), person_erasures.c.step == at.step, place)
    if conn.execute(query.with_for_update()).first() is None:
        raise Conflict("another process goes on with this erasure")


def _same(at: PersonErasure) -> Any:
    return and_(person_erasures.c.account_id == at.account_id, person_erasures.c.erasure_id == at.erasure_id)


def _count(conn: Connection, at: PersonErasure, more: Mapping[str, int]) -> None:
    counts = get_erasure(conn, at.account_id, at.erasure_id).done
    for kind, number in more.items():
        if number:
            counts[kind] = counts.get(kind, 0) + number
    conn.execute(update(person_erasures).where(_same(at)).values(counts=json.dumps(counts, sort_keys=True)))


def _of_mailbox(table: Any) -> Any:
    same = and_(mailboxes.c.account_id == table.c.account_id, mailboxes.c.mailbox_id == table.c.mailbox_id)
    return table.join(mailboxes, same)


def _page(table: Any, id_column: str, *columns: str) -> Any:
    row_id = table.c[id_column]
    return (
        select(row_id, table.c.mailbox_id, table.c.sealed, *(table.c[name] for name in columns))
        .select_from(_of_mailbox(table))
        .where(
            table.c.account_id == bindparam("of_account"),
            row_id > bindparam("after", type_=Id),
            row_id <= bindparam("until", type_=Id),
            is_readable(),
        )
        .order_by(row_id)
        .limit(bindparam("most"))
    )


_TICKETS = _page(tickets, "ticket_id")
_MESSAGES = _page(messages, "message_id", "ticket_id", "direction", "chunks", "raw_place", "merged_from_id")
_QUARANTINE = _page(quarantine, "quarantine_id", "chunks", "raw_place").where(
    quarantine.c.status == QuarantineStatus.HELD
)
