"""Messages in quarantine, as people deal with them: parsed again, or dropped.

These are people's requests and own no fence; they take the mailbox's lock, so that they
and its worker see each other's work. A message that is understood keeps its id: its raw
bytes are sealed under it, and stay where they are, but for those that are masked: they
take the place of what was there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Connection

from ingestd.desk import Desk
from ingestd.inbound.commit import write_understood
from ingestd.inbound.identity import identity_of, identity_of_bytes
from ingestd.inbound.intake import MailboxContext, Prepared, Read, seal_raw
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.mail.transform import Transformed
from ingestd.raw import RawPlace, load_raw
from ingestd.records import QuarantineRecord
from storage import accounts, events, mailboxes, messages, quarantine
from storage.errors import Conflict
from storage.mailboxes import Mailbox
from storage.messages import BLOB, Raw
from storage.quarantine import Quarantined, QuarantineStatus
from storage.requests import Claim, is_done, once
from storage.sealing import DataKey


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay."""

    ticket_id: UUID | None = None
    """The ticket that the message is in now."""
    rejected: str | None = None
    """Why the parser gave up again: timeout, memory or crash; or withheld, where the server gave nothing. With neither,
    the mailbox has the message already."""


async def replay(
    desk: Desk,
    context: MailboxContext,
    parser: ParserPool,
    row: Quarantined,
    *,
    ticket_status: str = "open",
    claim: Claim | None = None,
) -> Replayed:
    """Parse a quarantined message again; where it is understood, make it a ticket message.

    `ticket_status` is that of a ticket which mail of a backfill opens; `claim` is the request that is done by this,
    where it must be done but once. Raises Conflict where somebody was faster, or the message is larger than the
    parser takes; NotFound, SealBroken, ParserUnavailable.
    """
    if row.status is not QuarantineStatus.HELD:
        raise Conflict(f"message {row.quarantine_id} is not in quarantine any more")
    place = QuarantineRecord.place(row.quarantine_id)
    record = context.key.open_record(place, row.sealed, QuarantineRecord)
    raw_place = RawPlace(row.quarantine_id, row.chunks, row.raw_place)
    raw = await load_raw(desk.content, desk.blobs, context.key, raw_place)
    try:
        masked = await desk.content.read(row.account_id, accounts.masks_cards)
        transformed = await _understand(parser, raw, masked=masked)
    except ParserRejected as rejection:
        await desk.content.transaction(
            row.account_id, once, claim, note_failed_replay, context.mailbox_id, row.quarantine_id, rejection.reason
        )
        return Replayed(rejected=rejection.reason)
    except ValueError as error:
        raise Conflict(f"message {row.quarantine_id} is larger than `inbound.message_bytes_max`") from error
    one = _prepared(context.key, row, record, transformed)
    if transformed.came is not None:
        # In rows, whatever its size: the blob of this id is the unmasked mail, which goes after the commit.
        stored = await seal_raw(
            desk.blobs, context.key, row.quarantine_id, transformed.chunks, one.read.size_bytes, None
        )
        one = replace(one, raw=stored)
    status = ticket_status if record.imported else "open"
    done = await desk.content.transaction(
        row.account_id, once, claim, take_replayed, context, one, imported=record.imported, ticket_status=status
    )
    if (done.value is None or transformed.came is not None) and not done.repeated:
        await _delete_blob(desk, row)
    return Replayed(ticket_id=done.value)


async def _understand(parser: ParserPool, raw: bytes, *, masked: bool) -> Transformed:
    """Raises ParserRejected, also where the server gave nothing: an empty ticket would say less than the quarantine."""
    if not raw:
        raise ParserRejected("withheld")
    return await parser.transform(raw, masked=masked)


async def drop(desk: Desk, key: DataKey, row: Quarantined, *, claim: Claim | None = None) -> None:
    """Delete the bytes of a quarantined message, and remember that it was here; `claim` as of `replay`.

    Raises Conflict, NotFound.
    """
    await desk.content.transaction(row.account_id, once, claim, drop_quarantined, key, row.quarantine_id, "dropped")
    await _delete_blob(desk, row)


async def replay_once(
    desk: Desk,
    open_context: Callable[[Mailbox], Awaitable[MailboxContext]],
    parser: ParserPool,
    row: Quarantined,
    claim: Claim | None,
    *,
    ticket_status: str,
) -> bool:
    """As `replay`, for a request that may come again; return whether it was done already. What came of it, the row
    says. Raises Conflict also where the configuration has no such provider any more."""
    if await desk.content.read(row.account_id, is_done, claim):
        return True
    mailbox = await desk.content.read(row.account_id, mailboxes.get_mailbox, row.mailbox_id)
    try:
        context = await open_context(mailbox)
    except KeyError as error:
        raise Conflict("the configuration does not have the mailbox's provider any more") from error
    await replay(desk, context, parser, row, ticket_status=ticket_status, claim=claim)
    return False


async def drop_once(desk: Desk, row: Quarantined, claim: Claim | None) -> bool:
    """As `drop`, for a request that may come again; return whether it was done already."""
    if await desk.content.read(row.account_id, is_done, claim):
        return True
    await drop(desk, await desk.keys.mailbox(row.account_id, row.mailbox_id), row, claim=claim)
    return False


async def _delete_blob(desk: Desk, row: Quarantined) -> None:
    """After the commit: a crash in between leaves an orphan, which the sweep finds."""
    if row.raw_place == BLOB:
        await asyncio.to_thread(desk.blobs.delete, row.account_id, row.mailbox_id, row.quarantine_id)


def note_failed_replay(conn: Connection, account_id: UUID, mailbox_id: UUID, quarantine_id: UUID, reason: str) -> None:
    """Raises Conflict, NotFound."""
    mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    quarantine.note_replay(conn, account_id, quarantine_id, reason)


def take_replayed(
    conn: Connection,
    account_id: UUID,
    context: MailboxContext,
    one: Prepared,
    *,
    imported: bool,
    ticket_status: str,
) -> UUID | None:
    """Make a quarantined message a ticket message; return its ticket, None where the mailbox has it already.

    Raises Conflict where it is not in quarantine any more, NotFound.
    """
    mailboxes.hold_unfenced(conn, account_id, context.mailbox_id)
    read = one.read
    if quarantine.get_quarantined(conn, account_id, read.row_id).status is not QuarantineStatus.HELD:
        raise Conflict(f"message {read.row_id} is not in quarantine any more")
    # Its bytes_key is known, of course: as this row.
    if read.identity_key != read.bytes_key and messages.known_identities(
        conn, account_id, context.mailbox_id, messages.Identities([read.identity_key])
    ):
        drop_quarantined(conn, account_id, context.key, read.row_id, "known")
        return None
    if read.altered:
        quarantine.delete_raw(conn, account_id, read.row_id)
    ticket_id = write_understood(conn, account_id, context, one, imported=imported, ticket_status=ticket_status)
    quarantine.hand_over(conn, account_id, read.row_id, _empty(context.key, read.row_id))
    return ticket_id


def drop_quarantined(conn: Connection, account_id: UUID, key: DataKey, quarantine_id: UUID, why: str) -> None:
    """Delete the bytes that lie in rows, with an event that says why. Raises Conflict, NotFound."""
    assert key.mailbox_id is not None
    mailboxes.hold_unfenced(conn, account_id, key.mailbox_id)
    quarantine.drop(conn, account_id, quarantine_id, _empty(key, quarantine_id))
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    event = events.NewEvent("message.dropped", key.mailbox_id, None, quarantine_id, why)
    events.insert_events(conn, account_id, sequence, [event])


def _empty(key: DataKey, quarantine_id: UUID) -> bytes:
    """Return the record of a message whose bytes are not in quarantine any more."""
    return key.seal_record(QuarantineRecord.place(quarantine_id), QuarantineRecord("", "", b""))


def _prepared(key: DataKey, row: Quarantined, record: QuarantineRecord, transformed: Transformed) -> Prepared:
    """Return the message as its worker would have prepared it, with its bytes where they are."""
    identity, altered = row.identity_key, transformed.came is not None
    # Where the provider has ids, the row is known by one already, which we do not keep. And a message over the size
    # limit is known by its header already.
    if not record.truncated and identity == identity_of_bytes(key, record.raw_sha256):
        identity = identity_of(key, transformed.mail, record.raw_sha256, came=transformed.came)
    read = Read(
        row_id=row.quarantine_id,
        identity_key=identity,
        bytes_key=row.identity_key,
        header_key=row.header_key,
        other_keys=(),
        locator=record.locator,
        folder=record.folder,
        received_at=row.received_at,
        size_bytes=transformed.size_bytes if altered else row.size_bytes,
        truncated=record.truncated,
        altered=altered,
        chunks=(),
        raw_sha256=transformed.raw_sha256 if altered else record.raw_sha256,
        mail=transformed.mail,
        rejected=None,
    )
    return Prepared(read, Raw(row.raw_place, row.chunks, row.size_bytes))
