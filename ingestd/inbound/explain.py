"""Where is my mail? What is known of a Message-ID in one mailbox, here and at its provider.

What is stored is found by the keyed hash of the id. The rest (in quarantine, deleted here, never taken) is not stored
under it: the provider is asked where such a message lies, and what lies there is known by its identity, or says by its
folder and its date why it is none of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connectors.base import Whereabouts
from ingestd.inbound.audit import Audited, AuditTools, fate_by_header, fate_of
from ingestd.inbound.folders import open_folders
from ingestd.inbound.identity import thread_key
from ingestd.inbound.intake import MailboxContext
from ingestd.records import MessageRecord
from storage import audits, backfills, mailboxes
from storage.audits import Fate, KnownMessage
from storage.backfills import Backfill
from storage.database import Database
from storage.errors import SealBroken

_KNOWN_MAX: Final = 20


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


async def stored_of(content: Database, context: MailboxContext, message_id: str) -> list[Stored]:
    """Return the messages of a mailbox that are known by a Message-ID, the first one first."""
    key = thread_key(context.key, message_id)
    rows = await content.read(context.account_id, audits.find_known, context.mailbox_id, key, _KNOWN_MAX)
    found = []
    for row in rows:
        try:
            record = context.key.open_record(MessageRecord.place(row.message_id), row.sealed, MessageRecord)
        except SealBroken:
            record = None
        found.append(Stored(row, record.folder if record else "", record.evidence if record else ()))
    return found


async def there_of(
    tools: AuditTools, context: MailboxContext, readers: Audited, entries: Sequence[str], message_id: str
) -> list[There]:
    """Ask the provider where a Message-ID lies; `entries` are the folders that are watched, as the readers' plan has
    them. Raises ConnectorError, StorageError, ParserUnavailable."""
    content, account_id, mailbox_id = tools.content, context.account_id, context.mailbox_id
    mailbox = await content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    old = await content.read(account_id, backfills.find_backfill, mailbox_id)
    folders = open_folders(context.key, mailbox)
    since: Mapping[str, datetime] = folders.since if folders is not None else {}
    found = []
    for place in await readers.headers.find(message_id):
        fate = await _fate(tools, context, readers, place.locator)
        if fate is not None:
            why = Why(fate.value)
        elif place.entry is None:
            why = Why.NOT_FOLLOWED
        else:
            why = why_not(place.received_at, since.get(entries[place.entry], mailbox.created_at), old)
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


async def _fate(tools: AuditTools, context: MailboxContext, readers: Audited, locator: str) -> Fate | None:
    message = await readers.headers.fetch(locator)
    if message is None:
        return None
    if (fate := await fate_by_header(tools.content, context, message)) is not None:
        return fate
    whole = await readers.whole.fetch(locator)
    return None if whole is None else await fate_of(tools, context, whole)
