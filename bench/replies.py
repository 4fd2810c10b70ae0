"""A database in which replies were made for years: copies of real ones, sealed and written as the product does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert

from config import Outbound
from ingestd.build.store import Store
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.records import MessageRecord, ReplyRecord, chunk_place
from storage import messages, outbox, reply_recipients, tables
from storage.database import now
from storage.messages import ROWS, NewMessage, Raw
from storage.outbox import ReplyStatus
from storage.sealing import DataKey
from storage.ticket_lists import TicketFilter, list_tickets
from storage.tickets import Ticket
from storage.types import new_id

TEXT = "Thank you. We look into it and write to you again.\n" * 40
_BATCH = 500
"""Replies of a transaction."""
_AGE = timedelta(days=30)
"""How long ago all of them were made: they are no longer counted by what limits replies."""


async def add_replies(
    store: Store, settings: Outbound, account_id: UUID, count: int, progress: Callable[[int], None]
) -> None:
    """Write `count` sent replies, spread over all tickets of the account."""
    tickets = await _all_tickets(store, account_id)
    copies: list[_Copy] = []
    templates: dict[UUID, _Template] = {}
    for written in range(count):
        ticket = tickets[written % len(tickets)]
        if ticket.mailbox_id not in templates:
            templates[ticket.mailbox_id] = await _template(store, settings, account_id, ticket)
        copies.append(templates[ticket.mailbox_id].copy(ticket.ticket_id))
        if len(copies) == _BATCH or written == count - 1:
            await store.content.transaction(account_id, _write, copies)
            progress(written + 1)
            copies = []


class _Copy:
    """A reply that is to be written."""

    def __init__(self, message: NewMessage, sealed: bytes, address_keys: Sequence[bytes]) -> None:
        self.message = message
        self.sealed = sealed
        self.address_keys = address_keys


class _Template:
    """A reply that was made the ordinary way, and what of it is sealed."""

    def __init__(self, key: DataKey, message: messages.Message, reply: outbox.Reply, chunks: Sequence[bytes]) -> None:
        self._key = key
        self._message = message
        self._record = key.open_record(MessageRecord.place(message.message_id), message.sealed, MessageRecord)
        self._reply = key.open_record(ReplyRecord.place(message.message_id), reply.sealed, ReplyRecord)
        self._chunks = [
            key.open(chunk_place(message.message_id, position, len(chunks)), chunk)
            for position, chunk in enumerate(chunks)
        ]

    def copy(self, ticket_id: UUID) -> _Copy:
        key, message_id, count = self._key, new_id(), len(self._chunks)
        chunks = [key.seal(chunk_place(message_id, place, count), one) for place, one in enumerate(self._chunks)]
        message = NewMessage(
            message_id=message_id,
            mailbox_id=self._message.mailbox_id,
            ticket_id=ticket_id,
            direction="out",
            kind="reply",
            identity_key=secrets.token_bytes(32),
            received_at=self._message.received_at - _AGE,
            raw=Raw(ROWS, count, self._message.size_bytes, chunks),
            sealed=key.seal_record(MessageRecord.place(message_id), self._record),
            thread_keys=[secrets.token_bytes(32)],
        )
        sealed = key.seal_record(ReplyRecord.place(message_id), self._reply)
        return _Copy(message, sealed, [secrets.token_bytes(32) for _ in self._reply.recipients])


async def _all_tickets(store: Store, account_id: UUID) -> list[Ticket]:
    found: list[Ticket] = []
    while page := await store.content.read(
        account_id, list_tickets, TicketFilter(number_from=found[-1].number + 1 if found else 1), limit=1000
    ):
        found += page
    return found


async def _template(store: Store, settings: Outbound, account_id: UUID, ticket: Ticket) -> _Template:
    made = await create_reply(store.desk, settings, account_id, ticket.number, ReplyDraft(TEXT))
    message = await store.content.read(account_id, messages.get_message, made.message_id)
    reply = await store.content.read(account_id, outbox.get_reply, made.message_id)
    chunks = await store.content.read(account_id, messages.get_chunks, made.message_id)
    return _Template(await store.keys.mailbox(account_id, ticket.mailbox_id), message, reply, chunks)


def _write(conn: Connection, account_id: UUID, copies: Sequence[_Copy]) -> None:
    """Past the functions that queue replies one by one: as their rows stand once they were sent."""
    messages.insert_messages(conn, account_id, [one.message for one in copies])
    sent_at = now(conn) - _AGE
    sent = {"status": ReplyStatus.SENT, "status_since": sent_at, "sent_at": sent_at, "attempts": 1, "epoch": 0}
    sent |= {"sent_copy": outbox.SentCopy.NONE, "sent_copy_attempts": 0, "automatic": False}
    accepted = {"status": reply_recipients.RecipientStatus.ACCEPTED, "status_since": sent_at}
    attempt = {"number": 1, "worker_id": new_id(), "outcome": "accepted", "started_at": sent_at, "ended_at": sent_at}
    ids = [_ids(account_id, one) for one in copies]
    rows = list(zip(ids, copies, strict=True))
    conn.execute(insert(tables.outbox), [of | sent | {"sealed": one.sealed} for of, one in rows])
    conn.execute(insert(tables.attempts), [of | attempt for of in ids])
    conn.execute(
        insert(tables.reply_recipients),
        [
            of | accepted | {"position": position, "address_key": key}
            for of, one in rows
            for position, key in enumerate(one.address_keys)
        ],
    )


def _ids(account_id: UUID, one: _Copy) -> dict[str, Any]:
    return {"account_id": account_id, "mailbox_id": one.message.mailbox_id, "message_id": one.message.message_id}
