"""Where reading a mailbox by IMAP stands: the cursor and the locators. Pure.

The cursor is JSON, one record a folder:

    {"v": 1, "folders": {"INBOX": {"uidvalidity": 7, "uid": 120, "from": "2026-11-01T00:00:00+00:00", "below": 100}}}

`uid` is the last UID that was read. `from` is the moment from which on mail is
wanted (null: all of it), and `below` the UID up to which (exclusive) a message's
INTERNALDATE is held against it: what arrives later is wanted whatever its date
says, as mail moved in from elsewhere keeps its old one. Where there is something to say, a
record also has `last`, the UID and INTERNALDATE of the last message that was read,
`anew`, while a folder is read again, `aside`, the messages before `uid` that the server
withholds: [UID, how often it was asked, when to ask again], and `modseq`, the folder's
HIGHESTMODSEQ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from connectors.base import CursorInvalid

_VERSION = 1
CLOCK_SLACK = timedelta(minutes=10)
"""The server's clock may differ from ours; a message read twice is found out, a lost one is not."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A message that is read later than those behind it, as the server did not give it."""

    uid: int
    tries: int
    """How often the server was asked for it."""
    again_at: datetime

    def row(self) -> list[object]:
        return [self.uid, self.tries, self.again_at.isoformat()]


@dataclass(frozen=True, slots=True)
class FolderCursor:
    uidvalidity: int
    uid: int
    wanted_from: datetime | None = None
    below: int | None = None
    recovering: bool = False
    """Whether the folder is being read again, because its UIDs have come to mean other messages."""
    last: tuple[int, datetime] | None = None
    """UID and INTERNALDATE of the last message that was read: the two belong together for ever (RFC 3501 §2.3)."""
    aside: tuple[Aside, ...] = ()
    """Messages at or before `uid` that are still to be read."""
    modseq: int | None = None
    """The folder's HIGHESTMODSEQ at the last reading that wrote a cursor, so never too high; None: not told."""

    def filter_from(self, low: int) -> datetime | None:
        """Return the date that messages from UID `low` on must have, None where any will do."""
        return self.wanted_from if self.below is not None and low < self.below else None

    def advanced(self, uid: int, end: int, received_at: datetime | None = None) -> FolderCursor:
        """Return the cursor behind `uid`; `end` is the folder's last UID, where a recovery is over.

        `received_at` is the date of the message there, None where there is none.
        """
        last = self.last if received_at is None else (uid, received_at)
        return replace(self, uid=max(uid, self.uid), recovering=self.recovering and uid < end, last=last)

    def anew(self, uidvalidity: int, uidnext: int) -> FolderCursor:
        """Return the cursor that reads the folder again, but only mail from the first reading's `from` on.

        What was old when the mailbox was linked does not become new. The caller knows by its own
        identities what it has already.
        """
        below = uidnext
        if uidvalidity == self.uidvalidity and self.below is not None:
            below = min(self.below, uidnext)
        return FolderCursor(uidvalidity, 0, self.wanted_from, below, recovering=True)

    def differs_from(self, known: FolderCursor) -> bool:
        """Whether it says more than `known`, beside a HIGHESTMODSEQ that rose."""
        lower_or_first = self.modseq is not None and (known.modseq is None or self.modseq < known.modseq)
        return lower_or_first or replace(self, modseq=known.modseq) != known

    def back_to(self, uid: int) -> FolderCursor:
        """Return the cursor that reads again what lies behind `uid`."""
        return replace(self, uid=uid, recovering=True, aside=tuple(one for one in self.aside if one.uid <= uid))

    def claims_from(self, low: int) -> datetime | None:
        """Return the date that messages from UID `low` on must have for having been wanted, None where any will do."""
        if self.below is None and self.wanted_from is not None:
            # Begun behind the last message: what was there before is not told apart by its UID.
            return self.wanted_from + CLOCK_SLACK
        return self.filter_from(low)


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
            **({"anew": True} if folder.recovering else {}),
            **({"last": [folder.last[0], folder.last[1].isoformat()]} if folder.last else {}),
            **({"aside": [one.row() for one in folder.aside]} if folder.aside else {}),
            **({"modseq": folder.modseq} if folder.modseq is not None else {}),
        }
        for name, folder in folders.items()
    }
    return json.dumps({"v": _VERSION, "folders": records}, ensure_ascii=False, separators=(",", ":"))


def start(
    known: FolderCursor | None, *, uidvalidity: int, uidnext: int, start_at: datetime | None, now: datetime
) -> FolderCursor:
    """Return where to read a folder from.

    A folder seen for the first time starts at `start_at`; None: at this reading.

    A folder is read anew where its UIDs mean other messages now: its UIDVALIDITY changed, or its
    UIDNEXT is lower than what was read already, as after a restore from a backup. A server may not do
    that (RFC 3501 §2.3.1.1), but who trusts it passes over the mail that gets those UIDs a second
    time. Where more came after the restore than was lost by it, `FolderCursor.last` tells.
    """
    if known is not None and known.uidvalidity == uidvalidity and known.uid < uidnext:
        return known
    if known is not None:
        return known.anew(uidvalidity, uidnext)
    if start_at is not None:
        # INTERNALDATE knows whole seconds
        return FolderCursor(uidvalidity, 0, start_at.replace(microsecond=0), uidnext)
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
        recovering=record.get("anew") is True,
        last=_last(record.get("last")),
        aside=_aside(record.get("aside")),
        modseq=int(str(modseq)) if (modseq := record.get("modseq")) is not None else None,
    )


def _last(pair: object) -> tuple[int, datetime] | None:
    if not isinstance(pair, list):
        return None
    uid, received_at = pair
    return int(uid), datetime.fromisoformat(received_at).astimezone(UTC)


def _aside(rows: object) -> tuple[Aside, ...]:
    if not isinstance(rows, list):
        return ()
    return tuple(
        Aside(int(uid), int(tries), datetime.fromisoformat(again_at).astimezone(UTC)) for uid, tries, again_at in rows
    )
