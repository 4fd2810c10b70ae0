"""What an export says of tickets and messages: plain values, one JSON object a line. docs/export.md has the fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from ingestd.desk import AttachmentView, MessageView, QuarantineView, ReplyView, TicketSummary
from ingestd.mail.types import Address

Line: TypeAlias = Mapping[str, Any]

_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    return _encoder.encode(line) + b"\n"


def ticket_line(one: TicketSummary, mailbox: str) -> Line:
    """`mailbox` is its address."""
    ticket, record = one.ticket, one.record
    return {
        "number": ticket.number,
        "ticket_id": ticket.ticket_id,
        "mailbox_id": ticket.mailbox_id,
        "mailbox": mailbox,
        "status": ticket.status,
        "subject": record.subject,
        "requester": _address(record.requester),
        "created_at": ticket.created_at,
        "updated_at": ticket.updated_at,
        "closed_at": ticket.closed_at,
    }


def message_line(number: int, one: MessageView) -> Line:
    row, record, mail = one.row, one.record, one.record.mail
    return {
        "ticket_number": number,
        "message_id": row.message_id,
        "mailbox_id": row.mailbox_id,
        "direction": row.direction,
        "kind": row.kind,
        "received_at": row.received_at,
        "from": _addresses(mail.from_),
        "to": _addresses(mail.to),
        "cc": _addresses(mail.cc),
        "reply_to": _addresses(mail.reply_to),
        "date": mail.date,
        "subject": mail.subject,
        "message_id_header": mail.message_id,
        "in_reply_to": mail.in_reply_to,
        "references": mail.references,
        "text": mail.text,
        "new_text": mail.new_text,
        "html": mail.html,
        "attachments": [_attachment(part) for part in one.attachments],
        "truncated": record.truncated,
        "muted": row.muted,
        "altered": row.altered,
        "size_bytes": row.size_bytes,
        "sha256": record.raw_sha256.hex(),
        "folder": record.folder if row.direction == "in" else None,
        "author": record.author,
        "reply": None if one.reply is None else _reply(one.reply),
    }


def quarantine_line(one: QuarantineView) -> Line:
    row = one.row
    return {
        "quarantine_id": row.quarantine_id,
        "mailbox_id": row.mailbox_id,
        "received_at": row.received_at,
        "reason": row.reason,
        "size_bytes": row.size_bytes,
    }


def _attachment(one: AttachmentView) -> Line:
    part = one.attachment
    return {
        "position": one.row.position,
        "name": part.name,
        "content_type": part.content_type,
        "size_bytes": part.size_bytes,
        "sha256": part.sha256,
        "content_id": part.content_id,
        "inline": part.inline,
    }


def _reply(one: ReplyView) -> Line:
    return {
        "status": one.reply.status,
        "reason": one.reply.reason,
        "sent_at": one.reply.sent_at,
        "bcc": one.record.bcc,
        "recipients": [
            {"address": to.address, "status": None if to.row is None else to.row.status} for to in one.recipients
        ],
        "attempts": [
            {"number": a.number, "started_at": a.started_at, "outcome": a.outcome, "code": a.code} for a in one.attempts
        ],
    }


def _addresses(found: Sequence[Address]) -> list[Line]:
    return [_address(one) for one in found]


def _address(one: Address) -> Line:
    return {"name": one.name, "address": one.addr}
