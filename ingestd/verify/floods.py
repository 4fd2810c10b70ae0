"""Nothing lost, and nothing answered: what came beyond a limit is told as such."""

from __future__ import annotations

from sqlalchemy import exists, func, select

from ingestd.verify.log import is_forgotten
from ingestd.verify.look import Look, live, same
from ingestd.verify.report import Findings
from storage.tables import events, messages, tickets


async def muted_messages_are_told_as_such(look: Look, found: Findings) -> None:
    """A message is muted exactly where its event is message.muted."""
    await look.count(found, messages, live(messages))
    told = exists().where(*same(events, messages, "message_id"), events.c.type == "message.muted")
    query = select(messages.c.account_id, messages.c.message_id).where(live(messages))
    untold = query.where(messages.c.muted, ~told, ~is_forgotten(messages, messages.c.created_at))
    await look.flag(found, untold, "it is muted, and was told as if it were not")
    await look.flag(found, query.where(~messages.c.muted, told), "it is not muted, and was told as if it were")


async def floods_are_announced(look: Look, found: Findings) -> None:
    """Every ticket to which a muted message came has an event ticket.flooded, or ticket.spam."""
    await look.count(found, messages, live(messages), messages.c.muted)
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
    await look.flag(found, query, "the flood in the ticket was not announced")
