"""The folders that are watched: from when on their mail is new, and which of them are not there.

The folders that a mailbox has when it is linked are read from the linking on. One that is added later is read
from then on: what had gathered in it, a year of spam perhaps, is no new mail. Where people change the folders by
`mailbox set`, that moment is known; a change of the configuration is seen when the work on the mailbox begins.

A folder that is not there keeps no other from being read. It is told once a change, by its number only: what
people call their folders is theirs, and stays sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.states import tell
from ingestd.records import FoldersRecord
from storage import edits, mailboxes
from storage.database import now
from storage.leases import Held
from storage.mailboxes import Mailbox
from storage.sealing import DataKey

SLACK: Final = timedelta(minutes=10)
"""The server's clock may differ from ours, and a folder that is taken out by mistake comes back within minutes."""


def first_folders(entries: Sequence[str], linked_at: datetime) -> FoldersRecord:
    """Return the record of a mailbox that has none yet: its folders are read from the linking on."""
    return FoldersRecord(dict.fromkeys(entries, linked_at))


def changed_folders(before: FoldersRecord, entries: Sequence[str], at: datetime) -> FoldersRecord:
    """Return what holds where `entries` are watched from the moment `at` on.

    A folder that takes the place of a missing one may be the same under its new name: its mail is wanted from
    when on that of the other was. What is known of it comes in once.

    >>> long_ago, at = datetime(2026, 1, 1), datetime(2026, 11, 1, 12)
    >>> changed_folders(FoldersRecord({"INBOX": long_ago}), ["INBOX", "Junk"], at).since["Junk"]
    datetime.datetime(2026, 11, 1, 11, 50)
    >>> changed_folders(FoldersRecord({"Help": long_ago}, missing=("Help",)), ["Support"], at).since["Support"]
    datetime.datetime(2026, 1, 1, 0, 0)
    """
    replaced = [before.since[one] for one in before.missing if one not in entries and one in before.since]
    new = min(replaced, default=at - SLACK)
    oldest = min(before.since.values(), default=new)
    return FoldersRecord(
        since={entry: before.since.get(entry, max(new, oldest)) for entry in entries},
        missing=tuple(one for one in before.missing if one in entries),
    )


def open_folders(key: DataKey, mailbox: Mailbox) -> FoldersRecord | None:
    """Return what is known of a mailbox's folders; None before its worker began. Raises SealBroken."""
    if mailbox.folders_sealed is None:
        return None
    return key.open_record(FoldersRecord.place(mailbox.mailbox_id), mailbox.folders_sealed, FoldersRecord)


def watch_folders(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    key: DataKey,
    entries: Sequence[str],
    *,
    before: Sequence[str],
) -> FoldersRecord:
    """Note that `entries` are watched from now on; `before` those were. The caller holds the mailbox."""
    mailbox = mailboxes.get_mailbox(conn, account_id, mailbox_id)
    known = open_folders(key, mailbox) or first_folders(before, mailbox.created_at)
    changed = changed_folders(known, entries, now(conn))
    if mailbox.folders_sealed is None or changed != known:
        _write(conn, account_id, mailbox_id, key, changed)
    return changed


def begin_folders(
    conn: Connection, account_id: UUID, held: Held, key: DataKey, entries: Sequence[str]
) -> FoldersRecord:
    """As `watch_folders`, for the mailbox's worker. Raises FenceLost."""
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    return watch_folders(conn, account_id, held.mailbox_id, key, entries, before=entries)


def note_missing(conn: Connection, account_id: UUID, held: Held, key: DataKey, missing: Sequence[str]) -> bool:
    """Note which folders the server does not have, with an event where that is news; return whether it was.

    Edits that waited for a folder which is back are due. Raises FenceLost.
    """
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    mailbox = mailboxes.get_mailbox(conn, account_id, held.mailbox_id)
    known = open_folders(key, mailbox) or FoldersRecord()
    if set(known.missing) == set(missing):
        return False
    _write(conn, account_id, held.mailbox_id, key, FoldersRecord(known.since, tuple(missing)))
    if set(known.missing) - set(missing):
        edits.revive_displaced(conn, account_id, held.mailbox_id)
    news = "mailbox.folders_missing" if missing else "mailbox.folders_found"
    tell(conn, account_id, held.mailbox_id, news, str(len(missing)) if missing else None)
    return True


def _write(conn: Connection, account_id: UUID, mailbox_id: UUID, key: DataKey, record: FoldersRecord) -> None:
    sealed = key.seal_record(FoldersRecord.place(mailbox_id), record)
    mailboxes.set_folders(conn, account_id, mailbox_id, sealed=sealed, missing=len(record.missing))
