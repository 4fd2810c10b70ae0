"""What people do with tickets, as transactions: closing and opening again."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from storage import accounts, events, mailboxes, tickets

_EVENT_OF_STATUS = {"open": "ticket.reopened", "closed": "ticket.closed"}


def set_status(conn: Connection, account_id: UUID, number: int, status: str) -> bool:
    """Set a ticket to `open` or `closed`; return False where it was so already. Raises NotFound."""
    ticket = tickets.get_ticket(conn, account_id, number)
    mailboxes.hold_unfenced(conn, account_id, ticket.mailbox_id)
    # Asked again under the lock: a mail may have reopened it in between.
    if tickets.get_ticket(conn, account_id, number).status == status:
        return False
    tickets.touch_ticket(conn, account_id, ticket.ticket_id, status=status)
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    event = events.NewEvent(_EVENT_OF_STATUS[status], ticket.mailbox_id, ticket.ticket_id)
    events.insert_events(conn, account_id, sequence, [event])
    return True
