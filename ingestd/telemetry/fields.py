"""The keys that may be logged, and what their values must look like.

Personal data must not reach a log by accident. So a key is allowed by name, and
its value by form: ids, numbers, fixed words, code locations. The forms leave no
room for an address, a subject, a file name, a URL or a token: no form admits
`@`, white space, `%`, `?` or `=`, and each is short.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

ITEMS_MAX: Final = 10
"""Values of one list; the rest is cut off."""


class Form(enum.Enum):
    """What a value looks like."""

    ID = "a UUID, or a number"
    NUMBER = "a finite number"
    FLAG = "true or false"
    WORD = "a fixed word in lower case, such as reauth_required"
    WORDS = "a list of fixed words"
    CODE = "a status code, such as 250, 5.1.1 or 40P01"
    ROUTE = "the template of a route, such as /v1/tickets/{ticket_id}"
    MODULE = "the dotted name of a Python module"
    PLACE = "a place in the code, such as workers:88"
    VERSION = "a version number"


_PATTERNS: Final[Mapping[Form, re.Pattern[str]]] = {
    Form.ID: re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{1,19}"),
    Form.WORD: re.compile(r"(?=.{1,48}\Z)[a-z][a-z0-9]{0,23}([_.-][a-z0-9]{1,24})*"),
    Form.CODE: re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}|[0-9A-Z]{5}"),
    Form.ROUTE: re.compile(r"(?=.{1,96}\Z)(/[a-z0-9_.{}:-]*)+"),
    Form.MODULE: re.compile(r"(?=.{1,80}\Z)[a-z_][a-z0-9_]{0,31}(\.[A-Za-z_][A-Za-z0-9_]{0,31})*"),
    Form.PLACE: re.compile(r"[A-Za-z_][A-Za-z0-9_./<>-]{0,95}:[0-9]{1,6}"),
    Form.VERSION: re.compile(r"[0-9]{1,5}(\.[0-9a-z]{1,10}){0,4}(\+[0-9a-z.]{1,20})?"),
}

_IDS = (
    "account_id mailbox_id ticket_id message_id reply_id attachment_id event_id attempt_id erasure_id quarantine_id "
    "webhook_id flow_id worker_id lease_id request_id export_id twin_id"
)
_NUMBERS = (
    "accounts mailboxes messages tickets replies attachments events webhooks rows blobs quarantined recovered "
    "duplicates skipped restarts workers parsers connections attempts attempt remaining count limit page "
    "size_bytes memory_bytes bytes_deleted pid port fence epoch sequence position generation schema_version "
    "duration_seconds delay_seconds retry_after_seconds lag_seconds age_seconds timeout_seconds uptime_seconds"
)
_WORDS = (
    "state state_before status status_before outcome reason step kind stage trouble connector provider engine check "
    "component task method purpose role edit start_from signal_name log_format log_level"
)
_FLAGS = "ready more strict retrying final recovered_all clean"
_CODES = "status_code reply_code enhanced_code sqlstate exit_code"

FIELDS: Final[Mapping[str, Form]] = {
    **dict.fromkeys(_IDS.split(), Form.ID),
    **dict.fromkeys(_NUMBERS.split(), Form.NUMBER),
    **dict.fromkeys(_WORDS.split(), Form.WORD),
    **dict.fromkeys(_FLAGS.split(), Form.FLAG),
    **dict.fromkeys(_CODES.split(), Form.CODE),
    "checks": Form.WORDS,
    "settings": Form.WORDS,
    "route": Form.ROUTE,
    "logger": Form.MODULE,
    "logged_at": Form.PLACE,
    "version": Form.VERSION,
    "python_version": Form.VERSION,
}

_REFUSED: Final = object()


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _REFUSED
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else _REFUSED
    # Six digits after the point: microseconds. NaN is no JSON.
    return round(value, 6) if math.isfinite(value) else _REFUSED


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else _REFUSED


def _id(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return _text(value, Form.ID) if isinstance(value, str) else _number(value)


def _code(value: Any) -> Any:
    return _text(value, Form.CODE) if isinstance(value, str) else _number(value)


def _text(value: Any, form: Form) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    # fullmatch, as `$` would let a line break through.
    return str(value) if isinstance(value, str) and _PATTERNS[form].fullmatch(value) else _REFUSED


def _words(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _REFUSED
    words = [_text(item, Form.WORD) for item in value[:ITEMS_MAX]]
    return _REFUSED if _REFUSED in words else words


_READERS: Final[Mapping[Form, Callable[[Any], Any]]] = {
    Form.NUMBER: _number,
    Form.FLAG: _flag,
    Form.ID: _id,
    Form.CODE: _code,
    Form.WORDS: _words,
}


def permitted(key: str, value: Any) -> tuple[bool, Any]:
    """Return (True, the value as it is written), or (False, None) where key or value may not be logged.

    >>> permitted("mailbox_id", 7), permitted("outcome", "sent"), permitted("reason", "anna@example.com")
    ((True, 7), (True, 'sent'), (False, None))
    """
    form = FIELDS.get(key)
    if form is None:
        return False, None
    if value is None:
        return True, None
    reader = _READERS.get(form)
    found = reader(value) if reader else _text(value, form)
    return (False, None) if found is _REFUSED else (True, found)


def is_word(value: str) -> bool:
    """Whether a text is a fixed word: what states, reasons and metric labels are made of.

    >>> is_word("reauth_required"), is_word("Anna Smith")
    (True, False)
    """
    return _PATTERNS[Form.WORD].fullmatch(value) is not None
