"""Where reading a mailbox by IMAP stands: the cursor and the locators. Pure.

The cursor is JSON, one record a folder:

    {"v": 1, "folders": {"INBOX": {"uidvalidity": 7, "uid": 120, "from": "2026-11-01T00:00:00+00:00", "below": 100}}}

`uid` is the last UID that was read. `from` is the moment from which on mail is
wanted (null: all of it), and `below` the UID up to which (exclusive) a message's
INTERNALDATE is held against it: what arrives later is wanted whatever its date
says, as mail moved in from elsewhere keeps its old one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from connectors.base import CursorInvalid, ReadPlan, StartFrom

_VERSION = 1
CLOCK_SLACK = timedelta(minutes=10)
"""The server's clock may differ from ours; a message read twice is found out, a lost one is not."""


@dataclass(frozen=True, slots=True)
class FolderCursor:
    uidvalidity: int
    uid: int
    wanted_from: datetime | None = None
    below: int | None = None

    def filter_from(self, low: int) -> datetime | None:
        """Return the date that messages from UID `low` on must have, None where any will do."""
        return self.wanted_from if self.below is not None and low < self.below else None

    def advanced(self, uid: int) -> FolderCursor:
        return replace(self, uid=max(uid, self.uid))


Cursor = Mapping[str, FolderCursor]


def parse_cursor(text: str | None) -> dict[str, FolderCursor]:
    """Read a cursor. Raises CursorInvalid where it is not one of ours."""
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["v"] != _VERSION:
            raise CursorInvalid("cursor of another version")
        return {str(name): _folder(record) for name, record in document["folders"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CursorInvalid("cursor is not one of IMAP") from None


def format_cursor(folders: Cursor) -> str:
    """Write a cursor.

    >>> format_cursor({"INBOX": FolderCursor(7, 120)})
    '{"v":1,"folders":{"INBOX":{"uidvalidity":7,"uid":120,"from":null,"below":null}}}'
    """
    records = {
        name: {
            "uidvalidity": folder.uidvalidity,
            "uid": folder.uid,
            "from": folder.wanted_from.isoformat() if folder.wanted_from else None,
            "below": folder.below,
        }
        for name, folder in folders.items()
    }
    return json.dumps({"v": _VERSION, "folders": records}, ensure_ascii=False, separators=(",", ":"))


def start(known: FolderCursor | None, *, uidvalidity: int, uidnext: int, plan: ReadPlan, now: datetime) -> FolderCursor:
    """Return where to read a folder from.

    A folder seen for the first time starts as the plan says. A folder whose
    UIDVALIDITY changed is read anew from its first UID (its UIDs mean other
    messages now), but only mail from the first reading's `from` on: what was old
    when the mailbox was linked does not become new. The caller knows by its own
    identities what it has already.
    """
    if known is not None and known.uidvalidity == uidvalidity:
        return known
    if known is not None:
        return FolderCursor(uidvalidity, 0, known.wanted_from, uidnext)
    if plan.start_from is StartFrom.EVERYTHING:
        return FolderCursor(uidvalidity, 0)
    since = (plan.start_at or now).replace(microsecond=0)  # INTERNALDATE knows whole seconds
    if plan.start_from is StartFrom.DAYS:
        return FolderCursor(uidvalidity, 0, since - timedelta(days=plan.start_days), uidnext)
    if plan.start_at is not None:
        return FolderCursor(uidvalidity, 0, since, uidnext)
    return FolderCursor(uidvalidity, uidnext - 1, now - CLOCK_SLACK)


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a message lies.

    >>> Locator.parse("7:120:INBOX")
    Locator(uidvalidity=7, uid=120, folder='INBOX')
    """

    uidvalidity: int
    uid: int
    folder: str

    def __str__(self) -> str:
        return f"{self.uidvalidity}:{self.uid}:{self.folder}"

    @classmethod
    def parse(cls, text: str) -> Locator:
        """Raises ValueError where it is not a locator of IMAP."""
        uidvalidity, uid, folder = text.split(":", 2)
        return cls(int(uidvalidity), int(uid), folder)


def _folder(record: Mapping[str, object]) -> FolderCursor:
    wanted_from, below = record.get("from"), record.get("below")
    moment = datetime.fromisoformat(str(wanted_from)).astimezone(UTC) if wanted_from is not None else None
    return FolderCursor(
        uidvalidity=int(str(record["uidvalidity"])),
        uid=int(str(record["uid"])),
        wanted_from=moment,
        below=int(str(below)) if below is not None else None,
    )
