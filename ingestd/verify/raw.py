"""Nothing lost: the bytes of every message are still there, to the last one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Table, exists, select

from ingestd.mail.blobs import CHUNK_BYTES, decompress_chunk
from ingestd.records import MessageRecord, QuarantineRecord, chunk_place
from ingestd.verify.look import AnyRow, Look, live
from ingestd.verify.report import Findings
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.errors import NotFound, SealBroken
from storage.messages import BLOB, get_chunks
from storage.quarantine import QuarantineStatus
from storage.sealing import DataKey
from storage.tables import messages, person_erasures, quarantine, raw_chunks

_WINDOW_CHUNKS = 8
"""So many chunks of a raw message are in memory at a time."""


async def raw_messages_are_whole(look: Look, found: Findings) -> None:
    """Every message still has all its raw bytes: each chunk opens under the mailbox's key, and together
    they have the recorded size and SHA-256."""
    await _check(look, found, messages, "message_id", MessageRecord)


async def quarantined_messages_are_whole(look: Look, found: Findings) -> None:
    """Every message that is held in quarantine still has all its raw bytes, so that it can be replayed."""
    held = quarantine.c.status == QuarantineStatus.HELD
    await _check(look, found, quarantine, "quarantine_id", QuarantineRecord, held)


@stated
def raw_chunks_have_an_owner() -> Statements:
    """Every stored chunk of a raw message belongs to a message of the same mailbox, or to one held in quarantine."""
    owned = [
        select(table.c[name])
        .where(
            table.c.account_id == raw_chunks.c.account_id,
            table.c[name] == raw_chunks.c.owner_id,
            table.c.mailbox_id == raw_chunks.c.mailbox_id,
            *where,
        )
        .exists()
        for table, name, where in (
            (messages, "message_id", ()),
            (quarantine, "quarantine_id", (quarantine.c.status == QuarantineStatus.HELD,)),
        )
    ]
    yield Count(raw_chunks, live(raw_chunks))
    lost = select(raw_chunks.c.account_id, raw_chunks.c.owner_id).distinct()
    yield Flag(lost.where(live(raw_chunks), *(~one for one in owned)), "chunks without a message")


@stated
def altered_messages_have_a_cause() -> Statements:
    """A reply is what its agent wrote: only where a person was erased it may be stored otherwise."""
    yield Count(messages, live(messages))
    erased = exists().where(person_erasures.c.account_id == messages.c.account_id)
    query = select(messages.c.account_id, messages.c.message_id).where(live(messages))
    yield Flag(query.where(messages.c.altered, messages.c.direction != "in", ~erased), "nothing altered a reply")


async def _check(
    look: Look,
    found: Findings,
    table: Table,
    id_column: str,
    kind: type[MessageRecord] | type[QuarantineRecord],
    *where: ColumnElement[bool],
) -> None:
    async for page in look.pages(look.content, table, live(table), *where):
        for row in page:
            key = await look.key(row.account_id, row.mailbox_id)
            if key is None:
                continue  # reported by mailboxes_have_a_key
            owner_id = getattr(row, id_column)
            try:
                sha256 = key.open_record(kind.place(owner_id), row.sealed, kind).raw_sha256
            except (SealBroken, msgspec.MsgspecError):
                continue  # reported by records_open
            found.checked += 1
            fault = await _fault(look, key, row, owner_id, sha256)
            if fault:
                found.add(row.account_id, owner_id, fault)


async def _fault(look: Look, key: DataKey, row: AnyRow, owner_id: UUID, sha256: bytes) -> str | None:
    """Return what is wrong with the raw bytes of one message or quarantine row."""
    digest, size_bytes, position = hashlib.sha256(), 0, 0
    try:
        async for sealed in _sealed_chunks(look, row, owner_id):
            if position == row.chunks:
                return f"there are more chunks than the recorded {row.chunks}"
            plain = decompress_chunk(key.open(chunk_place(owner_id, position, row.chunks), sealed))
            if len(plain) != CHUNK_BYTES and position != row.chunks - 1:
                return f"chunk {position} of {row.chunks} is short"
            digest.update(plain)
            size_bytes += len(plain)
            position += 1
    except NotFound:
        return "the blob is missing"
    except SealBroken:
        return f"chunk {position} of {row.chunks} does not open"
    except ValueError:
        return f"chunk {position} of {row.chunks} cannot be decompressed"
    if position != row.chunks:
        return f"{position} of {row.chunks} chunks are there"
    if size_bytes != row.size_bytes:
        return f"the raw message has {size_bytes} bytes, recorded are {row.size_bytes}"
    return None if digest.digest() == sha256 else "the raw message has another SHA-256 than recorded"


async def _sealed_chunks(look: Look, row: AnyRow, owner_id: UUID) -> AsyncIterator[bytes]:
    for first in range(0, row.chunks + 1, _WINDOW_CHUNKS):
        last = first + _WINDOW_CHUNKS - 1
        if row.raw_place == BLOB:
            get = look.blobs.get
            window = await asyncio.to_thread(get, row.account_id, row.mailbox_id, owner_id, first=first, last=last)
        else:
            window = await look.content.read(row.account_id, get_chunks, owner_id, first=first, last=last)
        for sealed in window:
            yield sealed
