"""Address lists of headers (RFC 5322 §3.4, §4.4), read tolerantly and in linear time."""

from __future__ import annotations

import re

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.headers import clean, decode_words
from ingestd.mail.types import Address

_TOKEN = re.compile(
    r"""\"(?P<quoted>(?:[^\"\\]|\\.)*)\"
    |   (?P<comment>\((?:[^()\\]|\\.)*\))
    |   <(?P<angle>[^<>]*)>?
    |   (?P<mark>[,;:])
    |   (?P<atom>[^\s\"(<,;:]+|[\"(])
    |   (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# Begins at a token's start only, or a long word without "@" would be tried from each of its characters.
_ADDR = re.compile(r"(?<![^\s@<>,;:\"])[^\s@<>,;:\"]+@[^\s@<>,;:\"]+")


class _Collector:
    """Collects the pieces of one mailbox until a comma, a semicolon or the end."""

    def __init__(self, count_max: int) -> None:
        self.found: list[Address] = []
        self.count_max = count_max
        self.clear()

    def clear(self) -> None:
        self.words: list[str] = []
        self.comment = ""
        self.addr: str | None = None
        self.local_quoted = False

    def finish(self) -> None:
        if len(self.found) < self.count_max:
            one = self._mailbox()
            if one is not None:
                self.found.append(one)
        self.clear()

    def _mailbox(self) -> Address | None:
        words = "".join(self.words).strip()
        if self.addr is not None:
            return _address(self.addr, words or self.comment)
        if not words:
            return None
        match = _ADDR.search(words)
        if match is None:
            return _address(words, self.comment) if self.local_quoted and "@" in words else None
        rest = (words[: match.start()] + words[match.end() :]).strip()
        return _address(match[0], self.comment or rest)


def _address(addr: str, name: str) -> Address | None:
    addr = re.sub(r"\s+", "", addr)
    if addr.startswith("@") and ":" in addr:  # obsolete source route (§4.4)
        addr = addr.rpartition(":")[2]
    if addr.lower().startswith("mailto:"):
        addr = addr[7:]
    addr = clean(decode_words(addr)).strip("'")
    if not addr or len(addr) > 998:
        return None
    shown = clean(decode_words(name))
    if len(shown) > 1 and shown[0] == shown[-1] == "'":
        shown = shown[1:-1]
    return Address(addr=addr, name=re.sub(r"\s+", " ", shown)[:500])


def parse_addresses(raw: bytes | str, count_max: int = 500) -> tuple[Address, ...]:
    """Return the mailboxes of a From, To or Cc value; group names are dropped, their members kept.

    Structure is read before encoded words are decoded, so a comma inside an
    encoded name splits nothing.

    >>> parse_addresses('"Doe, Jane" <jane@example.com>, team: a@example.com;')
    (Address(addr='jane@example.com', name='Doe, Jane'), Address(addr='a@example.com', name=''))
    """
    text = raw if isinstance(raw, str) else raw.decode("ascii") if raw.isascii() else decode_charset(raw)[0]
    collector = _Collector(count_max)
    for match in _TOKEN.finditer(text):
        kind, value = match.lastgroup, match[match.lastgroup or 0]
        if kind == "mark":
            if value == ":" and not _ADDR.search("".join(collector.words)) and collector.addr is None:
                collector.clear()  # "group name:"
            elif value != ":":
                collector.finish()
            if len(collector.found) >= count_max:
                break
        elif kind == "angle":
            if collector.addr is None or not collector.addr.strip():
                collector.addr = value
        elif kind == "quoted":
            collector.words.append(_QUOTED_PAIR.sub(r"\1", value))
            collector.local_quoted = True
        elif kind == "comment":
            collector.comment = collector.comment or value[1:-1]
        else:
            collector.words.append(value)
    collector.finish()
    return tuple(collector.found)


def domain_of(addr: str) -> str:
    """Return the lower-case domain, "" where there is none.

    >>> domain_of("Jane@Example.COM.")
    'example.com'
    """
    return addr.rpartition("@")[2].strip().rstrip(".").lower() if "@" in addr else ""


def normalize(addr: str) -> str:
    """Return the form under which two spellings of an address are one: lower case, no brackets.

    The local part is case-sensitive by RFC 5321 §2.4 and nowhere in practice.
    Plus-tags and dots are kept: only some providers ignore them.

    >>> normalize(" <Jane@Example.COM> ")
    'jane@example.com'
    """
    bare = addr.strip().strip("<>").strip()
    local, at, _ = bare.rpartition("@")
    return f"{local.lower()}@{domain_of(bare)}" if at else bare.lower()
