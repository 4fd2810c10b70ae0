"""Header values: encoded words (RFC 2047), parameters (RFC 2231), message ids and dates (RFC 5322)."""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz
from urllib.parse import unquote_to_bytes

from ingestd.mail.charset import decode as decode_charset

# Tolerant: raw spaces inside Q text (several clients), and a language tag (RFC 2231 §5).
_WORD = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?]{0,20})?\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*)?)\?=")
_PARAMETER = re.compile(r";\s*([^\s=;\"]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"?|[^;]*)", re.DOTALL)
_FORGOTTEN = re.compile(r"(?:^|\s)(?=[A-Za-z0-9*-]{1,40}\s*=)")
_NEXT_PARAMETER = re.compile(r";\s*[A-Za-z0-9*-]{1,40}\s*=")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ID = re.compile(r"<([^<>]{1,2000})>")
_SPACE = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]+")


def decode_value(raw: bytes) -> str:
    """Decode an unstructured header value: raw 8-bit text, then its encoded words.

    >>> decode_value(b"=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?=")
    'Grüße'
    """
    if raw.isascii() and b"\x1b" not in raw:
        return clean(decode_words(raw.decode("ascii")))
    # latin-1 keeps every byte, so that the words' own charset reads raw bytes inside them, and a guess the rest.
    return clean(_decode_words(raw.decode("latin-1"), "latin-1"))


def clean(text: str) -> str:
    """Return one line without control characters and outer spaces: header text is shown, and never trusted."""
    return _CONTROL.sub(" ", text.replace("\t", " ")).strip()


def decode_words(text: str) -> str:
    """Decode encoded words wherever they stand, also where RFC 2047 §5 forbids them.

    Neighbours of one charset are joined *before* decoding: many clients split
    a character between two words (forbidden by §5 (3), seen daily).
    """
    return _decode_words(text, "utf-8") if "=?" in text else text


def _decode_words(text: str, carrier: str) -> str:
    """Decode words in `text`; `carrier` latin-1 says that `text` is raw bytes, utf-8 that it is text."""
    out: list[str] = []
    pending: list[bytes] = []
    label = ""
    position = 0

    def flush() -> None:
        if pending:
            out.append(decode_charset(b"".join(pending), label)[0])
            pending.clear()

    def plain(between: str) -> str:
        return decode_charset(between.encode("latin-1"))[0] if carrier == "latin-1" else between

    for match in _WORD.finditer(text):
        between = text[position : match.start()]
        if between.strip() or not pending:  # white space between two encoded words is not text (§6.2)
            flush()
            out.append(plain(between))
        if match[1].lower() != label:
            flush()
            label = match[1].lower()
        pending.append(_word_bytes(match[2], match[3].encode(carrier, "replace")))
        position = match.end()
    flush()
    out.append(plain(text[position:]))
    return "".join(out)


def _word_bytes(kind: str, payload: bytes) -> bytes:
    if kind in "qQ":
        return binascii.a2b_qp(payload.replace(b"_", b" "))
    return _base64(payload)


def _base64(payload: bytes) -> bytes:
    data = re.sub(rb"[^A-Za-z0-9+/]", b"", payload)
    if len(data) % 4 == 1:
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Split `text/plain; charset=x` into the lower-case value and its parameters, RFC 2231 resolved.

    The first of repeated parameters wins. Parameter values are clean of line breaks.

    >>> parse_parameters("attachment; filename*0*=utf-8''a%20; filename*1=b.txt")
    ('attachment', {'filename': 'a b.txt'})
    """
    head, _, _ = value.partition(";")
    forgotten = _FORGOTTEN.search(head)
    if forgotten is not None:  # "application/pdf name=x", or a parameter with nothing before it (scripts)
        head = head[: forgotten.start()]
        value = f"{head};{value[forgotten.start() :]}"
    main = _SPACE.sub("", head.split("(", 1)[0]).lower()
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for match in _PARAMETER.finditer(value, len(head)):
        name, text = match[1].lower(), _unquote(match[2].strip())
        base, star, rest = name.partition("*")
        if not star:
            plain.setdefault(base, clean(decode_words(text)))
            continue
        number = rest.rstrip("*")
        index = int(number) if number.isdigit() and len(number) < 4 else 0
        pieces.setdefault(base, {}).setdefault(index, (rest.endswith("*") or rest == "", text))
    for base, numbered in pieces.items():
        # The extended form is the better one where a client sends both (RFC 6266 §4.3).
        plain[base] = clean(_join_extended(numbered))
    return main, plain


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    closed = text.endswith('"') and len(text) > 1
    inner = text[1:-1] if closed else _NEXT_PARAMETER.split(text[1:], maxsplit=1)[0]
    return _QUOTED_PAIR.sub(lambda m: m[1] if m[1] in '"\\' else m[0], inner)


def _join_extended(numbered: dict[int, tuple[bool, str]]) -> str:
    label = ""
    data = bytearray()
    for index in sorted(numbered):
        extended, text = numbered[index]
        if extended and index == min(numbered) and text.count("'") >= 2:
            label, _, text = text.split("'", 2)
        data += unquote_to_bytes(text) if extended else text.encode("utf-8", "surrogateescape")
    return decode_words(decode_charset(bytes(data), label)[0])


def message_ids(value: str, count_max: int = 100) -> tuple[str, ...]:
    """Return the ids of a Message-ID, In-Reply-To or References value, in order, each with angle brackets.

    White space inside the brackets is removed (folding by Exchange and Lotus).
    Of too many, the root and the newest are kept: they are what threading needs.

    >>> message_ids("<a@x> <b @y> (comment)")
    ('<a@x>', '<b@y>')
    """
    found = dict.fromkeys(f"<{_SPACE.sub('', match[1])}>" for match in _ID.finditer(value))
    ids = [one for one in found if len(one) > 2]
    if not ids:
        ids = [f"<{word}>" for word in value.replace("<", " ").replace(">", " ").split() if _bare_id(word)]
    if len(ids) > count_max:
        ids = ids[:1] + ids[1 - count_max :] if count_max > 1 else ids[-1:]
    return tuple(ids)


def _bare_id(word: str) -> bool:
    return "@" in word[1:-1] and len(word) < 1000 and not word.startswith(("(", '"'))


def parse_date(value: str) -> datetime | None:
    """Return an aware date, or None; a date without a zone is taken as UTC.

    >>> parse_date("Mon, 2 Mar 2026 10:00:00 +0100").isoformat()
    '2026-03-02T10:00:00+01:00'
    """
    try:
        parts = parsedate_tz(value[:200])
        if parts is None:
            return None
        offset = parts[9]
        zone = UTC if not offset else timezone(timedelta(seconds=offset))
        year, month, day, hour, minute, second = parts[:6]
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        moment.astimezone(UTC)  # a date at the edge of the calendar must fail here, not in the caller
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return None
    return moment
