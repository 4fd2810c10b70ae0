"""Nothing lost: every sealed record opens, is what its table says, and fits its message."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import msgspec
from sqlalchemy import Table, func, select

from ingestd import records
from ingestd.verify.look import Look, live
from ingestd.verify.report import Findings
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.errors import SealBroken
from storage.sealing import DataKey, Place
from storage.tables import (
    accounts,
    attachments,
    backfills,
    edits,
    grants,
    link_flows,
    mailboxes,
    messages,
    outbox,
    person_erasures,
    pushes,
    quarantine,
    tickets,
    uploads,
    webhooks,
)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A column of sealed records: which rows, what is inside, whose key."""

    table: Table
    id_column: str
    kind: type[msgspec.Struct]
    place: Callable[[UUID], Place]
    column: str = "sealed"
    of_account: bool = False


_SEALED = (
    _Sealed(accounts, "account_id", records.AccountRecord, records.AccountRecord.place, of_account=True),
    _Sealed(link_flows, "flow_id", records.FlowRecord, records.FlowRecord.place, of_account=True),
    _Sealed(webhooks, "webhook_id", records.WebhookRecord, records.WebhookRecord.place, of_account=True),
    _Sealed(person_erasures, "erasure_id", records.PersonRecord, records.PersonRecord.place, of_account=True),
    _Sealed(mailboxes, "mailbox_id", records.MailboxRecord, records.MailboxRecord.place),
    _Sealed(mailboxes, "mailbox_id", records.CursorRecord, records.CursorRecord.place, "cursor_sealed"),
    _Sealed(mailboxes, "mailbox_id", records.FoldersRecord, records.FoldersRecord.place, "folders_sealed"),
    _Sealed(backfills, "mailbox_id", records.HistoryRecord, records.HistoryRecord.place, "cursor_sealed"),
    _Sealed(pushes, "mailbox_id", records.PushRecord, records.PushRecord.place),
    _Sealed(grants, "mailbox_id", records.GrantRecord, records.GrantRecord.place),
    _Sealed(tickets, "ticket_id", records.TicketRecord, records.TicketRecord.place),
    _Sealed(messages, "message_id", records.MessageRecord, records.MessageRecord.place),
    _Sealed(attachments, "attachment_id", records.AttachmentRecord, records.AttachmentRecord.place),
    _Sealed(quarantine, "quarantine_id", records.QuarantineRecord, records.QuarantineRecord.place),
    _Sealed(edits, "edit_id", records.EditRecord, records.EditRecord.place),
    _Sealed(outbox, "message_id", records.ReplyRecord, records.ReplyRecord.place),
)


async def records_open(look: Look, found: Findings) -> None:
    """Every sealed record opens under the key of its mailbox or account, in its own row, and can be read."""
    for one in _SEALED:
        where = () if one.of_account else (live(one.table),)
        async for page in look.pages(look.content, one.table, *where):
            for row in page:
                sealed = getattr(row, one.column)
                key = await look.key(row.account_id, None if one.of_account else row.mailbox_id)
                if sealed is None or key is None:
                    continue  # no cursor yet; a missing key is reported by mailboxes_have_a_key
                found.checked += 1
                subject = getattr(row, one.id_column)
                if fault := _fault(key, one, subject, sealed):
                    found.add(row.account_id, subject, f"{one.table.name}.{one.column} {fault}")


async def uploads_open(look: Look, found: Findings) -> None:
    """Every file that waits for its reply opens under the key of its mailbox, in its own row, and has its size."""
    one = _Sealed(uploads, "upload_id", records.UploadRecord, records.UploadRecord.place)
    # One at a time: a page of files would be gigabytes.
    async for page in dataclasses.replace(look, page_rows=1).pages(look.content, uploads, live(uploads)):
        for row in page:
            key = await look.key(row.account_id, row.mailbox_id)
            if key is None:
                continue  # reported by mailboxes_have_a_key
            found.checked += 1
            if fault := _fault(key, one, row.upload_id, row.sealed):
                found.add(row.account_id, row.upload_id, f"uploads.sealed {fault}")
            elif _size_of(key, row.upload_id, row.sealed) != row.size_bytes:
                found.add(row.account_id, row.upload_id, "the file has another size than its row says")


async def attachments_lie_in_their_message(look: Look, found: Findings) -> None:
    """Every attachment's place lies within the raw message that it is read from."""
    async for page in look.pages(look.content, attachments, live(attachments)):
        wanted = {row.message_id for row in page}
        query = select(messages.c.account_id, messages.c.message_id, messages.c.size_bytes)
        owners = await look.rows(query.where(messages.c.message_id.in_(wanted)))
        sizes = {(row.account_id, row.message_id): row.size_bytes for row in owners}
        for row in page:
            key = await look.key(row.account_id, row.mailbox_id)
            size_bytes = sizes.get((row.account_id, row.message_id))
            if key is None or size_bytes is None:
                continue  # reported by mailboxes_have_a_key, children_lie_in_their_parents_mailbox
            place = records.AttachmentRecord.place(row.attachment_id)
            try:
                inner = key.open_record(place, row.sealed, records.AttachmentRecord).attachment
            except (SealBroken, msgspec.MsgspecError):
                continue  # reported by records_open
            found.checked += 1
            # -1: the parser could not tell where the part lies; it is read by parsing again.
            if inner.offset != -1 and not 0 <= inner.offset <= inner.offset + inner.length <= size_bytes:
                found.add(row.account_id, row.attachment_id, "the attachment lies beyond its message")


@stated
def attachments_are_numbered() -> Statements:
    """The attachments of a message have the positions 0, 1, 2 … without a gap."""
    yield Count(attachments, live(attachments))
    position = attachments.c.position
    query = (
        select(attachments.c.account_id, attachments.c.message_id)
        .where(live(attachments))
        .group_by(attachments.c.account_id, attachments.c.message_id)
        .having((func.min(position) != 0) | (func.max(position) != func.count(position.distinct()) - 1))
    )
    yield Flag(query, "the positions of the attachments have a gap")


def _fault(key: DataKey, one: _Sealed, row_id: UUID, sealed: bytes) -> str | None:
    try:
        key.open_record(one.place(row_id), sealed, one.kind)
    except SealBroken:
        return "does not open"
    except msgspec.MsgspecError:
        return "cannot be read"
    return None


def _size_of(key: DataKey, upload_id: UUID, sealed: bytes) -> int:
    return len(key.open_record(records.UploadRecord.place(upload_id), sealed, records.UploadRecord).content)
