"""Accounts: what is suspended rests, and of what is closed nothing is left."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select

from config import is_location
from ingestd.verify.look import Look
from ingestd.verify.report import Findings
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage import closures
from storage.accounts import OPEN, AccountStatus
from storage.mailboxes import MailboxState
from storage.tables import accounts, erasure_warnings, erasures, mailboxes


@stated
def suspended_accounts_rest() -> Statements:
    """Every mailbox of a suspended account is suspended, and knows as what it goes on, unless it is being
    disconnected; no other account's mailbox is suspended."""
    yield Count(accounts)
    joined = select(mailboxes.c.account_id, mailboxes.c.mailbox_id).join(
        accounts, accounts.c.account_id == mailboxes.c.account_id
    )
    rests, leaves = mailboxes.c.state == MailboxState.SUSPENDED, mailboxes.c.state == MailboxState.DISCONNECTING
    suspended = accounts.c.status == AccountStatus.SUSPENDED
    yield Flag(joined.where(suspended, ~rests, ~leaves), "the mailbox of a suspended account is worked on")
    yield Flag(joined.where(rests, ~suspended), "the mailbox is suspended, its account is not")
    known = mailboxes.c.resumes_as.in_((MailboxState.ACTIVE, MailboxState.PAUSED, MailboxState.REAUTH_REQUIRED))
    forgotten = and_(rests, or_(~known, mailboxes.c.resumes_as.is_(None)))
    odd = or_(forgotten, and_(~rests, mailboxes.c.resumes_as.is_not(None)))
    yield Flag(joined.where(odd), "the mailbox does not know as what it goes on, or should not")


@stated
def warned_accounts_are_suspended() -> Statements:
    """Only an account that is suspended, and not held, is warned of its erasure; what becomes of it in the end is that
    it is closed."""
    yield Count(erasure_warnings)
    joined = select(erasure_warnings.c.account_id, erasure_warnings.c.days).join(
        accounts, accounts.c.account_id == erasure_warnings.c.account_id
    )
    wrong = or_(accounts.c.status == AccountStatus.ACTIVE, accounts.c.held_since.is_not(None))
    yield Flag(joined.where(wrong), "an account is warned of an erasure that does not come")


async def pins_are_labels(look: Look, found: Findings) -> None:
    """What an account is pinned to is the label of a location: any other one would fit no configuration."""
    async for page in look.pages(look.content, accounts, accounts.c.location.is_not(None)):
        for row in page:
            found.checked += 1
            if not is_location(row.location):
                found.add(row.account_id, row.account_id, "the account is pinned to what is no location")


async def closed_accounts_are_gone(look: Look, found: Findings) -> None:
    """Of a closed account nothing is left but its tombstone: no name, and once its erasure is that far no row of its
    own and no mailbox."""
    closed = accounts.c.status == AccountStatus.CLOSED
    async for page in look.pages(look.content, accounts, closed):
        for row in page:
            found.checked += 1
            if row.sealed:
                found.add(row.account_id, row.account_id, "the name of a closed account is left")
            query = select(erasures.c.step).where(*_own_erasure(), erasures.c.account_id == row.account_id)
            steps = [step for (step,) in await look.rows(query)]
            if steps == ["unreadable"]:
                continue  # on its way
            left = await look.content.read(row.account_id, closures.count_rows)
            for kind, count in sorted(left.items()):
                found.add(row.account_id, row.account_id, f"{count} of {kind} are left of a closed account")


@stated
def accounts_are_closed_by_an_erasure() -> Statements:
    """An account that is closed, or being closed, has an erasure of its own that stands where its status says, and no
    mailbox that is worked on; no other account has one."""
    yield Count(accounts)
    own: Any = (accounts.c.account_id, accounts.c.account_id.label("subject"))
    mine = select(erasures.c.step).where(*_own_erasure(), erasures.c.account_id == accounts.c.account_id)
    asked = erasures.c.step == "requested"
    closing, closed = accounts.c.status == AccountStatus.CLOSING, accounts.c.status == AccountStatus.CLOSED
    yield Flag(select(*own).where(closing, ~mine.where(asked).exists()), "the account is being closed by no erasure")
    yield Flag(select(*own).where(closed, ~mine.where(~asked).exists()), "the account is closed, its erasure is not")
    yield Flag(select(*own).where(accounts.c.status.in_(OPEN), mine.exists()), "an open account is being erased")
    open_ = mailboxes.c.state != MailboxState.DISCONNECTING
    joined = select(mailboxes.c.account_id, mailboxes.c.mailbox_id).join(
        accounts, accounts.c.account_id == mailboxes.c.account_id
    )
    yield Flag(joined.where(or_(closing, closed), open_), "the mailbox of a closed account is open")


def _own_erasure() -> tuple[ColumnElement[bool], ...]:
    return (erasures.c.mailbox_id == erasures.c.account_id,)
