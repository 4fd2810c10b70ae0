"""What people decide about a mailbox after it was linked, as a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from config import MailboxDefaults, check_after_import, check_mirror_fits, check_mirrored, check_not_watched
from ingestd.inbound.folders import watch_folders
from ingestd.records import MailboxRecord
from storage import edits, mailboxes, outbox
from storage.edits import EditCause
from storage.errors import Conflict
from storage.sealing import DataKey

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be changed; None leaves it as it is."""

    after_import: str | None = None
    """As the setting spells it; "" as the setting says."""
    folders: tuple[str, ...] | None = None
    """Empty: those of the settings."""
    mirror: Mapping[str, str] | None = None
    """What is mirrored in the mailbox, as the settings `mirror` spell it; "" as the setting says."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What holds for a mailbox now."""

    record: MailboxRecord
    cancelled: int = 0
    """Edits that are not to be done any more."""
    revived: int = 0
    """Edits that had been given up and are tried again."""


class ReplyUnderWay(Conflict):
    """A reply of the mailbox is being sent right now: try again in a moment."""


def effective(record: MailboxRecord, defaults: MailboxDefaults) -> tuple[str, tuple[str, ...]]:
    """Return what is done after import and the folders that are watched: the mailbox's own, else the settings'."""
    return record.after_import or defaults.after_import, record.folders or defaults.folders


def mirrored(record: MailboxRecord, defaults: MailboxDefaults) -> dict[str, str]:
    """Return how what agents do is mirrored in the mailbox: as the mailbox says, else as the settings do."""
    return {**defaults.mirror.model_dump(), **record.mirror}


def choose(
    conn: Connection, account_id: UUID, mailbox_id: UUID, key: DataKey, options: Options, defaults: MailboxDefaults
) -> Chosen:
    """Change the options of a mailbox; its worker begins again with them.

    Where edits are named, those that were given up are tried again, as a person looked at them; where `nothing`
    is, those that it had asked for and that are still due are not done any more. Raises ValueError for what cannot
    be, NotFound, ReplyUnderWay.
    """
    mailbox = mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    if outbox.list_in_flight(conn, account_id, mailbox_id):
        raise ReplyUnderWay(f"a reply of mailbox {mailbox_id} is being sent right now: try again in a moment")
    place = MailboxRecord.place(mailbox_id)
    was = record = key.open_record(place, mailbox.sealed, MailboxRecord)
    if options.after_import is not None:
        record = msgspec.structs.replace(record, after_import=options.after_import)
    if options.folders is not None:
        record = msgspec.structs.replace(record, folders=options.folders)
    named = options.mirror or {}
    for action, spelled in named.items():
        check_mirrored(action, spelled or NOTHING)
    if named:
        own = {action: spelled for action, spelled in {**record.mirror, **named}.items() if spelled}
        record = msgspec.structs.replace(record, mirror=own)
    after_import, folders = effective(record, defaults)
    _, before = effective(was, defaults)
    check_not_watched(check_after_import(after_import), folders)
    mirror = mirrored(record, defaults)
    check_mirror_fits(mirror, after_import, folders)
    mailboxes.replace_record(conn, account_id, mailbox_id, key.seal_record(place, record))
    if options.folders is not None:
        watch_folders(conn, account_id, mailbox_id, key, folders, before=before)
    told = {EditCause(action): mirror[action] for action in named}
    if options.after_import is not None:
        told[EditCause.IMPORT] = after_import
    ended = [cause for cause, spelled in told.items() if spelled == NOTHING]
    cancelled = edits.cancel(conn, account_id, mailbox_id, ended) if ended else 0
    revived = edits.revive(conn, account_id, mailbox_id) if len(ended) < len(told) else 0
    return Chosen(record, cancelled=cancelled, revived=revived)
