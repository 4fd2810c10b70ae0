"""Merged tickets: each leads to one ticket, which has all that was its."""

from __future__ import annotations

from sqlalchemy import exists, select

from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.tables import messages, participants, tickets
from storage.tickets import TicketStatus

_MERGED = tickets.c.merged_into_id.is_not(None)


@stated
def merged_tickets_lead_to_another() -> Statements:
    """A ticket is merged exactly where it names the ticket that it was merged into, which is another one of its
    mailbox and is not merged itself."""
    yield Count(tickets, live(tickets))
    query = select(tickets.c.account_id, tickets.c.ticket_id).where(live(tickets))
    merged = tickets.c.status == TicketStatus.MERGED
    yield Flag(query.where(merged != _MERGED), "its status does not fit what it was merged into")
    into = tickets.alias("into")
    target = exists().where(
        into.c.account_id == tickets.c.account_id,
        into.c.ticket_id == tickets.c.merged_into_id,
        into.c.mailbox_id == tickets.c.mailbox_id,
        into.c.merged_into_id.is_(None),
    )
    yield Flag(query.where(_MERGED, ~target), "what it was merged into is no ticket that can have its mail")


@stated
def merged_tickets_are_empty() -> Statements:
    """A merged ticket has no messages, and nobody has standing on it."""
    yield Count(tickets, live(tickets), _MERGED)
    query = select(tickets.c.account_id, tickets.c.ticket_id).where(live(tickets), _MERGED)
    for table in (messages, participants):
        theirs = exists().where(*same(table, tickets, "ticket_id"))
        yield Flag(query.where(theirs), f"it was merged, and still has {table.name}")


@stated
def merged_messages_are_in_the_target() -> Statements:
    """The messages that came to a merged ticket, at least one, are in the ticket that it was merged into, and no other
    messages say that they came by a merge."""
    yield Count(messages, live(messages), messages.c.merged_from_id.is_not(None))
    theirs = exists().where(*same(messages, tickets, ("ticket_id", "merged_into_id"), ("merged_from_id", "ticket_id")))
    query = select(tickets.c.account_id, tickets.c.ticket_id).where(live(tickets), _MERGED, ~theirs)
    yield Flag(query, "no message of it is in the ticket that it was merged into")
    source = exists().where(*same(tickets, messages, ("ticket_id", "merged_from_id"), ("merged_into_id", "ticket_id")))
    moved = select(messages.c.account_id, messages.c.message_id).where(live(messages), ~source)
    yield Flag(moved.where(messages.c.merged_from_id.is_not(None)), "it came of no ticket merged into its own")
