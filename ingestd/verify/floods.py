"""Nothing lost, and nothing answered: what came beyond a limit is told as such."""

from __future__ import annotations

from sqlalchemy import exists, func, select

from ingestd.verify.log import is_forgotten
from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.tables import events, messages, tickets


@stated
def muted_messages_are_told_as_such() -> Statements:
    """A message is muted exactly where its event is message.muted."""
    yield Count(messages, live(messages))
    told = exists().where(*same(events, messages, "message_id"), events.c.type == "message.muted")
    query = select(messages.c.account_id, messages.c.message_id).where(live(messages))
    untold = query.where(messages.c.muted, ~told, ~is_forgotten(messages, messages.c.created_at))
    yield Flag(untold, "it is muted, and was told as if it were not")
    yield Flag(query.where(~messages.c.muted, told), "it is not muted, and was told as if it were")


@stated
def floods_are_announced() -> Statements:
    """Every ticket to which a muted message came has an event ticket.flooded, or ticket.spam."""
    yield Count(messages, live(messages), messages.c.muted)
    came_to = func.coalesce(messages.c.merged_from_id, messages.c.ticket_id)
    told = exists().where(
        *same(events, messages), events.c.ticket_id == came_to, events.c.type.in_(("ticket.flooded", "ticket.spam"))
    )
    key = (messages.c.account_id, messages.c.ticket_id)
    # The flood's event may be older than this message, but no older than its ticket.
    ticket = select(tickets.c.created_at).where(*same(tickets, messages, "ticket_id"))
    opened = ticket.correlate(messages).scalar_subquery()
    untold = live(messages), messages.c.muted, ~told, ~is_forgotten(messages, opened)
    query = select(*key).where(*untold).group_by(*key).having(func.count() > 0)
    yield Flag(query, "the flood in the ticket was not announced")
