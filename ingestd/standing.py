"""How a mailbox stands: what is wrong with its reading and its sending, in words, since when, and what cures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from config import Settings
from connectors.base import Trouble
from ingestd.cures import Api, Words, explain, explain_missing, explain_suspended, explain_unconfigured
from ingestd.desk import MailboxView
from ingestd.linking.foresight import Foreseen, foreseen
from ingestd.linking.ways import Way, Ways, ways_of
from ingestd.outbound.budgets import BUDGET_REASONS, WORDS, Spent
from storage import edits, outbox, pushes, quarantine, sending
from storage.access_warnings import Access, find_access
from storage.database import Database
from storage.edits import EditStatus
from storage.mailboxes import Mailbox, MailboxState
from storage.sending import Usage, Waiting

_SUSPENDED: Final = "account_suspended"
_SUSPENDED_WORDS: Final = "The account is suspended: they leave when it is resumed."


@dataclass(frozen=True, slots=True)
class Standing:
    """What is told of a mailbox's reading and sending, as far as its own row knows it."""

    trouble: str | None
    reason: str | None
    next_try: datetime | None
    meaning: str | None
    cure: str | None
    folders_missing: tuple[str, ...]
    """Watched folders that are not there."""
    folders_missing_since: datetime | None
    folders_meaning: str | None
    folders_cure: str | None
    send_trouble: str | None
    send_reason: str | None
    send_since: datetime | None
    send_next_try: datetime | None
    send_meaning: str | None
    send_cure: str | None
    read_by: str | None
    """The way by which it is read; None where its grant opens none, or its provider is not configured any more."""
    send_by: str | None
    """The way by which its replies are sent; None likewise."""
    send_by_instead: str | None
    """The way by which they are sent where the provider has switched that one off."""


@dataclass(frozen=True, slots=True)
class Spending:
    """How much was sent of what may be sent, and what waits because that was enough."""

    replies_waiting: int
    sent_day: int
    sent_day_max: int | None
    """None where the provider is not configured any more."""
    recipients_day: int
    recipients_day_max: int | None
    send_waits_for: str | None
    send_waits_until: datetime | None
    send_waits: str | None
    """Why, in words."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What waits for somebody in a mailbox."""

    quarantined: int
    edits_due: int
    edits_failed: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should know of, while the mailbox is read all the same."""

    kind: str
    """folders_missing, sending, access or budget."""
    trouble: str
    since: datetime | None
    until: datetime | None
    """When it is tried again, there is room again, or the access ends."""
    meaning: str
    cure: str


def standing_of(settings: Settings, view: MailboxView, ways: Ways) -> Standing:
    """Return how a mailbox stands; `ways_at` gives its ways."""
    mailbox = view.mailbox
    read = _words(settings, mailbox, mailbox.trouble, ways.read)
    if mailbox.state is MailboxState.SUSPENDED:
        read = explain_suspended(mailbox.account_id)
    send = _words(settings, mailbox, mailbox.send_trouble, ways.send, sending=True)
    missing = view.folders.missing if view.folders else ()
    folders = explain_missing(missing, mailbox.provider, mailbox.mailbox_id) if missing else None
    return Standing(
        trouble=mailbox.trouble,
        reason=mailbox.reason,
        next_try=mailbox.retry_at,
        meaning=read.meaning if read else None,
        cure=read.cure if read else None,
        folders_missing=tuple(missing),
        folders_missing_since=mailbox.folders_missing_since,
        folders_meaning=folders.meaning if folders else None,
        folders_cure=folders.cure if folders else None,
        send_trouble=mailbox.send_trouble,
        send_reason=mailbox.send_reason,
        send_since=mailbox.send_since,
        send_next_try=mailbox.send_retry_at,
        send_meaning=send.meaning if send else None,
        send_cure=send.cure if send else None,
        read_by=ways.read.value if ways.read else None,
        send_by=ways.send.value if ways.send else None,
        send_by_instead=ways.send_instead.value if ways.send_instead else None,
    )


async def ways_at(content: Database, settings: Settings, account_id: UUID, mailbox_ids: Sequence[UUID]) -> list[Ways]:
    """Return by which ways mailboxes are read and sent from. Raises StorageUnavailable."""
    found = await content.read(account_id, find_access, mailbox_ids)
    return [_ways(settings, found.get(one)) for one in mailbox_ids]


def _ways(settings: Settings, access: Access | None) -> Ways:
    if access is None or access.provider not in settings.providers:
        return Ways(None, None)
    return ways_of(settings.provider(access.provider), access.scopes, access.read_way)


async def spending_of(content: Database, settings: Settings, mailbox: Mailbox) -> Spending:
    """Return what a mailbox has sent of late, and what waits. Raises StorageUnavailable."""
    unsent, used, waits = await content.read(mailbox.account_id, _spending, mailbox.mailbox_id)
    suspended = mailbox.state is MailboxState.SUSPENDED and unsent > 0
    limits = None
    if mailbox.provider in settings.providers:
        limits = settings.provider(mailbox.provider).limits
    return Spending(
        replies_waiting=unsent,
        sent_day=used.messages_day,
        sent_day_max=limits.messages_per_day_max if limits else None,
        recipients_day=used.recipients_day,
        recipients_day_max=limits.recipients_per_day_max if limits else None,
        send_waits_for=_SUSPENDED if suspended else waits.reason if waits else None,
        send_waits_until=waits.until if waits and not suspended else None,
        send_waits=_SUSPENDED_WORDS if suspended else WORDS[Spent(waits.reason)] if waits else None,
    )


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a mailbox's own subscription at its provider stands (Microsoft Graph's)."""

    active_until: datetime | None
    """None where there is none just now: it is polled."""
    failures: int
    """Attempts to make or renew it that failed, in a row."""
    next_try: datetime
    """When it is made or renewed."""


async def pushed_of(content: Database, mailbox: Mailbox) -> Pushed | None:
    """Return it; None where the mailbox has none of its own. Raises StorageUnavailable."""
    push = await content.read(mailbox.account_id, pushes.find_push, mailbox.mailbox_id)
    return None if push is None else Pushed(push.expires_at, push.failures, push.renew_at)


async def counts_of(content: Database, mailbox: Mailbox) -> Counts:
    """Raises StorageUnavailable."""
    return await content.read(mailbox.account_id, _counts, mailbox.mailbox_id)


async def stand(
    content: Database, settings: Settings, account_id: UUID, views: Sequence[MailboxView]
) -> list[tuple[Standing, list[Warned]]]:
    """Return how mailboxes of an account stand, and what is wrong beside the reading. Raises StorageUnavailable."""
    mailbox_ids = [one.mailbox.mailbox_id for one in views]
    waits = await content.read(account_id, _waits, mailbox_ids)
    risks = await foreseen(content, settings, account_id, mailbox_ids)
    ways = await ways_at(content, settings, account_id, mailbox_ids)
    stands = [standing_of(settings, view, taken) for view, taken in zip(views, ways, strict=True)]
    return [(one, _warnings(one, waiting, risked)) for one, waiting, risked in zip(stands, waits, risks, strict=True)]


def _warnings(standing: Standing, waits: Waiting | None, risks: Sequence[Foreseen]) -> list[Warned]:
    found = []
    if standing.folders_meaning is not None:
        found.append(
            Warned(
                kind="folders_missing",
                trouble="folders_missing",
                since=standing.folders_missing_since,
                until=None,
                meaning=standing.folders_meaning,
                cure=standing.folders_cure or "",
            )
        )
    if standing.send_trouble is not None:
        found.append(
            Warned(
                kind="sending",
                trouble=standing.send_trouble,
                since=standing.send_since,
                until=standing.send_next_try,
                meaning=standing.send_meaning or "",
                cure=standing.send_cure or "",
            )
        )
    found += [Warned("access", one.risk, one.since, one.ends_at, one.meaning, one.cure) for one in risks]
    if waits is not None:
        meaning = WORDS[Spent(waits.reason)]
        found.append(Warned("budget", waits.reason, None, waits.until, meaning, "Nothing: it goes on by itself."))
    return found


def lag_of(mailbox: Mailbox, now: datetime) -> float | None:
    """Return the seconds since an active mailbox was last read to its end; None where it is not active, or was not
    read yet."""
    if mailbox.state is not MailboxState.ACTIVE or mailbox.read_at is None:
        return None
    return max(now - mailbox.read_at, timedelta()).total_seconds()


def _spending(conn: Connection, account_id: UUID, mailbox_id: UUID) -> tuple[int, Usage, Waiting | None]:
    return (
        outbox.count_unsent(conn, account_id, mailbox_id),
        sending.usage(conn, account_id, mailbox_id),
        sending.waiting(conn, account_id, mailbox_id, BUDGET_REASONS),
    )


def _counts(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Counts:
    edited = edits.count_of_mailbox(conn, account_id, mailbox_id)
    return Counts(
        quarantined=quarantine.count_held(conn, account_id, mailbox_id),
        edits_due=edited.get(EditStatus.DUE, 0),
        edits_failed=edited.get(EditStatus.FAILED, 0),
    )


def _waits(conn: Connection, account_id: UUID, mailbox_ids: Sequence[UUID]) -> list[Waiting | None]:
    return [sending.waiting(conn, account_id, one, BUDGET_REASONS) for one in mailbox_ids]


_APIS: Mapping[Way | None, Api] = {Way.GMAIL: "gmail", Way.GRAPH: "graph"}


def _words(
    settings: Settings, mailbox: Mailbox, trouble: str | None, way: Way | None, *, sending: bool = False
) -> Words | None:
    if mailbox.provider not in settings.providers:
        return None if sending else explain_unconfigured(mailbox.provider)
    if trouble is None:
        return None
    provider = settings.provider(mailbox.provider)
    return explain(Trouble(trouble), provider, mailbox.mailbox_id, sending=sending, api=_APIS.get(way))
