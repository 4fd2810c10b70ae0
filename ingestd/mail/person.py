"""One person's address and names in the mail of others: found by a keyed hash of the address, and replaced.

The hash alone says whom to look for, so that it can be done again when nobody has the address any more. An address is
one where it stands by itself: `anna@example.com` is not in `joanna@example.com`, nor in `anna@example.com.example`.
A name is replaced beside the address, and in the lines by which mail programs introduce what they quote.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from ingestd.mail.addresses import normalize, parse_addresses
from ingestd.mail.attribution import LINE_CHARS_MAX, NONE, attribution, bare, field
from ingestd.mail.international import same_spelling
from ingestd.mail.types import Address, ParsedMail

ERASED_ADDRESS: Final = "erased@erased.invalid"
"""Stands where the address stood; nobody can have it (RFC 2606 §2)."""
ERASED_NAME: Final = "[erased]"
_ERASED_PHRASE: Final = "erased"
"""In a header, where brackets would have to be quoted."""
NAMES_MAX: Final = 50
_HASH_BYTES = 16
_HEADER_BYTES_MAX = 64 * 1024
_KNOWN_MAX = 20_000
"""Addresses of which the hash is remembered: most of a mailbox's are those of a few."""
_LOCAL_MAX, _DOMAIN_MAX = 64, 253
_NAME_CHARS_MAX = 80
_QUOTED_LINES_MAX = 3
"""Lines over which an attribution is wrapped."""

_ADDRESS_FIELDS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "resent-from", "resent-to", "resent-cc", "resent-bcc"}
    | {"resent-sender", "disposition-notification-to", "return-receipt-to"}
)
_LOCAL = re.compile(rf"[^\s<>()\[\],;:\"\\@＜＞（）]{{1,{_LOCAL_MAX}}}\Z")
_DOMAIN = re.compile(rf"(?:[\w-]|\.(?=[\w-])){{1,{_DOMAIN_MAX}}}")
_LOCAL_MARKS = "!#$%&'*/=?^`{|}~"
"""May be in a local part, and are more often marks before it, as in `user=anna@example.com`."""
_BEFORE_NAME = re.compile(r"[\s>|\"'“”„«»(]*[<(\[]?(?:mailto:)?[<(\[]?[\s>|]*\Z", re.IGNORECASE)
_WORDS = re.compile(r"[^\s<>()\[\],;:\"“”„«»@|]+")

Edit = tuple[int, int, str]
"""From, to, and what is to stand there instead."""


class Person:
    """Somebody who is looked for."""

    def __init__(self, key: bytes, wanted: bytes, names: Iterable[str] = ()) -> None:
        """`wanted` is the hash of the address under `key`."""
        self._key, self._wanted = key, wanted
        self._known: dict[str, bool] = {}
        spelled = [one for name in names for one in spellings(name)]
        parts = sorted({re.escape(one) for one in spelled}, key=len, reverse=True)
        self._names = re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE) if parts else None

    def has(self, address: str) -> bool:
        """Whether it is the person's address, in whatever spelling."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[address] = hash_of(self._key, address) == self._wanted
        return known

    def names_among(self, addresses: Iterable[Address | None]) -> list[str]:
        """Return what the person is called in a header."""
        mine = [one.name for one in addresses if one is not None and one.name and self.has(one.addr)]
        return [name for name in mine if is_name(name)]

    def find(self, text: str) -> list[Edit]:
        """Return what is to be replaced in a text, in order, without overlap."""
        found = [(start, end, ERASED_ADDRESS) for start, end in self._addresses(text)]
        beside = [(*place, ERASED_NAME) for start, _, _ in found if (place := _name_before(text, start)) is not None]
        alone = [(start, end, ERASED_NAME) for start, end in self._attributed(text)]
        return _without_overlap([*found, *beside, *alone])

    def field(self, name: str, value: str) -> str:
        """Return the value of a header field with the person replaced."""
        if name not in _ADDRESS_FIELDS:
            return replaced(value, self.find(value))
        for called in self._called(value):
            value = value.replace(called, _ERASED_PHRASE)
        return replaced(value, [(start, end, ERASED_ADDRESS) for start, end in self._addresses(value)])

    def _called(self, value: str) -> list[str]:
        """Return what the person is called in the value of a field, the longest first."""
        if "@" not in value:
            return []
        # Also beside what stands for the address: whoever rewrites a field looks whether something is left.
        called = {one.name for one in parse_addresses(value) if one.addr == ERASED_ADDRESS or self.has(one.addr)}
        if called and self._names is not None:
            called |= {match[0] for match in self._names.finditer(value)}
        return sorted((one for one in called - {_ERASED_PHRASE} if is_name(one)), key=len, reverse=True)

    def _addresses(self, text: str) -> Iterator[tuple[int, int]]:
        """Return from and to of each place where the address stands by itself."""
        at = text.find("@")
        while at >= 0:
            before = _LOCAL.search(text, max(0, at - _LOCAL_MAX), at)
            after = _DOMAIN.match(text, at + 1)
            if before is not None and after is not None:
                place = self._place(text, before.start(), at, after.end())
                if place is not None:
                    yield place
            at = text.find("@", at + 1)

    def _place(self, text: str, first: int, at: int, last: int) -> tuple[int, int] | None:
        starts = [first, *(place + 1 for place in range(first, at - 1) if text[place] in _LOCAL_MARKS)]
        if text[first] == "_":
            starts.append(first + len(text[first:at]) - len(text[first:at].lstrip("_")))
        ends = [last] if text[last - 1] not in "_-" else [last, at + 1 + len(text[at + 1 : last].rstrip("_-"))]
        for start in starts:
            for end in ends:
                if start < at < end - 1 and self.has(text[start:end]):
                    return start, end
        return None

    def _attributed(self, text: str) -> Iterator[tuple[int, int]]:
        """Return where a name stands in a line that introduces what is quoted."""
        if self._names is None:
            return
        for match in self._names.finditer(text):
            if _introduces(text, *match.span()):
                yield match.span()


def everybody(mail: ParsedMail) -> list[Address]:
    """Return whom the header of a message names."""
    found = (*mail.from_, *mail.reply_to, mail.sender, *mail.to, *mail.cc, mail.forwarded_from)
    return [one for one in found if one is not None]


def is_by(person: Person, mail: ParsedMail) -> bool:
    """Whether the person wrote it; a contact form names who wrote in its one Reply-To."""
    if any(person.has(one.addr) for one in mail.from_):
        return True
    return len(mail.reply_to) == 1 and person.has(mail.reply_to[0].addr)


def is_from(person: Person, raw: bytes) -> bool:
    """As `is_by`, of a message that no parser understood: its From alone, as far as it can be read."""
    header = raw[:_HEADER_BYTES_MAX].replace(b"\r\n", b"\n").partition(b"\n\n")[0].replace(b"\n ", b" ")
    lines = [line for line in header.replace(b"\n\t", b" ").split(b"\n") if line[:5].lower() == b"from:"]
    return any(person.has(one.addr) for line in lines[:3] for one in parse_addresses(line[5:2000]))


def hash_of(key: bytes, address: str) -> bytes:
    """Return the keyed hash by which an address is known; `key` has 32 bytes.

    >>> hash_of(bytes(32), "Anna@EXAMPLE.com") == hash_of(bytes(32), "<anna@example.com>")
    True
    """
    return hmac.digest(key, normalize(same_spelling(address)).encode("utf-8", "replace"), "sha256")[:_HASH_BYTES]


def is_name(name: str) -> bool:
    """Whether a display name may be looked for elsewhere: one letter, or an address, is none."""
    return 2 <= len(name) <= 200 and "@" not in name and any(char.isalpha() for char in name)


def spellings(name: str) -> list[str]:
    """Return how mail programs may write a name.

    >>> spellings("Smith, Anna")
    ['Smith, Anna', 'Anna Smith']
    """
    family, comma, given = name.partition(",")
    if not comma or not family.strip() or not given.strip():
        return [name]
    return [name, f"{given.strip()} {family.strip()}"]


def replaced(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with its edits done."""
    out: list[str] = []
    done = 0
    for start, end, new in edits:
        out += (text[done:start], new)
        done = end
    return "".join([*out, text[done:]])


def scrub(mail: ParsedMail, person: Person, rewrite_html: Callable[[str, Any], str]) -> ParsedMail:
    """Return what was read of a message with the person replaced: what came out of containers that are not rewritten
    is in it, too. Ids stay as they are."""

    def text(value: str) -> str:
        return replaced(value, person.find(value))

    def deep(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, list):
            return [deep(one) for one in value]
        return {name: deep(one) for name, one in value.items()} if isinstance(value, dict) else value

    def one(address: Address | None) -> Address | None:
        if address is None or not person.has(address.addr):
            return address if address is None else Address(text(address.addr), text(address.name))
        return Address(ERASED_ADDRESS, ERASED_NAME if address.name else "")

    def each(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        return tuple(found for address in addresses if (found := one(address)) is not None)

    return msgspec.structs.replace(
        mail,
        subject=text(mail.subject),
        from_=each(mail.from_),
        reply_to=each(mail.reply_to),
        sender=one(mail.sender),
        to=each(mail.to),
        cc=each(mail.cc),
        forwarded_from=one(mail.forwarded_from),
        delivered_to=tuple(map(text, mail.delivered_to)),
        text=text(mail.text),
        new_text=text(mail.new_text),
        html=rewrite_html(mail.html, person.find),
        new_html=rewrite_html(mail.new_html, person.find),
        bounce=msgspec.convert(deep(msgspec.to_builtins(mail.bounce)), type(mail.bounce)) if mail.bounce else None,
        calendar=msgspec.convert(deep(msgspec.to_builtins(mail.calendar)), type=tuple[type(mail.calendar[0]), ...])  # type: ignore[misc]
        if mail.calendar
        else (),
        attachments=tuple(
            msgspec.structs.replace(part, name=text(part.name), original_name=text(part.original_name))
            for part in mail.attachments
        ),
    )


def _introduces(text: str, start: int, end: int) -> bool:
    """Whether the line around a place is an attribution, or a field of a quoted header."""
    lines = _lines_around(text, start, end)
    middle = len(lines) // 2
    found = field(bare(lines[middle]))
    if found is not None and found[0] in {"from", "to", "copy"}:
        return True
    for first in range(max(0, middle - _QUOTED_LINES_MAX + 1), middle + 1):
        for last in range(middle, min(len(lines), first + _QUOTED_LINES_MAX)):
            joined = " ".join(bare(line) for line in lines[first : last + 1])
            if attribution(joined) != NONE:
                return True
    return False


def _lines_around(text: str, start: int, end: int) -> list[str]:
    """Return the line of a place, in the middle of so many before and behind it as an attribution may have."""
    around = _QUOTED_LINES_MAX - 1
    first = text.rfind("\n", max(0, start - LINE_CHARS_MAX), start) + 1 or max(0, start - LINE_CHARS_MAX)
    stop = text.find("\n", end, end + LINE_CHARS_MAX)
    stop = min(len(text), end + LINE_CHARS_MAX) if stop < 0 else stop
    before = text[max(0, first - LINE_CHARS_MAX) : first].splitlines()[-around:]
    behind = text[stop + 1 : stop + 1 + LINE_CHARS_MAX].splitlines()[:around]
    return [
        *[""] * (around - len(before)),
        *before,
        text[first:stop].rstrip("\r"),
        *behind,
        *[""] * (around - len(behind)),
    ]


def _name_before(text: str, start: int) -> tuple[int, int] | None:
    """Return where the name stands in `Anna Smith <` before an address; None where nothing stands there."""
    lowest = max(0, start - _NAME_CHARS_MAX)
    gap = _BEFORE_NAME.search(text, lowest, start)
    if gap is None or not any(mark in gap[0] for mark in "<([") or gap.start() == lowest:
        return None
    first = None
    for word in reversed(list(_WORDS.finditer(text, lowest, gap.start()))):
        between = text[word.end() : first if first is not None else gap.start()]
        if between.strip(" \t\r\n>|") or not word[0][0].isalpha() or word[0][0].islower() or word.start() == lowest:
            break
        first = word.start()
    return None if first is None else (first, gap.start())


def _without_overlap(found: list[Edit]) -> list[Edit]:
    kept: list[Edit] = []
    for one in sorted(found, key=lambda edit: (edit[0], -edit[1])):
        if not kept or one[0] >= kept[-1][1]:
            kept.append(one)
    return kept
