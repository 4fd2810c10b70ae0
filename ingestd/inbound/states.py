"""What was found out about a mailbox, written down once, with the event where it is news."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Trouble
from storage import accounts, events, mailboxes
from storage.database import wake
from storage.mailboxes import MailboxState

NEEDS_LINKING = frozenset({Trouble.GRANT_REVOKED, Trouble.CONSENT_OR_MFA})
"""Troubles that only a new consent of the mailbox's owner ends."""
_NEWS = {
    MailboxState.ACTIVE: "mailbox.recovered",
    MailboxState.FAILING: "mailbox.warning",
    MailboxState.BLOCKED: "mailbox.warning",
    MailboxState.REAUTH_REQUIRED: "mailbox.reauth_required",
}


def change_state(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    state: MailboxState,
    trouble: Trouble | None,
    reason: str | None,
) -> bool:
    """Write what was found out about a mailbox, with an event where it is news; return whether it was."""
    before = mailboxes.get_mailbox(conn, account_id, mailbox_id).state
    changed = mailboxes.set_state(
        conn, account_id, mailbox_id, fence=fence, state=state, trouble=trouble, reason=reason
    )
    if state != before:
        news = _NEWS[state]
        _, sequence = accounts.draw_numbers(conn, account_id, events=1)
        events.insert_events(conn, account_id, sequence, [events.NewEvent(news, mailbox_id, detail=trouble)])
    if changed:
        wake(conn, "mailboxes")  # its process may have to let go of it
    return changed
