"""What the parser process does with one message: bytes in, values out."""

from __future__ import annotations

import hashlib

import msgspec

from ingestd.mail.blobs import compress_chunks
from ingestd.mail.cards import mask_cards
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.parse import body_sha256, parse
from ingestd.mail.types import Came, ParsedMail


class Transformed(msgspec.Struct, frozen=True):
    """A message ready to be sealed and stored."""

    mail: ParsedMail
    chunks: list[bytes]
    """The raw message as independent zstd frames of `blobs.CHUNK_BYTES` plain bytes."""
    raw_sha256: bytes
    """32 bytes."""
    size_bytes: int
    came: Came | None = None
    """Where it is not stored as it came: what it is known by."""


def transform(raw: bytes, limits: Limits = DEFAULT_LIMITS, *, masked: bool = False) -> Transformed:
    """Parse and compress one message; `masked` with its card numbers masked. Never raises for any bytes.

    >>> transform(b"Subject: Hi\\r\\n\\r\\nHello").mail.subject
    'Hi'
    """
    came = None
    if masked and (rewritten := mask_cards(raw)) is not None:
        came = Came(body_sha256(raw), hashlib.sha256(raw).digest())
        raw = rewritten
    return Transformed(
        mail=parse(raw, limits=limits),
        chunks=compress_chunks(raw),
        raw_sha256=hashlib.sha256(raw).digest(),
        size_bytes=len(raw),
        came=came,
    )
