"""Address lists of headers (RFC 5322 §3.4, §4.4), read tolerantly and in linear time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.headers import clean, decode_words
from ingestd.mail.types import Address

# An encoded word comes first: clients leave commas, brackets and quotes inside. An angle ends before a comma, as the
# closing bracket may be missing; a route may stand before the address (§4.4).
_TOKEN = re.compile(
    r"""(?P<word>=\?[^?\s]{1,60}\?[bBqQ]\?[^?]*+\?=)
    |   \"(?P<quoted>(?>(?:[^\"\\]|\\.)*))\"
    |   (?P<comment>\((?>(?:[^()\\]|\\.|\([^()]*+\))*)\))
    |   <(?P<angle>(?:\s*@[^<>:]*:)?[^<>,;]*+)>?
    |   (?P<mark>[,;:])
    |   (?P<atom>[^\s\"(<,;:]+)
    |   (?P<space>\s+)
    |   (?P<junk>[\"(])""",
    re.VERBOSE | re.DOTALL,
)
# The same without quotes and comments, for what follows one that never ends.
_UNQUOTED = re.compile(r"<(?P<angle>[^<>,;]*+)>?|(?P<mark>[,;:])|(?P<atom>[^\s\"(<,;:]+)|(?P<space>\s+)", re.DOTALL)
# Nearly every From: words and one address in angle brackets, and no sign that means anything else.
_ONE = re.compile(r"\s*+([^\"(<>,;:@]*+)<([^\s\"(<>,;:@]++@[^\s\"(<>,;:@]++)>\s*+")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# Begins at a token's start only, or a long word without "@" would be tried from each of its characters.
_ADDR = re.compile(r"(?<![^\s@<>,;:\"\[(])[^\s@<>,;:\"\[(]+@(?:\[[^\s\]]{1,60}\]|[^\s@<>,;:\"\])]+)")


class _Collector:
    """Collects the pieces of one mailbox until a comma, a semicolon or the end."""

    def __init__(self, count_max: int, names: bool) -> None:
        self.found: list[Address] = []
        self.count_max = count_max
        self.names = names
        self.before = ""
        """What stood before a comma and was no address: the family name of an unquoted "Doe, Jane <…>"."""
        self.clear()

    def clear(self) -> None:
        self.words: list[str] = []
        self.comment = ""
        self.addr: str | None = None
        self.local_quoted = False
        self.at = False
        """An "@" was seen outside the angle brackets."""

    def word(self, text: str) -> None:
        self.words.append(text)
        self.at = self.at or "@" in text

    def finish(self, mark: str = "") -> None:
        if len(self.found) < self.count_max:
            one = self._mailbox()
            if one is not None:
                self.found.append(one)
            words = "".join(self.words).strip()
            self.before = words if one is None and mark == "," and not self.comment and len(words) < 100 else ""
        self.clear()

    def _mailbox(self) -> Address | None:
        words = "".join(self.words).strip()
        if self.addr is not None and self.addr.strip():
            name = f"{self.before}, {words}" if self.before and words else words
            return _address(self.addr, name or self.comment)
        match = _ADDR.search(words) if self.at else None
        if match is None and "=?" in words:
            # Some clients encode the whole mailbox, address and all (forbidden by RFC 2047 §5 (3)).
            words = clean(decode_words(words))
            match = _ADDR.search(words)
        if match is not None:
            rest = (words[: match.start()] + words[match.end() :]).strip(' <>[]()"')
            return _address(match[0], self.comment or rest)
        if "@" in self.comment and (match := _ADDR.search(self.comment)) is not None:
            return _address(match[0], words)  # "Jane Doe (jane@example.com)"
        if self.local_quoted and "@" in words:
            return _address(words, self.comment)
        shown = _shown(words or self.comment)
        return Address(addr="", name=shown) if self.names and shown else None


def _address(addr: str, name: str) -> Address | None:
    if len(words := addr.split()) > 1 and (inner := _ADDR.search(addr)) is not None:
        addr = inner[0]  # "<Jane Doe jane@example.com>"
    else:
        addr = "".join(words)
    if addr.startswith("@") and ":" in addr:  # obsolete source route (§4.4)
        addr = addr.rpartition(":")[2]
    if addr.lower().startswith("mailto:"):
        addr = addr[7:]
    addr = clean(decode_words(addr)).strip("'").rstrip(".,")
    if not addr or len(addr) > 998:
        return None
    return Address(addr=addr, name=_shown(name))


def _shown(name: str) -> str:
    shown = clean(decode_words(name))
    if len(shown) > 1 and shown[0] == shown[-1] == "'":
        shown = shown[1:-1]
    if len(shown) > 1 and shown[0] == shown[-1] == '"':  # quoted twice, or inside an encoded word
        shown = shown[1:-1]
    return " ".join(shown.split()).strip(" <>")[:500]


def parse_addresses(
    raw: bytes | str, count_max: int = 500, hints: Sequence[str] = (), *, names: bool = False
) -> tuple[Address, ...]:
    """Return the mailboxes of a From, To or Cc value; group names are dropped, their members kept.

    Structure is read before encoded words are decoded, so a comma inside an
    encoded name splits nothing. `hints` are charsets for raw 8-bit text. With
    `names`, what has no address is returned with the empty one.

    >>> parse_addresses('"Doe, Jane" <jane@example.com>, team: a@example.com;')
    (Address(addr='jane@example.com', name='Doe, Jane'), Address(addr='a@example.com', name=''))
    """
    if isinstance(raw, bytes):
        raw = raw.decode("ascii") if raw.isascii() else decode_charset(raw, "", hints)[0]
    if (one := _ONE.fullmatch(raw)) is not None and count_max > 0:
        found = _address(one[2], one[1].strip())
        return (found,) if found is not None else ()
    collector = _Collector(count_max, names)
    position = 0
    for pattern in (_TOKEN, _UNQUOTED):
        for match in pattern.finditer(raw, position):
            kind, value = match.lastgroup or "space", match[match.lastgroup or 0]
            if kind == "junk" or len(collector.found) >= count_max:
                # What begins here never ends. No later one is tried: that would be quadratic.
                position = match.end()
                break
            _take(collector, kind, value)
        else:
            break
    collector.finish()
    return tuple(collector.found)


def _take(collector: _Collector, kind: str, value: str) -> None:
    if kind == "mark":
        _mark(collector, value)
    elif kind == "angle":
        if collector.addr is None or not collector.addr.strip():
            collector.addr = value
    elif kind == "quoted":
        collector.word(_QUOTED_PAIR.sub(r"\1", value))
        collector.local_quoted = True
    elif kind == "comment":
        collector.comment = collector.comment or value[1:-1]
    else:
        collector.word(value)


def _mark(collector: _Collector, mark: str) -> None:
    if mark != ":":
        collector.finish(mark)
    elif collector.words and collector.words[-1].lower().endswith("mailto"):
        collector.words[-1] = " "  # "Jane [mailto:jane@example.com]", as Outlook quotes
    elif not collector.at and collector.addr is None:
        collector.clear()  # "group name:"


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
