"""Merging tickets: one becomes a part of another one of its mailbox, and only leads there from then on.

There are no chains: what had been merged into the one that is merged now leads to the same target. The caller
holds the mailbox: mail that is taken in, and replies that are queued, see a merge whole or not at all.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, delete, exists, func, select, update

from storage.database import now
from storage.errors import TicketMerged
from storage.tables import messages, participants, tickets
from storage.tickets import Ticket, TicketStatus, get_ticket_by_id, list_by_id


def refuse_merged(conn: Connection, account_id: UUID, ticket: Ticket) -> None:
    """Raises TicketMerged where the ticket was merged: whatever is asked for, its target is to be asked."""
    if ticket.merged_into_id is not None:
        into = get_ticket_by_id(conn, account_id, ticket.merged_into_id)
        raise TicketMerged(f"ticket {ticket.number} was merged into ticket {into.number}")


def merged_into(conn: Connection, account_id: UUID, ticket_id: UUID, limit: int) -> list[Ticket]:
    """Return the first `limit` tickets that were merged into a ticket, in the order of their numbers."""
    mine = tickets.c.account_id == account_id, tickets.c.merged_into_id == ticket_id
    # Not by the number as it is: for its order SQLite goes through all tickets of the account.
    ids = conn.execute(select(tickets.c.ticket_id).where(*mine).order_by(tickets.c.number + 0).limit(limit)).scalars()
    return list_by_id(conn, account_id, list(ids))


def has_more_messages(conn: Connection, account_id: UUID, ticket_id: UUID, than: int) -> bool:
    """Whether a ticket has more messages than so many."""
    mine = messages.c.account_id == account_id, messages.c.ticket_id == ticket_id
    beyond = select(messages.c.message_id).where(*mine).offset(than).limit(1)
    return conn.execute(beyond).first() is not None


def move(conn: Connection, account_id: UUID, source_id: UUID, target_id: UUID) -> int:
    """Give a ticket's messages, standing and pointers to another one, to which it leads from then on; return how
    many messages that were."""
    moved = conn.execute(
        update(messages)
        .where(messages.c.account_id == account_id, messages.c.ticket_id == source_id)
        .values(ticket_id=target_id, merged_from_id=func.coalesce(messages.c.merged_from_id, messages.c.ticket_id))
    )
    _move_standing(conn, account_id, source_id, target_id)
    mine, at = tickets.c.account_id == account_id, now(conn)
    pointing = update(tickets).where(mine, tickets.c.merged_into_id == source_id)
    conn.execute(pointing.values(merged_into_id=target_id, updated_at=at))
    merged = update(tickets).where(mine, tickets.c.ticket_id == source_id)
    conn.execute(merged.values(status=TicketStatus.MERGED, merged_into_id=target_id, closed_at=at, updated_at=at))
    return moved.rowcount


def _move_standing(conn: Connection, account_id: UUID, source_id: UUID, target_id: UUID) -> None:
    theirs = participants.alias("theirs")
    has_it = exists().where(
        theirs.c.account_id == account_id,
        theirs.c.ticket_id == target_id,
        theirs.c.address_key == participants.c.address_key,
    )
    mine = participants.c.account_id == account_id, participants.c.ticket_id == source_id
    conn.execute(update(participants).where(*mine, ~has_it).values(ticket_id=target_id))
    conn.execute(delete(participants).where(*mine))
