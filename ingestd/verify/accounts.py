"""Accounts: what is suspended rests."""

from __future__ import annotations

from sqlalchemy import and_, or_, select

from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.accounts import AccountStatus
from storage.mailboxes import MailboxState
from storage.tables import accounts, mailboxes


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
