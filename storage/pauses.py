"""What stops the work on mailboxes for a while: a person pauses one, or the operator suspends all of an account."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, CursorResult, case, func, literal, update

from storage.database import now, wake
from storage.mailboxes import UNTROUBLED, MailboxState, hold_unfenced, is_mailbox
from storage.tables import mailboxes


def pause(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Close the mailbox for new work until it is resumed; return False where it was paused before.

    Its fence stays, so that its worker can write what became of a mail that was on its way. Raises NotFound.
    """
    mailbox = hold_unfenced(conn, account_id, mailbox_id)
    if MailboxState.PAUSED in {mailbox.state, mailbox.resumes_as}:
        return False
    values: dict[str, Any] = {"state": MailboxState.PAUSED, "state_since": now(conn), **UNTROUBLED}
    if mailbox.state is MailboxState.SUSPENDED:
        values = {"resumes_as": MailboxState.PAUSED}
    conn.execute(update(mailboxes).where(is_mailbox(account_id, mailbox_id)).values(**values))
    wake(conn, "mailboxes")
    return True


def resume(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Open a paused mailbox for work; it goes on where it stopped, or once its account is resumed. Return False where
    it was not paused. Raises NotFound."""
    mailbox = hold_unfenced(conn, account_id, mailbox_id)
    if mailbox.resumes_as is MailboxState.PAUSED:
        conn.execute(update(mailboxes).where(is_mailbox(account_id, mailbox_id)).values(resumes_as=MailboxState.ACTIVE))
        return True
    if mailbox.state is not MailboxState.PAUSED:
        return False
    conn.execute(
        update(mailboxes)
        .where(is_mailbox(account_id, mailbox_id))
        # A worker that has not noticed the pause yet must not go on beside the next one.
        .values(
            state=MailboxState.ACTIVE,
            state_since=now(conn),
            **UNTROUBLED,
            fence=mailboxes.c.fence + 1,
            worker_id=None,
        )
    )
    wake(conn, "mailboxes")
    return True


def suspend_all(conn: Connection, account_id: UUID) -> int:
    """Close an account's mailboxes for new work until it is resumed; return how many. Their fences stay, as in `pause`.

    Call it before the account's own row is written, and again behind that: a mailbox that was being linked meanwhile
    held that row. A worker holds them in the same order.
    """
    kept = mailboxes.c.state.in_((MailboxState.PAUSED, MailboxState.REAUTH_REQUIRED))
    return _stopped(
        conn.execute(
            update(mailboxes)
            .where(
                mailboxes.c.account_id == account_id,
                mailboxes.c.state.not_in((MailboxState.SUSPENDED, MailboxState.DISCONNECTING)),
            )
            .values(
                state=MailboxState.SUSPENDED,
                state_since=now(conn),
                resumes_as=case((kept, mailboxes.c.state), else_=literal(MailboxState.ACTIVE.value)),
                **UNTROUBLED,
            )
        ),
        conn,
    )


def resume_all(conn: Connection, account_id: UUID) -> list[UUID]:
    """Let the mailboxes of an account be what they were when it was suspended; return those that are worked on now."""
    rows = conn.execute(
        update(mailboxes)
        .where(mailboxes.c.account_id == account_id, mailboxes.c.state == MailboxState.SUSPENDED)
        # A worker that has not noticed the suspension yet must not go on beside the next one.
        .values(
            state=func.coalesce(mailboxes.c.resumes_as, literal(MailboxState.ACTIVE.value)),
            state_since=now(conn),
            resumes_as=None,
            **UNTROUBLED,
            fence=mailboxes.c.fence + 1,
            worker_id=None,
        )
        .returning(mailboxes.c.mailbox_id, mailboxes.c.state)
    ).all()
    wake(conn, "mailboxes")
    return [mailbox_id for mailbox_id, state in rows if state == MailboxState.ACTIVE]


def _stopped(result: CursorResult[Any], conn: Connection) -> int:
    if result.rowcount:
        wake(conn, "mailboxes")
    return result.rowcount
