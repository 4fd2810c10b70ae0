"""What a failure says about a mailbox: from troubles to states by one table, and the writing of what was found.

Nothing is concluded from one failed login. A blip that the next attempt ends is no news at
all; what a person must change at the provider counts once it was found twice, with a pause
in between. Two things are believed at once: that the grant is gone, as only the token
endpoint says so, and a provider's wish that we wait.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import Connection

from config import Backoff
from connectors.base import AuthError, ConnectorError, PermanentError, RateLimited, Trouble
from storage import accounts, events, mailboxes, outbox, pauses
from storage.database import wake
from storage.mailboxes import MailboxState

_NEWS_AFTER = 2
"""Failures in a row that make a mailbox failing."""
_CONFIRMED_AFTER = 2
"""Equal verdicts in a row that make a mailbox blocked."""
_BLOCKED_JITTER = 0.2
_DOUBLINGS_MAX = 30


class Pace(enum.StrEnum):
    """When a mailbox in trouble is tried again."""

    BACKOFF = "backoff"
    """After a pause that grows, or the one that the provider asked for."""
    SLOWLY = "slowly"
    """Now and then: a person must act, and nobody tells us when that is done."""
    NEVER = "never"
    """Not before it was linked again."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a trouble leads to, once it is sure."""

    state: MailboxState
    pace: Pace


COURSES: Mapping[Trouble, Course] = MappingProxyType(
    {
        Trouble.TOKEN_EXPIRED: Course(MailboxState.FAILING, Pace.BACKOFF),
        Trouble.GRANT_REVOKED: Course(MailboxState.REAUTH_REQUIRED, Pace.NEVER),
        Trouble.CONSENT_OR_MFA: Course(MailboxState.REAUTH_REQUIRED, Pace.NEVER),
        Trouble.ADMIN_BLOCKED: Course(MailboxState.BLOCKED, Pace.SLOWLY),
        Trouble.PROTOCOL_DISABLED: Course(MailboxState.BLOCKED, Pace.SLOWLY),
        Trouble.WRONG_MAILBOX: Course(MailboxState.BLOCKED, Pace.SLOWLY),
        Trouble.THROTTLED: Course(MailboxState.THROTTLED, Pace.BACKOFF),
        Trouble.TRANSIENT: Course(MailboxState.FAILING, Pace.BACKOFF),
    }
)

NEEDS_LINKING = frozenset(trouble for trouble, course in COURSES.items() if course.pace is Pace.NEVER)
"""Troubles that only a new consent of the mailbox's owner ends."""

_NEWS = {
    MailboxState.ACTIVE: "mailbox.recovered",
    MailboxState.FAILING: "mailbox.warning",
    MailboxState.THROTTLED: "mailbox.throttled",
    MailboxState.BLOCKED: "mailbox.blocked",
    MailboxState.REAUTH_REQUIRED: "mailbox.reauth_required",
}


@dataclass(frozen=True, slots=True)
class Streak:
    """The failures of a mailbox since it last worked."""

    failures: int = 0
    """A provider's wish that we wait is none: it begins a new streak."""
    suspected: int = 0
    """The last ones that hinted at something for a person, and may pass by themselves all the same."""
    verdict: Trouble | None = None
    """What the last one said for certain."""
    verdicts: int = 0
    """How often in a row it was said."""

    def refused(self, error: ConnectorError) -> Streak:
        """Count what the mail server said."""
        return dataclasses.replace(
            self, failures=self.failures + 1, suspected=self.suspected + 1 if is_suspicion(error) else 0
        )

    def judged(self, error: ConnectorError) -> Streak:
        """Count what it means, after the provider was asked where that was needed."""
        if isinstance(error, RateLimited):
            return Streak()
        if not isinstance(error, PermanentError):
            return dataclasses.replace(self, verdict=None, verdicts=0)
        again = error.trouble is self.verdict
        return dataclasses.replace(self, verdict=error.trouble, verdicts=self.verdicts + 1 if again else 1)

    @property
    def confirmed(self) -> bool:
        return self.verdicts >= _CONFIRMED_AFTER


def is_suspicion(error: ConnectorError) -> bool:
    """Whether an error that may pass names something that only a person can change (Microsoft's
    "authenticated but not connected").

    >>> is_suspicion(PermanentError("for certain", trouble=Trouble.WRONG_MAILBOX))
    False
    """
    return not isinstance(error, PermanentError) and COURSES[error.trouble].state is MailboxState.BLOCKED


def must_ask(error: ConnectorError, streak: Streak, suspicions_max: int) -> bool:
    """Whether the provider has to be asked what a refusal means.

    >>> must_ask(AuthError("the fresh token, too"), Streak(failures=1), 3)
    True
    """
    return isinstance(error, AuthError) or streak.suspected > suspicions_max


def state_after(before: MailboxState, streak: Streak, error: ConnectorError) -> MailboxState | None:
    """Return the state that a failure leads to; None where it is no news (yet).

    >>> state_after(MailboxState.ACTIVE, Streak(failures=1), AuthError("refused")) is None
    True
    >>> state_after(MailboxState.ACTIVE, Streak(failures=2), AuthError("refused")).value
    'failing'
    """
    course = COURSES[error.trouble]
    if course.pace is Pace.NEVER or isinstance(error, RateLimited):
        return course.state
    if before is MailboxState.BLOCKED:
        # A server that is away for a moment says nothing about what a person has yet to change.
        return MailboxState.BLOCKED if streak.confirmed else None
    if streak.failures < _NEWS_AFTER:
        return None
    if course.state is MailboxState.BLOCKED and not streak.confirmed:
        return MailboxState.FAILING
    return course.state


def pause_after(
    streak: Streak, error: Exception, attempts: int, backoff: Backoff, *, blocked_seconds: float, jitter: float
) -> float:
    """Return the seconds until the next attempt.

    `attempts` counts from 1; `jitter` is a random share from 0 to 1. A provider that named a time
    never sees us before it.
    """
    if isinstance(error, PermanentError) and streak.confirmed:
        return blocked_seconds * (1 - _BLOCKED_JITTER * jitter)
    pause = backoff_seconds(backoff, attempts, jitter)
    return max(pause, error.retry_after) if isinstance(error, RateLimited) else pause


def backoff_seconds(backoff: Backoff, attempts: int, jitter: float) -> float:
    """Return the pause after so many attempts (from 1): doubled each time, up to the limit, less up to a half.

    >>> [backoff_seconds(Backoff(initial_seconds=2, max_seconds=10), attempts, 0.0) for attempts in (1, 2, 3, 4)]
    [2.0, 4.0, 8.0, 10.0]
    """
    longest = min(backoff.max_seconds, backoff.initial_seconds * 2 ** min(attempts - 1, _DOUBLINGS_MAX))
    return float(longest * (1 - jitter / 2))


# -- what is written down --------------------------------------------------------------------------


def change_state(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    state: MailboxState,
    trouble: Trouble | None = None,
    reason: str | None = None,
    retry_in: timedelta | None = None,
) -> bool:
    """Write what was found out about a mailbox, with an event where it is news; return whether it was."""
    changed = mailboxes.set_state(
        conn, account_id, mailbox_id, fence=fence, state=state, trouble=trouble, reason=reason, retry_in=retry_in
    )
    if changed:
        tell(conn, account_id, mailbox_id, _NEWS[state], trouble)
        wake(conn, "mailboxes")  # its process may have to let go of it
    return changed


def note_failure(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    streak: Streak,
    error: ConnectorError,
    retry_in: timedelta,
) -> MailboxState | None:
    """Write what a failure means for the mailbox; return its new state, None where it stays what it was."""
    before = mailboxes.get_mailbox(conn, account_id, mailbox_id).state
    state = state_after(before, streak, error)
    if state is None:
        mailboxes.set_retry(conn, account_id, mailbox_id, fence=fence, retry_in=retry_in)
        return None
    waits = COURSES[error.trouble].pace is Pace.NEVER
    changed = change_state(
        conn,
        account_id,
        mailbox_id,
        fence=fence,
        state=state,
        trouble=error.trouble,
        reason=str(error),
        retry_in=None if waits else retry_in,
    )
    return state if changed else None


def note_sending(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    streak: Streak,
    error: ConnectorError | None,
    retry_in: timedelta | None,
) -> bool:
    """Write whether replies can be sent, which can fail where reading works; with an event where it is news.

    A lost grant ends both. None for `error` means that it works. Return whether it was news.
    """
    if error is not None and COURSES[error.trouble].pace is Pace.NEVER:
        return change_state(
            conn,
            account_id,
            mailbox_id,
            fence=fence,
            state=COURSES[error.trouble].state,
            trouble=error.trouble,
            reason=str(error),
        )
    before = mailboxes.get_mailbox(conn, account_id, mailbox_id)
    trouble, reason = before.send_trouble, before.send_reason
    if error is None:
        trouble = reason = None
    elif state_after(MailboxState.ACTIVE, streak, error) is not None:
        trouble, reason = error.trouble, str(error)
    changed = mailboxes.set_sending(
        conn, account_id, mailbox_id, fence=fence, trouble=trouble, reason=reason, retry_in=retry_in
    )
    if changed:
        tell(conn, account_id, mailbox_id, "mailbox.send_warning" if trouble else "mailbox.send_recovered", trouble)
    return changed


def note_repair(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, recovered: int) -> None:
    """Say that the mailbox was read anew, and how many messages that brought which would have been missed."""
    mailboxes.hold(conn, account_id, mailbox_id, fence)
    tell(conn, account_id, mailbox_id, "mailbox.repaired", str(recovered))


def pause(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Stop a mailbox until a person resumes it; return False where it was stopped before. Raises NotFound."""
    changed = pauses.pause(conn, account_id, mailbox_id)
    if changed:
        tell(conn, account_id, mailbox_id, "mailbox.paused")
    return changed


def resume(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Let a paused mailbox go on where it stopped; return False where it was not paused. Raises NotFound."""
    changed = pauses.resume(conn, account_id, mailbox_id)
    if changed:
        outbox.make_due(conn, account_id, mailbox_id)
        tell(conn, account_id, mailbox_id, "mailbox.resumed")
    return changed


def tell(conn: Connection, account_id: UUID, mailbox_id: UUID, news: str, detail: str | None = None) -> None:
    """Write an event about a mailbox."""
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    events.insert_events(conn, account_id, sequence, [events.NewEvent(news, mailbox_id, detail=detail)])
