"""Asking for a mailbox to be forgotten: the intent, written by the command line, the API, or after a restore."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from sqlalchemy import Connection

from storage import accounts, erasures, events, mailboxes
from storage.erasures import Erasure
from storage.errors import NotFound


def request_disconnect(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Step 1: close the mailbox for all work. Returns False if it was requested before. Raises NotFound."""
    if not mailboxes.start_disconnect(conn, account_id, mailbox_id):
        return False
    erasures.insert_erasure(conn, account_id, mailbox_id)
    tell(conn, account_id, mailbox_id, "mailbox.disconnected")
    return True


def disconnect_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Erasure:
    """Step 1, asked for as often as you like, also once the mailbox is forgotten; return how far it has come.

    Raises NotFound where there never was such a mailbox.
    """
    with suppress(NotFound):
        request_disconnect(conn, account_id, mailbox_id)
    return erasures.get_erasure(conn, account_id, mailbox_id)


def tell(conn: Connection, account_id: UUID, mailbox_id: UUID, event: str) -> None:
    """Write one event about the mailbox; last in its transaction, as it draws a number."""
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    events.insert_events(conn, account_id, sequence, [events.NewEvent(event, mailbox_id)])
