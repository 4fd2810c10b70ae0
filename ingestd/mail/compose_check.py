"""Our own output, read again: a message that does not say what was asked for is never sent.

Header fields are read as any mail's are. Parts are compared byte for byte, where the parser that reads strangers'
mail would look for more than what is written (uuencoded files, HTML under the wrong type).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestd.mail import OWN_HEADER
from ingestd.mail.addresses import normalize
from ingestd.mail.encoding import decode_part
from ingestd.mail.entities import Leaf
from ingestd.mail.fields import ComposeError
from ingestd.mail.inline import content_id
from ingestd.mail.limits import Limits
from ingestd.mail.mime import Part, read_tree
from ingestd.mail.parse import parse
from ingestd.mail.types import Address

_LIMITS = Limits(text_bytes_max=256 * 1024 * 1024, parts_max=10_000, addresses_max=10_000)
_BAD_LINE = re.compile(rb"(?<!\r)\n|\r(?!\n)|[^\n]{999}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a message must say."""

    from_: Sequence[Address]
    to: Sequence[Address]
    cc: Sequence[Address]
    reply_to: Sequence[Address]
    subject: str
    message_id: str
    in_reply_to: Sequence[str]
    references: Sequence[str]
    own_token: str
    thread_index: str
    leaves: Sequence[Leaf]


def verify(message: bytes, expected: Expected) -> None:
    """Parse a message and compare. Raises ComposeError for the first field that reads back differently."""
    # What the header says is read without the body, which would cost as much as all the rest.
    mail = parse(message[: message.find(b"\r\n\r\n") + 4], limits=_LIMITS)
    root, defects, _ = read_tree(message, _LIMITS)
    names = [name for name, _ in root.fields]
    checks = (
        ("From", _same(mail.from_, expected.from_)),
        ("To", _same(mail.to, expected.to)),
        ("Cc", _same(mail.cc, expected.cc)),
        ("Reply-To", _same(mail.reply_to, expected.reply_to)),
        ("Subject", mail.subject == expected.subject),
        ("Message-ID", mail.message_id == expected.message_id),
        ("In-Reply-To", mail.in_reply_to == tuple(expected.in_reply_to)),
        ("References", mail.references == tuple(expected.references)),
        ("Thread-Index", mail.thread_index == expected.thread_index),
        (OWN_HEADER, mail.own_tokens == (expected.own_token,)),
        ("header", len(set(names)) == len(names) and "bcc" not in names),
        ("structure", not defects),
        *_leaf_checks(message, [part for part in root.walk() if not part.children], expected.leaves),
        ("line ends", _BAD_LINE.search(message) is None),
    )
    for field, good in checks:
        if not good:
            raise ComposeError(field, "reads back differently")


def _same(found: Sequence[Address], wanted: Sequence[Address]) -> bool:
    return [normalize(one.addr) for one in found] == [normalize(one.addr) for one in wanted]


def _leaf_checks(message: bytes, found: Sequence[Part], wanted: Sequence[Leaf]) -> list[tuple[str, bool]]:
    if len(found) != len(wanted):
        return [("structure", False)]
    return [(leaf.field, _same_leaf(message, part, leaf)) for part, leaf in zip(found, wanted, strict=True)]


def _same_leaf(message: bytes, part: Part, leaf: Leaf) -> bool:
    return (
        part.content_type == leaf.content_type
        and part.filename == leaf.name
        and content_id(part.get("content-id")) == leaf.content_id
        and decode_part(message[part.start : part.end], part.encoding) == leaf.content
    )
