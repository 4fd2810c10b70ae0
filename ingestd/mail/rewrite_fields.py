"""A header field, rewritten: its value is decoded, rewritten, encoded and folded, with as little changed as can be.

The gentlest way that leaves nothing is taken: the value as it is written; then what its encoded words (RFC 2047) say;
then its addresses, or its parameters (RFC 2231); at last all of it as one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ingestd.mail.addresses import parse_addresses
from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.fields import ComposeError, address_words, encode_words, fold, parameter
from ingestd.mail.headers import decode_value, decode_words, parse_parameters, word_runs
from ingestd.mail.html_tags import words
from ingestd.mail.types import Address

Field = Callable[[str, str], str]
"""Takes the name of a header field, in lower case, and its decoded value; returns the value that it is to have."""

_SPACES = re.compile(r"[ \t\r\n\0]+")
_KEPT = frozenset({"content-transfer-encoding", "mime-version"})
"""Without them nobody reads the parts."""
_NAMED = {"content-type": "name", "content-disposition": "filename"}
"""Fields of which only this parameter says something: the others are how the part is read."""
_ADDRESSES = words(
    "from to cc bcc sender reply-to return-path delivered-to x-original-to envelope-to x-delivered-to errors-to "
    "resent-from resent-to resent-cc resent-bcc resent-sender disposition-notification-to return-receipt-to"
)


def rewrite_field(written: bytes, name: str, value: bytes, field: Field, hints: Sequence[str]) -> bytes | None:
    """Return the lines of a field with its value rewritten, or None where it stays.

    `written` are its lines, `name` its name in lower case, `value` its unfolded bytes. `hints` are charsets for what
    has no label.
    """
    if name in _KEPT:
        return None
    spelled = written.partition(b":")[0].strip().decode("ascii", "replace")
    line_end = "\r\n" if written.endswith(b"\r\n") else "\n"
    new = _named(name, value, field, hints) if name in _NAMED else _first(name, value, field, hints)
    if new is None:
        return None
    return fold(spelled, new).replace("\r\n", line_end).encode("utf-8", "replace")


def _first(name: str, value: bytes, field: Field, hints: Sequence[str]) -> list[str] | None:
    raw = value.decode("ascii") if value.isascii() else decode_charset(value, "", hints)[0]
    read = decode_value(value, hints)
    wanted = field(name, read)
    plain = field(name, raw)
    if wanted == read and plain == raw:
        return None
    for way in _ways(name, raw, plain, field):
        now = decode_value(" ".join(way).encode("utf-8", "replace"), hints)
        if field(name, now) == now:
            return way
    return encode_words(_line(wanted))


def _ways(name: str, raw: str, plain: str, field: Field) -> Iterator[list[str]]:
    yield _words(plain)
    out: list[str] = []
    done = 0
    for start, end in word_runs(plain):
        read = decode_words(plain[start:end])
        if (wanted := field(name, read)) != read:
            out += (plain[done:start], " ".join(encode_words(_line(wanted), always=True)))
            done = end
    if out:
        yield _words("".join([*out, plain[done:]]))
    if name in _ADDRESSES:
        found = [Address(addr=field(name, one.addr), name=field(name, one.name)) for one in parse_addresses(raw)]
        try:
            yield address_words(name, found)
        except ComposeError:
            return


def _named(name: str, value: bytes, field: Field, hints: Sequence[str]) -> list[str] | None:
    raw = value.decode("ascii") if value.isascii() else decode_charset(value, "", hints)[0]
    main, parameters = parse_parameters(raw)
    key = _NAMED[name]
    was = parameters.get(key, "")
    now = _line(field(name, was)) if was else was
    return None if now == was else parameter_words(main, parameters | {key: now})


def parameter_words(main: str, parameters: dict[str, str]) -> list[str]:
    """Return the words of a value with parameters. Only names are ever written as RFC 2231: readers of old know no
    other boundary than a quoted one."""
    written = [main]
    for key, value in parameters.items():
        written[-1] += ";"
        if key in _NAMED.values():
            try:
                written += parameter(key, key, _line(value))
                continue
            except ComposeError:
                pass
        escaped = _line(value).replace("\\", "\\\\").replace('"', '\\"')
        written.append(f'{key}="{escaped}"')
    return written


def _words(value: str) -> list[str]:
    # No empty word: a fold at one would be an empty line, which ends the header.
    return [word for word in _SPACES.split(value) if word] or [""]


def _line(value: str) -> str:
    return _SPACES.sub(" ", value).encode("utf-8", "replace").decode("utf-8").strip()
