"""Where a backfill can go from where it stands: one table, and the transactions that take these steps."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Trouble
from ingestd.inbound.states import tell
from storage import backfills, mailboxes
from storage.backfills import Backfill
from storage.backfills import BackfillStatus as Status
from storage.database import now
from storage.errors import Conflict, CursorMoved


class BackfillEvent(enum.StrEnum):
    ASK = "ask"
    """A person wants the old mail."""
    STOP = "stop"
    """A person wants no more of it."""
    END = "end"
    """All of it is read."""
    GIVE_UP = "give_up"
    """It failed too often in a row, while new mail could be read."""


class NotSaid(Conflict):
    """Nobody said how far back old mail is to be read, and there is nothing that could go on."""


TABLE: Mapping[tuple[Status, BackfillEvent], Status] = MappingProxyType(
    {
        (Status.RUNNING, BackfillEvent.STOP): Status.STOPPED,
        (Status.RUNNING, BackfillEvent.END): Status.DONE,
        (Status.RUNNING, BackfillEvent.GIVE_UP): Status.FAILED,
        (Status.STOPPED, BackfillEvent.ASK): Status.RUNNING,
        (Status.FAILED, BackfillEvent.ASK): Status.RUNNING,
        (Status.DONE, BackfillEvent.ASK): Status.RUNNING,  # from the begin: what is known already comes in once
    }
)


_NEWS: Mapping[Status, str] = MappingProxyType(
    {Status.DONE: "backfill.done", Status.STOPPED: "backfill.stopped", Status.FAILED: "backfill.failed"}
)


def next_status(status: Status, event: BackfillEvent) -> Status:
    """Return where the event leads. Raises Conflict.

    >>> next_status(Status.STOPPED, BackfillEvent.ASK).value
    'running'
    """
    try:
        return TABLE[status, event]
    except KeyError:
        raise Conflict(f"the backfill is {status}: it cannot {event.replace('_', ' ')} now") from None


def ask(conn: Connection, account_id: UUID, mailbox_id: UUID, *, days: int | None, newest_first: bool) -> None:
    """Have the mail read that came before the mailbox was linked: of so many days before, or all of it.

    One that was stopped or given up goes on where it was, if the same is wanted. Raises NotFound, Conflict
    where it runs.
    """
    mailbox = mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    since = None if days is None else mailbox.created_at - timedelta(days=days)
    found = backfills.find_backfill(conn, account_id, mailbox_id)
    if found is None:
        backfills.insert_backfill(
            conn, account_id, mailbox_id, since=since, before=mailbox.created_at, newest_first=newest_first
        )
    else:
        status = next_status(found.status, BackfillEvent.ASK)
        if found.status is Status.DONE or (found.since, found.newest_first) != (since, newest_first):
            backfills.begin_anew(conn, account_id, mailbox_id, since=since, newest_first=newest_first)
        else:
            backfills.change_status(conn, account_id, mailbox_id, was=found.status, status=status)
    tell(conn, account_id, mailbox_id, "backfill.started")


@dataclass(frozen=True, slots=True)
class Wish:
    """How far back a person wants old mail to be read, and in which order."""

    days: int | None = None
    everything: bool = False
    """Neither: as before."""
    newest_first: bool | None = None
    """None: as before, or as configured."""


def ask_for(conn: Connection, account_id: UUID, mailbox_id: UUID, wish: Wish, *, newest_first: bool) -> None:
    """As `ask`; what the wish leaves open is as it was in one that was stopped or given up, else `newest_first`.

    Raises NotFound, Conflict where it runs, NotSaid where nothing says how far back.
    """
    days = wish.days
    if days is None and not wish.everything:
        before = backfills.find_backfill(conn, account_id, mailbox_id)
        if before is None or before.status is Status.DONE:
            mailboxes.hold_unfenced(conn, account_id, mailbox_id)  # says so where there is no mailbox
            raise NotSaid("nothing was stopped that could go on: say how far back")
        days = None if before.since is None else (before.before - before.since).days
        newest_first = before.newest_first
    if wish.newest_first is not None:
        newest_first = wish.newest_first
    ask(conn, account_id, mailbox_id, days=days, newest_first=newest_first)


def stop(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    """Have no more old mail read; what is in stays. Raises NotFound, Conflict where it does not run."""
    mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    found = backfills.get_backfill(conn, account_id, mailbox_id)
    _leave(conn, found, BackfillEvent.STOP)


def end_backfill(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, cursor_sequence: int, rows_max: int
) -> bool:
    """Forget what was remembered for it, up to `rows_max` rows, and end it with the last of them.

    Return whether it has ended; call it again where not. Raises FenceLost, CursorMoved.
    """
    found = _hold(conn, account_id, mailbox_id, fence, cursor_sequence)
    if backfills.delete_references(conn, account_id, mailbox_id, rows_max) == rows_max:
        return False
    _leave(conn, found, BackfillEvent.END)
    return True


def give_up(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, cursor_sequence: int, trouble: Trouble
) -> None:
    """Let it be. Raises FenceLost, CursorMoved."""
    found = _hold(conn, account_id, mailbox_id, fence, cursor_sequence)
    backfills.note_trouble(conn, account_id, mailbox_id, trouble=trouble, retry_at=None)
    _leave(conn, found, BackfillEvent.GIVE_UP, trouble)


def note_trouble(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, trouble: Trouble, retry_in: timedelta
) -> None:
    """Note why it pauses. The mailbox's own state is another matter: its new mail can be read. Raises FenceLost."""
    mailboxes.hold(conn, account_id, mailbox_id, fence)
    backfills.note_trouble(conn, account_id, mailbox_id, trouble=trouble, retry_at=now(conn) + retry_in)


def _hold(conn: Connection, account_id: UUID, mailbox_id: UUID, fence: int, cursor_sequence: int) -> Backfill:
    mailboxes.hold(conn, account_id, mailbox_id, fence)
    found = backfills.get_backfill(conn, account_id, mailbox_id)
    if found.status is not Status.RUNNING or found.cursor_sequence != cursor_sequence:
        raise CursorMoved(f"the backfill of mailbox {mailbox_id} is not at {cursor_sequence}")
    return found


def _leave(conn: Connection, found: Backfill, event: BackfillEvent, detail: str | None = None) -> None:
    status = next_status(found.status, event)
    backfills.change_status(conn, found.account_id, found.mailbox_id, was=found.status, status=status)
    tell(conn, found.account_id, found.mailbox_id, _NEWS[status], detail)
