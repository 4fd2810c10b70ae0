"""Header values: encoded words (RFC 2047), parameters (RFC 2231), message ids and dates (RFC 5322)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz
from urllib.parse import unquote_to_bytes

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.labels import python_codec

# Tolerant: raw spaces inside Q text (several clients), question marks there, no charset, a language tag (RFC 2231
# §5), and an end that is missing before the next word or at the end of a value that was cut.
_WORD = re.compile(
    r"=\?([^?*\s]{0,60})(?:\*[^?]{0,20})?\?([bBqQ])\?((?>(?:[^?=]++|=(?!\?[^=])|\?(?!=|\Z))*))(\?=|\??(?:\Z|(?==\?)))"
)
_CLAIM = re.compile(rb"=\?([^?*\s]{1,60})(?:\*[^?]{0,20})?\?[bBqQ]\?")
_CLAIM_BYTES = 1000
_ONLY_WORDS = re.compile(r"\s*(?:=\?[^?\s]{1,60}\?[bBqQ]\?[^?\s]*\?=\s*)+")
_PARAMETER = re.compile(
    r"(?:[;,]|(?<!\s)\s)\s*+([A-Za-z0-9!#$&+.^_`{|}~*%'-]++)\s*+=\s*+"
    r"(\"(?>(?:[^\"\\]|\\.)*)\"?|(?>(?:[^;\s]|\s++(?!(?:charset|boundary|name|filename|format|delsp|type|size)[*0-9]*\s*=))*))",
    re.DOTALL | re.IGNORECASE,
)
_MAIN = re.compile(r"\s*([^\s;,()=]*+(?:\s*/\s*[^\s;,()=]+)?)")
_ONE_WORD = frozenset({"charset", "format", "delsp", "type", "report-type", "smime-type", "method"})
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}|[^%\x00-\x20\x7f-\U0010ffff])+")
_NEXT_PARAMETER = re.compile(r";\s*[A-Za-z0-9*-]{1,40}\s*=")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ID = re.compile(r"<([^<>]{1,2000})>")
_SPACE = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]+")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_USUAL_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, )?(\d{1,2}) ([A-Z][a-z]{2}) ([1-9]\d{3}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"
    r"(?: \([A-Z]{3,4}\))?"
)
_MONTHS = dict(zip(("Jan", "Feb", "Mar", "Apr", "May", "Jun"), range(1, 7), strict=True))
_MONTHS |= dict(zip(("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), range(7, 13), strict=True))
_ISO_DATE = re.compile(r"\s*(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.\d{1,9})?\s*(Z|[+-]\d\d:?\d\d)?")


def decode_value(raw: bytes, hints: Sequence[str] = ()) -> str:
    """Decode an unstructured header value: raw 8-bit text, then its encoded words.

    `hints` are the charsets of the message's texts: a client that sends raw 8-bit headers uses theirs.

    >>> decode_value(b"=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?=")
    'Grüße'
    """
    if raw.isascii() and b"\x1b" not in raw:
        return clean(decode_words(raw.decode("ascii")))
    # latin-1 keeps every byte, so that the words' own charset reads raw bytes inside them, and a guess the rest.
    return clean(_decode_words(raw.decode("latin-1"), "latin-1", hints))


def clean(text: str) -> str:
    """Return one line without control characters and outer spaces: header text is shown, and never trusted."""
    return (text if text.isprintable() else _CONTROL.sub(" ", text.replace("\t", " "))).strip()


def decode_words(text: str) -> str:
    """Decode encoded words wherever they stand, also where RFC 2047 §5 forbids them.

    Neighbours of one charset are joined *before* decoding: many clients split
    a character between two words (forbidden by §5 (3), seen daily).
    """
    if "=?" not in text:
        return text
    decoded = _decode_words(text, "utf-8", ())
    # A gateway that encodes what is encoded: words alone, inside words alone.
    if "=?" in decoded and _ONLY_WORDS.fullmatch(decoded) and _ONLY_WORDS.fullmatch(text):
        return _decode_words(decoded, "utf-8", ())
    return decoded


def word_charsets(raw: bytes) -> list[str]:
    """Return the charsets that encoded words of a value claim, as hints for text that claims none.

    >>> word_charsets(b"=?koi8-r?B?8NLJ18XU?= <jane@example.com>")
    ['koi8-r']
    """
    return [match[1].decode("ascii", "replace") for match in _CLAIM.finditer(raw[:_CLAIM_BYTES])]


def word_runs(text: str) -> list[tuple[int, int]]:
    """Return where encoded words stand, those with nothing but white space between them as one.

    >>> word_runs("=?utf-8?Q?a?= =?utf-8?Q?b?= <a@x>")
    [(0, 27)]
    """
    runs: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        if match[4] != "?=" and not _is_cut_word(match):
            continue
        if runs and not text[runs[-1][1] : match.start()].strip():
            runs[-1] = runs[-1][0], match.end()
        else:
            runs.append(match.span())
    return runs


def _decode_words(text: str, carrier: str, hints: Sequence[str]) -> str:
    """Decode words in `text`; `carrier` latin-1 says that `text` is raw bytes, utf-8 that it is text."""
    out: list[str] = []
    pending: list[tuple[str, bytes]] = []
    label = ""
    position = 0

    def flush() -> None:
        if pending:
            out.append(_decode_run(pending, label))
            pending.clear()

    def plain(between: str) -> str:
        return decode_charset(between.encode("latin-1"), "", hints)[0] if carrier == "latin-1" else between

    for match in _WORD.finditer(text):
        if match[4] != "?=" and not _is_cut_word(match):
            continue
        between = text[position : match.start()]
        if between.strip() or not pending:  # white space between two encoded words is not text (§6.2)
            flush()
            out.append(plain(between))
        if match[1].lower() != label:
            flush()
            label = match[1].lower()
        pending.append((match[2].lower(), match[3].encode(carrier, "replace")))
        position = match.end()
    flush()
    out.append(plain(text[position:]))
    return "".join(out)


def _is_cut_word(match: re.Match[str]) -> bool:
    """Return whether a word without end is one all the same: in a known charset, and with nothing else in it."""
    payload = match[3].strip()
    known = python_codec(match[1]) is not None or match[1].lower() == "us-ascii"
    return known and len(payload) > 1 and (match[2] in "qQ" or _NOT_BASE64.search(payload.encode()) is None)


def _decode_run(words: Sequence[tuple[str, bytes]], label: str) -> str:
    text, _, defect = decode_charset(b"".join(_word_bytes(kind, payload) for kind, payload in words), label)
    if len(words) == 1 or (defect is None and _CONTROL.search(text) is None) or any(kind != "b" for kind, _ in words):
        return text
    # The base64 of the whole was cut, and not between its groups of four.
    joined, _, defect = decode_charset(_base64(b"".join(payload for _, payload in words)), label)
    return text if defect else joined


def _word_bytes(kind: str, payload: bytes) -> bytes:
    return binascii.a2b_qp(payload, header=True) if kind == "q" else _base64(payload)


def _base64(payload: bytes) -> bytes:
    data = _NOT_BASE64.sub(b"", payload)
    if len(data) % 4 == 1:
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Split `text/plain; charset=x` into the lower-case value and its parameters, RFC 2231 resolved.

    The first of repeated parameters wins. Parameter values are clean of line breaks.

    >>> parse_parameters("attachment; filename*0*=utf-8''a%20; filename*1=b.txt")
    ('attachment', {'filename': 'a b.txt'})
    """
    head = _MAIN.match(value)
    if head is None or value[head.end() : head.end() + 20].lstrip().startswith("="):
        value, head = f";{value}", None  # a parameter with nothing before it (scripts)
    main = _SPACE.sub("", head[1]).lower() if head is not None else ""
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for match in _PARAMETER.finditer(value, head.end() if head is not None else 0):
        name, text = match[1].lower(), _unquote(match[2].strip())
        base, star, rest = name.partition("*")
        if not star:
            if base in _ONE_WORD and not match[2].startswith('"'):
                text = (text.replace("(", " ").split() or [""])[0]  # a comment follows, or the next field
            plain.setdefault(base, clean(decode_words(_percent(text) if base in ("name", "filename") else text)))
            continue
        number = rest.rstrip("*")
        index = int(number) if number.isdigit() and len(number) < 4 else 0
        pieces.setdefault(base, {}).setdefault(index, (rest.endswith("*") or rest == "", text))
    for base, numbered in pieces.items():
        # The extended form is the better one where a client sends both (RFC 6266 §4.3), but not if it lost letters.
        text = clean(_join_extended(numbered))
        if base not in plain or text.count("?") + text.count("\ufffd") <= plain[base].count("?"):
            plain[base] = text
    return main, plain


def _percent(text: str) -> str:
    """Decode a name that a client wrote as in a URL; only UTF-8 beyond ASCII is certainly meant so."""
    if "%" in text and _PERCENT.fullmatch(text):
        data = unquote_to_bytes(text)
        try:
            return data.decode("utf-8") if not data.isascii() else text
        except UnicodeDecodeError:
            return text
    return text


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
    found = dict.fromkeys([f"<{''.join(one.split())}>" for one in _ID.findall(value)])
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
    usual = _USUAL_DATE.fullmatch(value)
    if usual is not None and usual[2] in _MONTHS:
        return _usual_date(usual)
    iso = _ISO_DATE.match(value[:200])
    try:
        if iso is not None:
            zone = (iso[2] or "Z").replace("Z", "+00:00")
            return datetime.fromisoformat(iso[1].replace(" ", "T") + zone)
        parts = parsedate_tz(value[:200])
        if parts is None:
            return None
        offset = parts[9]
        zone_info = UTC if not offset else timezone(timedelta(seconds=offset))
        year, month, day, hour, minute, second = parts[:6]
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone_info)
        moment.astimezone(UTC)  # a date at the edge of the calendar must fail here, not in the caller
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return None
    return moment


def _usual_date(match: re.Match[str]) -> datetime | None:
    """Read what nearly every program writes (RFC 5322 §3.3); `parsedate_tz` takes five times as long."""
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    seconds = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    try:
        zone = timezone(timedelta(seconds=seconds)) if seconds else UTC
        moment = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=zone)
        moment.astimezone(UTC)  # a date at the edge of the calendar must fail here, not in the caller
    except (ValueError, OverflowError):
        return None
    return moment
