"""What a webhook that wants content is told beside the event: made for each attempt, and never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from ingestd.keys import KeyRing
from ingestd.mail.types import Address
from ingestd.records import AttachmentRecord, MessageRecord, TicketRecord
from storage import mailboxes, messages, tickets
from storage.database import Database
from storage.errors import KeyDestroyed, NotFound, SealBroken
from storage.events import Event
from storage.mailboxes import MailboxState
from storage.messages import AttachmentRow, Message
from storage.sealing import DataKey
from storage.tickets import Ticket


@dataclass(frozen=True, slots=True)
class Renderer:
    """Opens what an event is about."""

    content: Database
    keys: KeyRing

    async def render(self, account_id: UUID, event: Event, text_bytes_max: int) -> Mapping[str, Any]:
        """Return `message` and `ticket` of an event, as far as it has them.

        Nothing where the content is gone, or is being forgotten. Raises StorageUnavailable.
        """
        if event.mailbox_id is None or (event.ticket_id is None and event.message_id is None):
            return {}
        found = await self.content.read(account_id, _find, event)
        if found is None:
            return {}
        try:
            key = await self.keys.mailbox(account_id, event.mailbox_id)
            return _rendered(key, found, text_bytes_max)
        except (KeyDestroyed, SealBroken, msgspec.MsgspecError):
            return {}  # being forgotten just now; what is damaged, `ingestd verify` tells


@dataclass(frozen=True, slots=True)
class _Found:
    ticket: Ticket | None
    message: Message | None
    attachments: Sequence[AttachmentRow]


def _find(conn: Connection, account_id: UUID, event: Event) -> _Found | None:
    assert event.mailbox_id is not None
    ticket = message = None
    parts: Sequence[AttachmentRow] = ()
    try:
        mailbox = mailboxes.get_mailbox(conn, account_id, event.mailbox_id)
        if mailbox.state is MailboxState.DISCONNECTING:
            return None
        if event.ticket_id is not None:
            ticket = tickets.get_ticket_by_id(conn, account_id, event.ticket_id)
    except NotFound:
        return None
    if event.message_id is not None:
        try:
            message = messages.get_message(conn, account_id, event.message_id)
            found = messages.list_attachments(conn, account_id, [event.message_id])
            parts = found.get(event.message_id, ())
        except NotFound:
            message = None  # it is in quarantine, or was
    return _Found(ticket, message, parts)


def _rendered(key: DataKey, found: _Found, text_bytes_max: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if found.ticket is not None:
        made["ticket"] = _ticket(key, found.ticket)
    if found.message is not None:
        made["message"] = _message(key, found.message, found.attachments, text_bytes_max)
    return made


def _ticket(key: DataKey, row: Ticket) -> dict[str, Any]:
    record = key.open_record(TicketRecord.place(row.ticket_id), row.sealed, TicketRecord)
    return {
        "number": row.number,
        "status": row.status,
        "subject": record.subject,
        "requester": _address(record.requester),
    }


def _message(key: DataKey, row: Message, parts: Sequence[AttachmentRow], text_bytes_max: int) -> dict[str, Any]:
    record = key.open_record(MessageRecord.place(row.message_id), row.sealed, MessageRecord)
    mail = record.mail
    text, truncated = _cut(mail.new_text, text_bytes_max)
    return {
        "direction": row.direction,
        "kind": row.kind,
        "received_at": row.received_at.isoformat().replace("+00:00", "Z"),
        "subject": mail.subject,
        "from": [_address(one) for one in mail.from_],
        "to": [_address(one) for one in mail.to],
        "cc": [_address(one) for one in mail.cc],
        "author": record.author,
        "new_text": text,
        "new_text_truncated": truncated,
        "attachments": [_attachment(key, one) for one in parts],
    }


def _attachment(key: DataKey, row: AttachmentRow) -> dict[str, Any]:
    part = key.open_record(AttachmentRecord.place(row.attachment_id), row.sealed, AttachmentRecord).attachment
    return {
        "position": row.position,
        "name": part.name,
        "content_type": part.content_type,
        "size_bytes": part.size_bytes,
        "inline": part.inline,
    }


def _address(one: Address) -> dict[str, str]:
    return {"address": one.addr, "name": one.name}


def _cut(text: str, bytes_max: int) -> tuple[str, bool]:
    """
    >>> _cut("Grüße", 3), _cut("Hi", 3)
    (('Gr', True), ('Hi', False))
    """
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= bytes_max:
        return encoded.decode(), False
    return encoded[:bytes_max].decode("utf-8", "ignore"), True
