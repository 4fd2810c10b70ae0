"""From a fetched message to what a transaction can write: parsed, identified, sealed.

Nothing here touches the content database, but for large raw mails: their blob is
stored before the transaction that refers to it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connectors.base import Edit, RawMessage
from ingestd.inbound.identity import header_key, identity_key, identity_of, identity_of_bytes
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.inbound.rules import Rules
from ingestd.mail.blobs import compress_chunks
from ingestd.mail.transform import Transformed
from ingestd.mail.types import ParsedMail
from ingestd.mirror import Mirror
from ingestd.records import MailboxRecord, chunk_place
from storage.blobs import Blobs
from storage.messages import BLOB, ROWS, Identities, Raw, by_header
from storage.sealing import SEAL_BYTES, DataKey
from storage.types import new_id

_RULES = Rules()
_MIRROR = Mirror()


@dataclass(frozen=True, slots=True)
class MailboxContext:
    """What is known of a mailbox while its mail is taken in."""

    account_id: UUID
    mailbox_id: UUID
    key: DataKey
    record: MailboxRecord
    contact_forms: frozenset[str]
    """Senders whose Reply-To is the requester."""
    authserv_ids: frozenset[str]
    """Names whose Authentication-Results are believed (RFC 8601 §5); none: the provider proves nobody."""
    edit: Edit | None = None
    """What is done in the mailbox to each message that was taken."""
    mirror: Mirror = _MIRROR
    """What is done there to the mail of a ticket, as its status says."""
    mirror_messages_max: int = 500
    """To so many of its messages, the newest."""
    authserv_several: bool = False
    """The provider spreads its Authentication-Results over several headers."""
    rules: Rules = _RULES
    """What an operator decides about tickets."""


@dataclass(frozen=True, slots=True)
class Read:
    """A message that was read and identified, not yet sealed."""

    row_id: UUID
    """Of the message, or of the quarantine row, that it becomes."""
    identity_key: bytes
    bytes_key: bytes
    """The identity that it has, or would have, in quarantine, where nothing but its bytes is known."""
    header_key: bytes | None
    """Of a message that was read whole: its identity if only its header had been, as the limit was or will be lower."""
    other_keys: tuple[bytes, ...]
    """What it may be known by besides, as the limit was another when it came."""
    locator: str
    folder: str
    received_at: datetime
    size_bytes: int
    truncated: bool
    altered: bool
    """It is not stored as it came: card numbers are masked."""
    chunks: Sequence[bytes]
    """Compressed."""
    raw_sha256: bytes
    mail: ParsedMail | None
    """None for a message that the parser gave up on."""
    rejected: str | None
    """Why it did: timeout, memory or crash; or withheld, where the server gave nothing to parse."""

    def is_among(self, known: Collection[bytes]) -> bool:
        """Whether it is one of the `known` messages. What was quarantined once may be understood at its second
        coming, as the limits were raised, and is still the same message."""
        return any(key in known for key in self.all_keys())

    def all_keys(self) -> tuple[bytes, ...]:
        """Return every key by which the database may know it."""
        return (self.identity_key, self.bytes_key, *self.other_keys)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message ready to be written."""

    read: Read
    raw: Raw


async def read_batch(
    parser: ParserPool,
    context: MailboxContext,
    messages: Sequence[RawMessage],
    *,
    live: bool = True,
    masked: bool = False,
) -> list[Read]:
    """Parse and identify messages, in their order; those that come twice in the batch count once.

    `masked` says that card numbers are to be masked; what a message is known by are the bytes that came, so that it
    is the same one whether or not.
    """
    raws = [_given(message) for message in messages]
    given = [raw for raw in raws if raw is not None]
    parsed = iter(await parser.transform_all(given, live=live, masked=masked, owner=context.key.mailbox_id))
    reads = [
        await _read(context.key, message, raw or b"", None if raw is None else next(parsed))
        for message, raw in zip(messages, raws, strict=True)
    ]
    unique = {read.identity_key: read for read in reversed(reads)}
    return list(reversed(unique.values()))


async def seal_batch(
    blobs: Blobs, context: MailboxContext, reads: Sequence[Read], known: Collection[bytes], blob_bytes_min: int
) -> list[Prepared]:
    """Seal the raw bytes of those messages that are not `known`; store those that are large."""
    prepared = []
    for read in reads:
        if not read.is_among(known):
            raw = await seal_raw(blobs, context.key, read.row_id, read.chunks, read.size_bytes, blob_bytes_min)
            prepared.append(Prepared(read, raw))
    return prepared


def identities(reads: Sequence[Read]) -> Identities:
    """Return what the database may know these messages by."""
    return Identities(
        keys=list(dict.fromkeys(key for read in reads for key in read.all_keys())),
        header_keys=[read.identity_key for read in reads if read.truncated],
    )


async def seal_raw(
    blobs: Blobs, key: DataKey, owner_id: UUID, chunks: Sequence[bytes], size_bytes: int, blob_bytes_min: int | None
) -> Raw:
    """Seal a compressed raw message, chunk by chunk; put it into the blob store where it is large (None: never)."""
    assert key.mailbox_id is not None
    count = len(chunks)
    # Sealed one by one as they are written: of a large mail no second copy is held.
    sealed = (key.seal(chunk_place(owner_id, position, count), chunk) for position, chunk in enumerate(chunks))
    if blob_bytes_min is None or sum(len(chunk) + SEAL_BYTES for chunk in chunks) <= blob_bytes_min:
        return Raw(ROWS, count, size_bytes, list(sealed))
    await asyncio.to_thread(blobs.put, key.account_id, key.mailbox_id, owner_id, sealed)
    return Raw(BLOB, count, size_bytes)


def _given(message: RawMessage) -> bytes | None:
    """Return what is to be parsed of a message: all of it, or its header; None where the server gave nothing."""
    raw = message.header if message.content is None else message.content
    return None if message.withheld and not raw else raw


async def _read(key: DataKey, message: RawMessage, raw: bytes, parsed: Transformed | ParserRejected | None) -> Read:
    truncated = message.content is None
    mail, rejected, came = None, None, None
    if isinstance(parsed, Transformed):
        mail, chunks, digest = parsed.mail, parsed.chunks, parsed.raw_sha256
        size_bytes, came = parsed.size_bytes, parsed.came
    else:
        rejected = "withheld" if parsed is None else parsed.reason
        # Not in the event loop: it can have 50 MB, and new mail of others waits for the loop.
        chunks, digest = await asyncio.to_thread(_compressed, raw)
        size_bytes = len(raw)
    digest_came = came.raw_sha256 if came is not None else digest
    bytes_key = identity_of_bytes(key, _bytes_told(message) or digest_came, message.provider_id)
    of_header = None if message.provider_id else header_key(key, message.header)
    if truncated:
        identity, other_keys = of_header or bytes_key, _of_truncated(key, message, mail, digest_came, of_header)
    else:
        identity = bytes_key if mail is None else identity_of(key, mail, digest_came, message.provider_id, came=came)
        other_keys = (of_header,) if of_header else ()
    return Read(
        row_id=new_id(),
        identity_key=identity,
        bytes_key=bytes_key,
        header_key=None if truncated else of_header,
        other_keys=other_keys,
        locator=message.locator,
        folder=message.folder,
        received_at=message.received_at,
        size_bytes=size_bytes,
        truncated=truncated,
        altered=came is not None,
        chunks=chunks,
        raw_sha256=digest,
        mail=mail,
        rejected=rejected,
    )


def _compressed(raw: bytes) -> tuple[list[bytes], bytes]:
    return compress_chunks(raw), hashlib.sha256(raw).digest()


def _bytes_told(message: RawMessage) -> bytes | None:
    """Return what stands for the bytes of a message that has none: two such are no one message."""
    if not message.withheld or message.header:
        return None
    return hashlib.sha256(b"withheld %s %d" % (message.locator.encode(), message.size_bytes)).digest()


def _of_truncated(
    key: DataKey, message: RawMessage, mail: ParsedMail | None, digest: bytes, of_header: bytes | None
) -> tuple[bytes, ...]:
    """Return what a message may be known by of which only the header was read: as one that was read whole, or, from
    an earlier version, by its Message-ID and the size that was told."""
    if of_header is None:
        return ()
    if mail is None:
        return (by_header(of_header),)
    size = b"size %d" % message.size_bytes
    was = identity_key(key, provider_id=None, message_id=mail.message_id, body_sha256=size, raw_sha256=digest)
    return (by_header(of_header), was)
