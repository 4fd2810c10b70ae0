"""Where reading a mailbox by the Gmail API stands: the cursor and the locators. Pure.

The cursor is JSON:

    {"v": 1, "gmail": {"history": "81234", "at": "2026-11-01T00:00:00+00:00", "labels": {"INBOX": {
        "from": "2026-11-01T00:00:00+00:00", "begun": "2026-11-01T00:00:07+00:00", "top": "18f0…", "listed": "18f1…"}}}}

`history` is the record up to which everything was read, and `at` when that was written. A label is read by its
listing once, when it is watched for the first time or the history was lost, and by the history from there on. `from`
is the moment from which on its mail is wanted (null: what came after `begun`), `top` the greatest id of the mailbox
when it began: what has a greater one came later and is wanted whatever its date says, as mail moved in from
elsewhere keeps its old one. `listed` is there while the listing is read: the id up to which it was; with `anew`, the
history was lost.

Ids are opaque and kept as text. A listing is read in the order of ids, whatever that order is: so it can be taken up
again at any of them. (Google's rise with the arrival.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from connectors.base import CursorInvalid

_VERSION = 1
CLOCK_SLACK = timedelta(minutes=10)
"""Google's clock may differ from ours; a message read twice is found out, a lost one is not."""
ALL_MAIL = "-"
"""The place of what was archived: in none of INBOX, SPAM and TRASH. It is no label of Google's."""
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def order_of(message_id: str) -> tuple[int, str]:
    """Return what ids are sorted by: hexadecimal ones as the numbers that they are.

    >>> sorted(["10", "f"], key=order_of)
    ['f', '10']
    """
    return len(message_id), message_id


def provider_id_of(message_id: str) -> str:
    """Return the id as IMAP's X-GM-MSGID tells it, so that a message is the same by both ways.

    >>> provider_id_of("18f0000000000000"), provider_id_of("msg_1")
    ('1796936251320827904', 'msg_1')
    """
    try:
        return str(int(message_id, 16))
    except ValueError:
        return message_id


@dataclass(frozen=True, slots=True)
class LabelCursor:
    begun: datetime
    wanted_from: datetime | None = None
    top: str = ""
    listed: str | None = None
    """None: the listing is over."""
    recovering: bool = False

    @property
    def dated_from(self) -> datetime:
        """From when on mail is asked for where the history is of no use."""
        return self.wanted_from if self.wanted_from is not None else self.begun - CLOCK_SLACK

    def is_wanted(self, message_id: str, received_at: datetime) -> bool:
        return received_at >= self.dated_from or self.came_later(message_id)

    def came_later(self, message_id: str) -> bool:
        """Whether a message came after the label was watched for the first time."""
        return bool(self.top) and order_of(message_id) > order_of(self.top)


@dataclass(frozen=True, slots=True)
class GmailCursor:
    history: str
    at: datetime
    labels: Mapping[str, LabelCursor] = field(default_factory=dict)
    """By label id."""

    def with_label(self, label: str, cursor: LabelCursor) -> GmailCursor:
        return replace(self, labels={**self.labels, label: cursor})

    def up_to(self, history: str, now: datetime) -> GmailCursor:
        return replace(self, history=history, at=now)

    def anew(self, history: str, now: datetime) -> GmailCursor:
        """Return the cursor that lists every label again, as what happened since `self.history` is not known."""
        labels = {label: replace(one, listed="", recovering=True) for label, one in self.labels.items()}
        return GmailCursor(history, now, labels)


def parse_cursor(text: str | None) -> GmailCursor | None:
    """Read a cursor. Raises CursorInvalid where it is not one of ours."""
    if text is None:
        return None
    try:
        document = json.loads(text)
        if document["v"] != _VERSION:
            raise CursorInvalid("cursor of another version")
        found = document["gmail"]
        labels = {str(label): _label(record) for label, record in found["labels"].items()}
        history = str(found["history"])
        if not history.isdigit():
            raise CursorInvalid("cursor without a history")
        return GmailCursor(history, _moment(found["at"]), labels)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CursorInvalid("cursor is not one of Gmail") from None


def format_cursor(cursor: GmailCursor) -> str:
    """Write a cursor.

    >>> format_cursor(GmailCursor("7", datetime(2026, 11, 1, tzinfo=UTC)))
    '{"v":1,"gmail":{"history":"7","at":"2026-11-01T00:00:00+00:00","labels":{}}}'
    """
    labels = {
        label: {
            "from": one.wanted_from.isoformat() if one.wanted_from else None,
            "begun": one.begun.isoformat(),
            "top": one.top,
            **({"listed": one.listed} if one.listed is not None else {}),
            **({"anew": True} if one.recovering else {}),
        }
        for label, one in cursor.labels.items()
    }
    document = {"history": cursor.history, "at": cursor.at.isoformat(), "labels": labels}
    return json.dumps({"v": _VERSION, "gmail": document}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a message lies.

    >>> Locator.parse("INBOX:18f0")
    Locator(label='INBOX', message_id='18f0')
    >>> Locator.parse("7:120:INBOX") is None
    True
    """

    label: str
    message_id: str

    def __str__(self) -> str:
        return f"{self.label}:{self.message_id}"

    @classmethod
    def parse(cls, text: str) -> Locator | None:
        """Return None where it is none of ours: the mailbox was read by another way then."""
        label, _, message_id = text.partition(":")
        return cls(label, message_id) if label and _ID.fullmatch(message_id) else None


def _label(record: Mapping[str, object]) -> LabelCursor:
    wanted_from, listed = record["from"], record.get("listed")
    return LabelCursor(
        begun=_moment(record["begun"]),
        wanted_from=None if wanted_from is None else _moment(wanted_from),
        top=str(record["top"]),
        listed=None if listed is None else str(listed),
        recovering=record.get("anew") is True,
    )


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(str(value)).astimezone(UTC)
