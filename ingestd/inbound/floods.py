"""Loops and mail bombs: what comes beyond a limit is kept, and nothing comes of it.

Two limits, each within a window of time: how many tickets one sender opens, and how many messages
one ticket gets. A message beyond one of them is *muted*: it opens and reopens nothing, and its event is
another (`message.muted`), so that no helpdesk answers it. An answering machine that meets another one ends there.

What would have opened one ticket too many goes into a ticket that collects the flood, one for each
sender; it is never put into a ticket of that sender's, whose name may be forged. A flood is announced
once, by `ticket.flooded`. It ends when the sender is below the limit again, its muted mail counted.

Times are those of arrival at the mail server: reading what came in over a week is no flood. Merging tickets takes
nothing away and adds nothing: a message counts for the ticket that it came to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.draft import Draft
from ingestd.inbound.intake import MailboxContext
from storage import messages, tickets

SENDER = "sender"
"""Detail of `ticket.flooded`: one sender opened too many tickets."""
TICKET = "ticket"
"""… the ticket got too many messages."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What becomes of a message beyond a limit."""

    limit: str
    """SENDER or TICKET."""
    begins: bool
    """It is the first one: it is announced."""
    ticket_id: UUID | None
    """The ticket that it goes to; None where it opens the one that collects the flood."""


def is_over(times: Iterable[datetime], at: datetime, limit: int, window: timedelta) -> bool:
    """Whether `limit` of these times lie within `window` of `at`, before or behind it: mail is not read in order.

    >>> from datetime import UTC
    >>> noon, hour = datetime(2026, 3, 1, 12, tzinfo=UTC), timedelta(hours=1)
    >>> is_over([noon, noon - timedelta(minutes=59)], noon, 2, hour), is_over([noon, noon - hour], noon, 2, hour)
    (True, False)
    """
    return sum(abs(time - at) < window for time in times) >= limit > 0


def flood_of(
    conn: Connection, context: MailboxContext, draft: Draft, ticket_id: UUID | None, requester_key: bytes, at: datetime
) -> Flood | None:
    """Return what becomes of a message that joins a ticket, or opens one (None); None below the limit."""
    if ticket_id is not None:
        return _of_ticket(conn, context, draft, ticket_id, at)
    return _of_sender(conn, context, draft, requester_key, at)


def _of_ticket(conn: Connection, context: MailboxContext, draft: Draft, ticket_id: UUID, at: datetime) -> Flood | None:
    limit = context.rules.ticket_messages_max
    received = _received(conn, context, draft, ticket_id) if limit else []
    if not is_over((time for time, _ in received), at, limit, context.rules.window):
        return None
    return Flood(TICKET, begins=not received[0][1], ticket_id=ticket_id)


def _of_sender(
    conn: Connection, context: MailboxContext, draft: Draft, requester_key: bytes, at: datetime
) -> Flood | None:
    limit = context.rules.sender_tickets_max
    if not limit:
        return None
    opened = draft.openings.get(requester_key)
    if opened is None:
        opened = tickets.openings(conn, context.account_id, context.mailbox_id, requester_key, limit)
        draft.openings[requester_key] = opened
    collecting = opened[0] if opened and opened[0].muted else None
    times = [one.received_at for one in opened[:limit] if one is not collecting]
    if collecting is not None:
        times += [time for time, _ in _received(conn, context, draft, collecting.ticket_id)]
    if not is_over(times, at, limit, context.rules.window):
        return None
    return Flood(SENDER, begins=collecting is None, ticket_id=collecting.ticket_id if collecting else None)


def foresee_openings(
    conn: Connection, context: MailboxContext, draft: Draft, requester_keys: Collection[bytes]
) -> None:
    """Ask together which of some senders have opened anything; most have not."""
    if context.rules.sender_tickets_max and len(requester_keys) > 1:
        known = tickets.requesters_among(conn, context.account_id, context.mailbox_id, requester_keys)
        draft.openings.update({key: [] for key in requester_keys if key not in known})


def note(draft: Draft, requester_key: bytes, ticket_id: UUID, at: datetime, *, opened: bool, muted: bool) -> None:
    """Count a message that is being written, for those that come after it in the same batch."""
    if opened:
        draft.received[ticket_id] = []
        if requester_key in draft.openings:
            draft.openings[requester_key].insert(0, tickets.Opening(ticket_id, at, muted))
    if ticket_id in draft.received:
        draft.received[ticket_id].insert(0, (at, muted))


def _received(conn: Connection, context: MailboxContext, draft: Draft, ticket_id: UUID) -> list[tuple[datetime, bool]]:
    found = draft.received.get(ticket_id)
    if found is None:
        most = max(context.rules.ticket_messages_max, context.rules.sender_tickets_max)
        found = messages.recently_received(conn, context.account_id, ticket_id, most)
        draft.received[ticket_id] = found
    return found
