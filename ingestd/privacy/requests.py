"""Asking for a mailbox, or a whole account, to be forgotten: the intent, written by the command line, the API, or after
a restore."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from sqlalchemy import Connection

from ingestd import account_states
from storage import accounts, closures, erasures, events, mailboxes
from storage.accounts import AccountStatus
from storage.erasures import Erasure
from storage.errors import Conflict, NotFound


def request_disconnect(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Step 1: close the mailbox for all work. Returns False if it was requested before. Raises NotFound."""
    if not close_mailbox(conn, account_id, mailbox_id):
        return False
    tell(conn, account_id, mailbox_id, "mailbox.disconnected")
    return True


def close_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """As `request_disconnect`, without its event: of many mailboxes at once, these come last in the transaction."""
    if not mailboxes.start_disconnect(conn, account_id, mailbox_id):
        return False
    erasures.insert_erasure(conn, account_id, mailbox_id)
    return True


def disconnect_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Erasure:
    """Step 1, asked for as often as you like, also once the mailbox is forgotten; return how far it has come.

    Raises NotFound where there never was such a mailbox.
    """
    with suppress(NotFound):
        request_disconnect(conn, account_id, mailbox_id)
    return erasures.get_erasure(conn, account_id, mailbox_id)


def request_close(conn: Connection, account_id: UUID, cause: str) -> bool:
    """Step 1 of closing an account for good (`ingestd.privacy.closing`). Returns False if it was requested before.

    Raises NotFound, Conflict where it is held.

    `cause` is one of the words of the event: operator, retention or restored.
    """
    account = accounts.get_account(conn, account_id)
    if account.status not in accounts.OPEN:
        return False
    if account.held_since is not None and cause != "restored":
        raise Conflict("the account is held: release it first")
    # Before the account's own row, as workers do it; and again behind it, for one that was being linked meanwhile.
    gone = _close_mailboxes(conn, account_id)
    closures.lock(conn, account_id)
    if not accounts.set_status(conn, account_id, AccountStatus.CLOSING, before=accounts.OPEN):
        return False
    gone += _close_mailboxes(conn, account_id)
    closures.revoke_tokens(conn, account_id)
    erasures.insert_erasure(conn, account_id, account_id)
    _, sequence = accounts.draw_numbers(conn, account_id, events=len(gone))
    events.insert_events(
        conn, account_id, sequence, [events.NewEvent("mailbox.disconnected", mailbox_id) for mailbox_id in gone]
    )
    account_states.tell(conn, account_id, "account.closing", cause)
    return True


def _close_mailboxes(conn: Connection, account_id: UUID) -> list[UUID]:
    linked = [one.mailbox_id for one in mailboxes.list_mailboxes(conn, account_id)]
    return [mailbox_id for mailbox_id in linked if close_mailbox(conn, account_id, mailbox_id)]


def tell(conn: Connection, account_id: UUID, mailbox_id: UUID, event: str) -> None:
    """Write one event about the mailbox; last in its transaction, as it draws a number."""
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    events.insert_events(conn, account_id, sequence, [events.NewEvent(event, mailbox_id)])
