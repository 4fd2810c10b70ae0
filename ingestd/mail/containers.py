"""What must be opened to reach an attachment that lies in something else: a signed message, winmail.dat, a text.

`content_of` reads an attachment back, years later, from the bytes that its record names. It opens what a stranger
wrote, outside the parser process. That is sound for these formats: readers of our own in plain Python, without a
library in C, total, linear in the bytes and bounded by `Limits`; everything else (HTML, charsets, the tree of parts)
stays in that process, as a record names the place inside a signed message by offset and length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ingestd.mail.encoding import decode_part, decode_uu
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.protected import read_cms
from ingestd.mail.tnef import read_tnef
from ingestd.mail.types import Attachment

SMIME, TNEF, UUENCODE = "smime", "tnef", "uuencode"
PLAIN_ENCODINGS = ("7bit", "8bit", "binary")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,255})\r?\n", re.MULTILINE)
_UU_END = re.compile(rb"^end[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


def content_of(one: Attachment, encoded: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
    """Return the decoded bytes of an attachment; None where they are not where its record says.

    `encoded` are its `length` bytes of the raw message from its `offset`.

    >>> from ingestd.mail.parse import parse
    >>> raw = b"Content-Disposition: attachment; filename=a\\r\\nContent-Type: x/y\\r\\n\\r\\nabc"
    >>> (one,) = parse(raw).attachments
    >>> content_of(one, raw[one.offset :][: one.length])
    b'abc'
    """
    data = decode_part(encoded, one.encoding)
    inner = iter(one.inner)
    for container in one.container.split("/") if one.container else ():
        found: bytes | None = None
        if container == SMIME:
            entity = read_cms(data, limits).entity
            offset, length, encoding = next(inner, (0, 0, ""))
            found = decode_part(entity[offset : offset + length], encoding) if entity else None
        elif container == TNEF:
            tnef = read_tnef(data, limits)
            found = tnef.files[one.index].data if tnef is not None and 0 <= one.index < len(tnef.files) else None
        elif container == UUENCODE:
            found = next((file.content for index, file in enumerate(uu_files(data)) if index == one.index), None)
        if found is None:
            return None
        data = found
    return data


@dataclass(frozen=True, slots=True)
class UuFile:
    """A uuencoded file in a text: from `start` to `end`, with its begin and end lines."""

    name: bytes
    content: bytes
    start: int
    end: int


def uu_files(text: bytes) -> Iterator[UuFile]:
    """Yield the uuencoded files of a text; one without an end line stays text.

    >>> [one.name for one in uu_files(b"begin 644 a.txt\\n#86)C\\n`\\nend\\n")]
    [b'a.txt']
    """
    position = 0
    # Always on from the last end: else a thousand begin lines before one end line are read a thousand times.
    while (begin := _UU_BEGIN.search(text, position)) is not None:
        end = _UU_END.search(text, begin.end())
        if end is None:
            return
        content = decode_uu(text[begin.end() : end.start()])
        if content:
            yield UuFile(begin[1], content, begin.start(), end.end())
        position = end.end()
