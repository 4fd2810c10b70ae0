"""Where is my mail? What is known of a Message-ID in one mailbox, here and at its provider.

What is in a ticket is found by the keyed hash of the id; what waits in quarantine by its header, as nothing of it is
understood. The rest (deleted here, dropped, never taken) is not stored under the id: the provider is asked where such
a message lies, and what lies there is known by its identity, or says by its folder and its date why it is none of ours.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from connectors.base import ConnectorError, Reader, Whereabouts
from ingestd.desk import Desk
from ingestd.inbound.audit import Audited, AuditTools, fate_of, fates_by_fingerprint
from ingestd.inbound.folders import open_folders
from ingestd.inbound.identity import thread_key
from ingestd.inbound.intake import MailboxContext
from ingestd.raw import RawPlace, load_range
from ingestd.records import MessageRecord
from storage import audits, backfills, mailboxes
from storage.audits import Fate, HeldMessage, KnownMessage
from storage.backfills import Backfill
from storage.errors import NotFound, SealBroken
from storage.mailboxes import WORKED, Mailbox
from storage.sealing import DataKey

_KNOWN_MAX: Final = 20
_HELD_MAX: Final = 200
"""Of what waits in a mailbox's quarantine, the newest so many are looked at."""
_HELD_TOGETHER_MAX: Final = 1000
"""Of all the mailboxes that are asked by one request."""
_HEADER_BYTES: Final = 64 * 1024
_MESSAGE_ID: Final = re.compile(
    rb"^message-id[ \t]*:[ \t]*(?:\r?\n[ \t]+)?(<[^<>\r\n]+>)", re.IGNORECASE | re.MULTILINE
)
_ENDS: Final = re.compile(rb"\r?\n\r?\n")
"""Of a header block."""


class Why(enum.StrEnum):
    """Why a message that lies in the mailbox is not here, or what it is here."""

    TAKEN = "taken"
    SENT = "sent"
    QUARANTINED = "quarantined"
    DROPPED = "dropped"
    FORGOTTEN = "forgotten"
    NOT_FOLLOWED = "folder_not_followed"
    """Its folder is not watched."""
    BEFORE_START = "before_start"
    """It came before the folder was watched, and no backfill was asked for that goes back so far."""
    WAITING = "waiting"
    """Its folder is watched and it is wanted, and it was not taken yet."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message here."""

    row: KnownMessage
    folder: str
    """Where it lay when it was read; empty where its record does not open."""
    evidence: tuple[str, ...]
    """Why it is in its ticket."""


@dataclass(frozen=True, slots=True)
class There:
    """A message at the provider, and what that means."""

    place: Whereabouts
    why: Why


@dataclass(frozen=True, slots=True)
class Explained:
    """What is known of a Message-ID in one mailbox."""

    mailbox_id: UUID
    stored: Sequence[Stored] = ()
    """In tickets, those that came first before others."""
    held: Sequence[HeldMessage] = ()
    """In quarantine, the newest first."""
    there: Sequence[There] | None = None
    """At the provider; None where it was not asked."""
    failed: str | None = None
    """Why it could not be asked: a mailbox's trouble, its state where nothing is read from it, or `not_configured`."""
    detail: str = ""
    """The same for the operator, where there is more to say."""

    @property
    def is_here(self) -> bool:
        return bool(self.stored or self.held)


class Looks:
    """Asks providers where mails lie, of so many mailboxes at the same time."""

    def __init__(
        self,
        tools: Callable[[], AuditTools],
        begin: Callable[[UUID, UUID], Awaitable[tuple[MailboxContext, Audited]]],
        at_once: int,
    ) -> None:
        """`begin` builds what looks, by account and mailbox, and raises KeyError, StorageError."""
        self._tools = tools
        self._begin = begin
        self._slots = asyncio.Semaphore(at_once)

    async def ask(self, mailbox: Mailbox, message_id: str) -> Explained:
        """Return what lies at the provider of a mailbox, or why it could not be asked. Raises StorageError,
        ParserUnavailable."""
        if mailbox.state not in WORKED:
            return Explained(mailbox.mailbox_id, failed=mailbox.state.value)
        async with self._slots:
            try:
                context, audited = await self._begin(mailbox.account_id, mailbox.mailbox_id)
            except KeyError:
                return Explained(mailbox.mailbox_id, failed="not_configured")
            try:
                there = await there_of(self._tools(), context, audited, message_id)
            except ConnectorError as error:
                return Explained(mailbox.mailbox_id, failed=error.trouble.value, detail=str(error))
            finally:
                await audited.close()
        return Explained(mailbox.mailbox_id, there=there)


def with_brackets(message_id: str) -> str:
    """Return a Message-ID as it is stored.

    >>> with_brackets(" q1@example.com"), with_brackets("<q1@example.com>")
    ('<q1@example.com>', '<q1@example.com>')
    """
    return f"<{message_id.strip().strip('<>')}>"


async def explain(desk: Desk, mailbox: Mailbox, message_id: str, *, among: int = 1) -> Explained:
    """Return what is stored of a Message-ID in a mailbox, one `among` so many that are asked. Raises KeyDestroyed
    where it is being forgotten."""
    key = await desk.keys.mailbox(mailbox.account_id, mailbox.mailbox_id)
    stored = await _stored_of(desk, key, mailbox, message_id)
    limit = max(1, min(_HELD_MAX, _HELD_TOGETHER_MAX // among))
    held = [] if stored else await _held_of(desk, key, mailbox, message_id, limit)
    return Explained(mailbox.mailbox_id, stored, held)


async def _stored_of(desk: Desk, key: DataKey, mailbox: Mailbox, message_id: str) -> list[Stored]:
    rows = await desk.content.read(
        mailbox.account_id, audits.find_known, mailbox.mailbox_id, thread_key(key, message_id), _KNOWN_MAX
    )
    found = []
    for row in rows:
        try:
            record = key.open_record(MessageRecord.place(row.message_id), row.sealed, MessageRecord)
        except SealBroken:
            record = None
        found.append(Stored(row, record.folder if record else "", record.evidence if record else ()))
    return found


async def _held_of(desk: Desk, key: DataKey, mailbox: Mailbox, message_id: str, limit: int) -> list[HeldMessage]:
    rows = await desk.content.read(mailbox.account_id, audits.newest_held, mailbox.mailbox_id, limit)
    found = []
    for row in rows:
        place, size_bytes = RawPlace(row.quarantine_id, row.chunks, row.raw_place), min(row.size_bytes, _HEADER_BYTES)
        try:
            begin = await load_range(desk.content, desk.blobs, key, place, 0, size_bytes)
        except (NotFound, SealBroken):
            continue  # it was taken or dropped meanwhile
        if message_id_of(begin) == message_id:
            found.append(row)
    return found


def message_id_of(begin: bytes) -> str:
    r"""Return the Message-ID of a mail that nothing else is understood of, by its first bytes; "" where it has none.

    >>> message_id_of(b"Subject: x\r\nMessage-Id:\r\n <q1@example.com>\r\n\r\nMessage-ID: <q2@example.com>")
    '<q1@example.com>'
    """
    found = _MESSAGE_ID.search(begin)
    is_header = found is not None and not _ENDS.search(begin, 0, found.start())
    return found[1].decode("utf-8", "replace") if found is not None and is_header else ""


async def there_of(tools: AuditTools, context: MailboxContext, there: Audited, message_id: str) -> list[There]:
    """Ask the provider where a Message-ID lies. Raises ConnectorError, StorageError, ParserUnavailable."""
    content, account_id, mailbox_id = tools.content, context.account_id, context.mailbox_id
    mailbox = await content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    old = await content.read(account_id, backfills.find_backfill, mailbox_id)
    folders = open_folders(context.key, mailbox)
    since: Mapping[str, datetime] = folders.since if folders is not None else {}
    found = []
    places = await there.reader.find(message_id)
    fates = await _fates(tools, context, there.reader, places)
    for place in places:
        if (fate := fates.get(place.locator)) is not None:
            why = Why(fate.value)
        elif place.entry is None:
            why = Why.NOT_FOLLOWED
        else:
            why = why_not(place.received_at, since.get(there.entries[place.entry], mailbox.created_at), old)
        found.append(There(place, why))
    return found


def why_not(received_at: datetime | None, start_at: datetime, old: Backfill | None) -> Why:
    """Return why a message of a watched folder is not here that came at `received_at`.

    >>> from datetime import UTC
    >>> why_not(datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), None).value
    'before_start'
    """
    if received_at is None or received_at >= start_at.replace(microsecond=0):
        return Why.WAITING
    return Why.WAITING if old is not None and (old.since is None or received_at >= old.since) else Why.BEFORE_START


async def _fates(
    tools: AuditTools, context: MailboxContext, reader: Reader, places: Sequence[Whereabouts]
) -> dict[str, Fate]:
    told = await reader.fingerprints([one.locator for one in places])
    fates = await fates_by_fingerprint(tools.content, context, told)
    for locator in (one.locator for one in places if one.locator not in fates):
        whole = await reader.fetch(locator)
        if whole is not None and (fate := await fate_of(tools, context, whole)) is not None:
            fates[locator] = fate
    return fates
