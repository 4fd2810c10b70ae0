"""What the gauges show: how much there is of everything that waits, and since when. Of all accounts together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from storage.access_warnings import count_by_risk
from storage.backfills import UNFINISHED
from storage.database import now
from storage.deliveries import greatest_lag
from storage.edits import count_by_status as count_edits
from storage.erasures import UNFINISHED as UNFINISHED_ERASURE
from storage.mailboxes import WORKED
from storage.outbox import OPEN, ReplyStatus
from storage.tables import accounts, backfills, edits, erasures, mailboxes, messages, outbox, quarantine, workers
from storage.webhooks import count_by_status as count_webhooks


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers and ages at one moment, by the database's clock. Ages are in seconds, never negative."""

    accounts: Mapping[str, int]
    """By status."""
    mailboxes: Mapping[str, int]
    """By state."""
    mailboxes_oldest_seconds: Mapping[str, float]
    """By state: the longest time that one has been in it."""
    mailboxes_in_trouble: Mapping[str, int]
    """By trouble, of reading or of sending; a mailbox that has both counts for both."""
    mailboxes_unheld: int
    """Those that want work and have no worker."""
    read_age_seconds: Mapping[str, float]
    """By state, of those that want work: the longest time since one was read through (or was linked)."""
    folders_missing: int
    """Watched folders that are not there, of mailboxes that want work."""
    access_warnings: Mapping[str, int]
    """By risk; a mailbox that has several counts for each."""
    outbox: Mapping[str, int]
    """By status: replies with which something is still to happen, by itself or by a person."""
    outbox_oldest_seconds: Mapping[str, float]
    """By status, of the same replies: since the oldest was accepted, or was to be sent. Where it is the mailbox's turn,
    only of mailboxes that want work: while one is paused, or waits for its owner, its replies wait as they should."""
    edits: Mapping[str, int]
    """By status."""
    edits_oldest_seconds: Mapping[str, float]
    """By status, of mailboxes that want work: since the oldest one's message was taken."""
    backfills: Mapping[str, int]
    """By status."""
    backfills_oldest_seconds: Mapping[str, float]
    """By status, of the unfinished: since the oldest was asked for, or came to its halt."""
    backfill_remaining_messages: int
    """What the unfinished have before them, as far as the server was asked."""
    unaccounted_messages: int
    """Those on a server that the last audit of their mailbox found neither here nor told of."""
    quarantine_messages: int
    """Those that wait for a person."""
    quarantine_oldest_seconds: float
    """Since the oldest of those was quarantined; 0 where there is none."""
    webhooks: Mapping[str, int]
    """By status."""
    webhook_lag_events: int
    """The most that an enabled webhook was not told yet."""
    webhook_lag_seconds: float
    """The longest time that an enabled one has been waiting for an event; 0 where all were told everything."""
    erasures_waiting: int
    erasures_oldest_seconds: float
    """Since the oldest of those was requested; 0 where there is none."""


_WORKED = mailboxes.c.state.in_(WORKED)


def read_figures(conn: Connection) -> Figures:
    at = now(conn)
    boxes = _mailboxes(conn)
    held, held_since = conn.execute(
        select(func.count(), func.min(quarantine.c.created_at)).where(quarantine.c.status == literal_column("'held'"))
    ).one()
    waiting, requested_at = conn.execute(
        select(func.count(), func.min(erasures.c.requested_at)).where(UNFINISHED_ERASURE)
    ).one()
    lag = greatest_lag(conn)
    return Figures(
        accounts=_counts(conn.execute(select(accounts.c.status, func.count()).group_by(accounts.c.status))),
        mailboxes=boxes.counts,
        mailboxes_oldest_seconds=_ages(at, boxes.since),
        mailboxes_in_trouble=boxes.troubles,
        mailboxes_unheld=boxes.unheld,
        read_age_seconds=_ages(at, boxes.read_since),
        folders_missing=boxes.folders_missing,
        access_warnings=count_by_risk(conn),
        outbox=_counts(conn.execute(select(outbox.c.status, func.count()).where(OPEN).group_by(outbox.c.status))),
        outbox_oldest_seconds=_ages(at, _accepted_since(conn)),
        edits=count_edits(conn),
        edits_oldest_seconds=_ages(at, _taken_since(conn)),
        backfills=_counts(conn.execute(select(backfills.c.status, func.count()).group_by(backfills.c.status))),
        backfills_oldest_seconds=_ages(at, _backfilled_since(conn)),
        backfill_remaining_messages=_remaining(conn),
        unaccounted_messages=boxes.unaccounted,
        quarantine_messages=held,
        quarantine_oldest_seconds=_age(at, held_since) if held_since is not None else 0.0,
        webhooks=count_webhooks(conn),
        webhook_lag_events=lag.events,
        webhook_lag_seconds=_age(at, lag.since) if lag.since is not None else 0.0,
        erasures_waiting=waiting,
        erasures_oldest_seconds=_age(at, requested_at) if requested_at is not None else 0.0,
    )


@dataclass(slots=True)
class _Mailboxes:
    """What is known of all mailboxes together."""

    counts: dict[str, int] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    """By state: when the one entered it that has been in it longest."""
    read_since: dict[str, datetime] = field(default_factory=dict)
    """By state, of those that want work: when the one was read through that waits longest."""
    troubles: dict[str, int] = field(default_factory=dict)
    unheld: int = 0
    folders_missing: int = 0
    unaccounted: int = 0


# By the same rule a worker takes a mailbox (`leases.claim`).
_HELD = exists().where(workers.c.worker_id == mailboxes.c.worker_id)
_MAILBOXES = select(
    mailboxes.c.state,
    mailboxes.c.trouble,
    mailboxes.c.send_trouble,
    func.count(),
    func.min(mailboxes.c.state_since),
    func.min(func.coalesce(mailboxes.c.read_at, mailboxes.c.created_at)),
    func.count(case((~_HELD, 1))),
    # As integers: a sum is of another type on each database.
    cast(func.sum(mailboxes.c.folders_missing), BigInteger),
    cast(func.sum(mailboxes.c.unaccounted), BigInteger),
).group_by(mailboxes.c.state, mailboxes.c.trouble, mailboxes.c.send_trouble)


def _mailboxes(conn: Connection) -> _Mailboxes:
    """Go through all mailboxes, once: nothing else here looks at what is not waiting."""
    found = _Mailboxes()
    for state, trouble, send_trouble, count, since, read_since, unheld, missing, unaccounted in conn.execute(
        _MAILBOXES
    ):
        found.counts[state] = found.counts.get(state, 0) + count
        found.since[state] = min(since, found.since.get(state, since))
        found.unaccounted += unaccounted
        for word in {trouble, send_trouble} - {None}:
            found.troubles[word] = found.troubles.get(word, 0) + count
        if state in WORKED:
            found.read_since[state] = min(read_since, found.read_since.get(state, read_since))
            found.unheld += unheld
            found.folders_missing += missing
    return found


def _accepted_since(conn: Connection) -> dict[str, datetime]:
    """Return by status when the oldest open reply was accepted, or was to be sent where it was put off.

    One that is unknown waits for a person, whatever its mailbox does.
    """
    waits_since = case((outbox.c.send_at > messages.c.created_at, outbox.c.send_at), else_=messages.c.created_at)
    rows = conn.execute(
        select(outbox.c.status, func.min(waits_since))
        .join(messages, _same(messages, outbox, "message_id"))
        .join(mailboxes, _same(mailboxes, outbox, "mailbox_id"))
        .where(OPEN, or_(_WORKED, outbox.c.status == ReplyStatus.UNKNOWN))
        .group_by(outbox.c.status)
    )
    return dict(rows.all())


def _taken_since(conn: Connection) -> dict[str, datetime]:
    rows = conn.execute(
        select(edits.c.status, func.min(edits.c.created_at))
        .join(mailboxes, _same(mailboxes, edits, "mailbox_id"))
        .where(_WORKED)
        .group_by(edits.c.status)
    )
    return dict(rows.all())


def _backfilled_since(conn: Connection) -> dict[str, datetime]:
    since = func.coalesce(backfills.c.ended_at, backfills.c.created_at)
    unfinished = backfills.c.status.in_(UNFINISHED)
    rows = conn.execute(select(backfills.c.status, func.min(since)).where(unfinished).group_by(backfills.c.status))
    return dict(rows.all())


def _same(one: Table, other: Table, column: str) -> ColumnElement[bool]:
    return and_(one.c.account_id == other.c.account_id, one.c[column] == other.c[column])


def _remaining(conn: Connection) -> int:
    # Summed here: SQL sums of bigints are of another type on each database.
    rows = conn.execute(
        select(backfills.c.total, backfills.c.seen).where(
            backfills.c.status.in_(UNFINISHED), backfills.c.total.is_not(None)
        )
    )
    return sum(max(0, total - seen) for total, seen in rows)


def _counts(rows: Iterable[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in rows}


def _ages(at: datetime, since: Mapping[str, datetime]) -> dict[str, float]:
    return {word: _age(at, instant) for word, instant in since.items()}


def _age(at: datetime, instant: datetime) -> float:
    return max(0.0, (at - instant).total_seconds())
