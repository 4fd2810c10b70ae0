"""What the operator does with an account: suspend it when its paid term is over, and resume it.

A mailbox of a suspended account is in a state of its own, which every write that begins something checks in its
transaction: no replica begins anything behind the commit, and each lets go of the mailbox as soon as it hears of it.
What came of a mail that was on its way is still written, as with a mailbox that is paused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from storage import accounts, events, outbox, pauses, suspensions
from storage.accounts import AccountStatus
from storage.errors import Conflict

MEANINGS: Final[Mapping[AccountStatus, str]] = {
    AccountStatus.ACTIVE: "its mailboxes are read and sent from",
    AccountStatus.SUSPENDED: "its mailboxes are neither read nor sent from; everything is kept, and replies wait",
    AccountStatus.CLOSING: "it is being forgotten, mailbox by mailbox",
    AccountStatus.CLOSED: "it is forgotten; its receipt is in the ledger",
}


def suspend(conn: Connection, account_id: UUID) -> bool:
    """Stop all work for an account until it is resumed; return False where it was suspended before.

    Raises NotFound, Conflict where it is being closed.
    """
    if not _is(conn, account_id, AccountStatus.ACTIVE):
        return False
    pauses.suspend_all(conn, account_id)
    _change(conn, account_id, AccountStatus.ACTIVE, AccountStatus.SUSPENDED)
    pauses.suspend_all(conn, account_id)
    tell(conn, account_id, "account.suspended")
    return True


def resume(conn: Connection, account_id: UUID) -> bool:
    """Let a suspended account go on where it stopped; return False where it was not suspended.

    A mailbox that a person had paused stays paused. Raises NotFound, Conflict where it is being closed.
    """
    if not _is(conn, account_id, AccountStatus.SUSPENDED):
        return False
    for mailbox_id in pauses.resume_all(conn, account_id):
        outbox.make_due(conn, account_id, mailbox_id)
    _change(conn, account_id, AccountStatus.SUSPENDED, AccountStatus.ACTIVE)
    pauses.resume_all(conn, account_id)
    suspensions.take_warnings_back(conn, account_id)
    tell(conn, account_id, "account.resumed")
    return True


def hold(conn: Connection, account_id: UUID) -> bool:
    """Keep an account from being erased, by rule or by hand; return False where it was held. Raises NotFound.

    What it was warned of does not come: once it is released, it is warned anew.
    """
    _is(conn, account_id, AccountStatus.ACTIVE)
    if not suspensions.set_hold(conn, account_id, held=True):
        return False
    suspensions.take_warnings_back(conn, account_id)
    return True


def release(conn: Connection, account_id: UUID) -> bool:
    """Take the hold back; return False where there was none. Raises NotFound."""
    return suspensions.set_hold(conn, account_id, held=False)


def tell(conn: Connection, account_id: UUID, news: str, detail: str | None = None) -> None:
    """Write an event about the account itself; last in its transaction, as it draws a number."""
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    events.insert_events(conn, account_id, sequence, [events.NewEvent(news, None, detail=detail)])


def _is(conn: Connection, account_id: UUID, wanted: AccountStatus) -> bool:
    status = accounts.get_account(conn, account_id).status
    if status not in accounts.OPEN:
        raise Conflict("the account is closed, or being closed")
    return status is wanted


def _change(conn: Connection, account_id: UUID, before: AccountStatus, after: AccountStatus) -> None:
    # Its row is written behind those of its mailboxes, as workers do it: somebody may have come in between.
    if not accounts.set_status(conn, account_id, after, before=[before]):
        raise Conflict("the account was changed by somebody else just now")
