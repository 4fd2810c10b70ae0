"""Writing a message anew of which a person is erased, with all that is read of it: one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from ingestd.inbound.identity import address_key
from ingestd.mail.addresses import normalize
from ingestd.mail.person import ERASED_ADDRESS, Person
from ingestd.mail.transform import Transformed
from ingestd.mail.types import ParsedMail
from ingestd.outbound.resolve import resolve_reply
from ingestd.outbound.statuses import ReplyEvent
from ingestd.records import AttachmentRecord, MessageRecord, ReplyRecord
from storage import messages, outbox, person_writes, persons
from storage.messages import NewAttachment
from storage.outbox import UNSENT
from storage.person_writes import Rewritten
from storage.persons import Found, PersonErasure
from storage.sealing import DataKey
from storage.types import new_id


def rewrite_found(
    conn: Connection,
    account_id: UUID,
    at: PersonErasure,
    one: Found,
    key: DataKey,
    person: Person,
    new: Transformed,
    raw: messages.Raw | None,
) -> list[tuple[UUID, UUID]]:
    """Write a message anew, with its attachments' places and its reply's recipients.

    Raises Conflict where it is not as it was, NotFound, PersonBusy.
    """
    person_writes.hold_message(conn, account_id, at, one)
    place = MessageRecord.place(one.row_id)
    record = msgspec.structs.replace(key.open_record(place, one.sealed, MessageRecord), mail=new.mail)
    if raw is not None:
        record = msgspec.structs.replace(record, raw_sha256=new.raw_sha256)
    sealed_reply, recipients = None, dict[bytes, bytes]()
    if one.direction != "in":
        sealed_reply, recipients = _rewrite_reply(conn, account_id, at, one, key, person)
    parts = _parts(conn, account_id, one, key, new.mail)
    rewritten = Rewritten(key.seal_record(place, record), raw, parts, sealed_reply, recipients)
    return person_writes.rewrite_message(conn, account_id, at, one, rewritten)


def _rewrite_reply(
    conn: Connection, account_id: UUID, at: PersonErasure, one: Found, key: DataKey, person: Person
) -> tuple[bytes | None, dict[bytes, bytes]]:
    """Return the record of a reply without the person, and new keys by those of its recipients.

    One that still waits to be sent to the person is cancelled.
    """
    reply = outbox.get_reply(conn, account_id, one.row_id)
    place = ReplyRecord.place(one.row_id)
    record = key.open_record(place, reply.sealed, ReplyRecord)
    theirs = [addr for addr in record.recipients if person.has(addr)]
    if not theirs:
        return None, {}
    if reply.status in UNSENT:
        resolve_reply(conn, account_id, one.mailbox_id, one.row_id, ReplyEvent.CANCEL, key)
        persons.count(conn, account_id, at, {"replies_cancelled": 1})
        record = key.open_record(place, outbox.get_reply(conn, account_id, one.row_id).sealed, ReplyRecord)

    def swap(addresses: Iterable[str]) -> tuple[str, ...]:
        return tuple(ERASED_ADDRESS if person.has(addr) else addr for addr in addresses)

    new = msgspec.structs.replace(
        record,
        recipients=swap(record.recipients),
        bcc=swap(record.bcc),
        refused={swap([addr])[0]: code for addr, code in record.refused.items()},
    )
    erased = address_key(key, normalize(ERASED_ADDRESS))
    return key.seal_record(place, new), {address_key(key, normalize(addr)): erased for addr in theirs}


def _parts(conn: Connection, account_id: UUID, one: Found, key: DataKey, mail: ParsedMail) -> list[NewAttachment]:
    """Return the attachments with the places that they have now; each keeps its id, as far as there are as many."""
    rows = messages.list_attachments(conn, account_id, [one.row_id]).get(one.row_id, [])
    ids = [row.attachment_id for row in rows]
    parts = []
    for position, part in enumerate(mail.attachments):
        attachment_id = ids[position] if position < len(ids) else new_id()
        sealed = key.seal_record(AttachmentRecord.place(attachment_id), AttachmentRecord(part))
        parts.append(NewAttachment(attachment_id, part.size_bytes, sealed))
    return parts
