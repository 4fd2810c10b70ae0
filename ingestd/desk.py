"""Reading what is stored, for people and programs: mailboxes, tickets, messages, attachments, the quarantine.

Everything is opened here and handed out as values; nothing opened is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.folders import open_folders
from ingestd.inbound.progress import Progress, progress_of
from ingestd.keys import KeyRing
from ingestd.mail.containers import content_of
from ingestd.mail.types import Attachment
from ingestd.raw import RawPlace, RawStream, load_range, load_raw, stream_raw
from ingestd.records import (
    AttachmentRecord,
    FoldersRecord,
    MailboxRecord,
    MessageRecord,
    QuarantineRecord,
    ReplyRecord,
    TicketRecord,
)
from ingestd.relations import RELATED_BY_MAX, Related, Relation, relations_of
from storage import mailboxes, messages, quarantine, tickets
from storage.backfills import Backfill, find_backfill
from storage.blobs import Blobs
from storage.database import Database
from storage.edits import MessageEdit, list_of_messages
from storage.errors import KeyDestroyed, NotFound
from storage.mailboxes import Mailbox, MailboxState
from storage.messages import AttachmentRow, Message
from storage.outbox import Attempt, Reply, ReplyStatus
from storage.quarantine import Quarantined, QuarantineStatus
from storage.replies import ListedReply, StoredReply, list_replies, replies_of
from storage.reply_recipients import Recipient
from storage.sealing import DataKey
from storage.ticket_lists import TicketFilter, list_tickets
from storage.tickets import Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class MailboxView:
    mailbox: Mailbox
    record: MailboxRecord | None
    """None while the mailbox is being forgotten: its key is gone, or about to be."""
    folders: FoldersRecord | None = None
    """Also None before its worker began."""


@dataclass(frozen=True, slots=True)
class BackfillView:
    backfill: Backfill
    progress: Progress


@dataclass(frozen=True, slots=True)
class TicketSummary:
    ticket: Ticket
    record: TicketRecord


@dataclass(frozen=True, slots=True)
class TicketHead(TicketSummary):
    related: Sequence[Related]


@dataclass(frozen=True, slots=True)
class AttachmentView:
    row: AttachmentRow
    attachment: Attachment


@dataclass(frozen=True, slots=True)
class RecipientView:
    address: str
    row: Recipient | None
    """None for a reply from before this was kept."""
    refused: int | None = None
    """The server's reply code where it refused this recipient, and took others; what such an old reply tells."""


@dataclass(frozen=True, slots=True)
class ReplyView:
    reply: Reply
    record: ReplyRecord
    attempts: Sequence[Attempt]
    recipients: Sequence[RecipientView]


@dataclass(frozen=True, slots=True)
class OpenMessage:
    row: Message
    record: MessageRecord


@dataclass(frozen=True, slots=True)
class MessageView(OpenMessage):
    attachments: Sequence[AttachmentView]
    reply: ReplyView | None
    """For a message of ours: where it stands."""
    edits: Sequence[MessageEdit] = ()
    """What is still to be done to it in the mailbox, or was given up."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was written to a ticket: all that an answer is made from."""

    ticket: Ticket
    record: TicketRecord
    mailbox: MailboxRecord
    key: DataKey
    messages: Sequence[OpenMessage]


@dataclass(frozen=True, slots=True)
class TicketView(Conversation):
    """All that is known of a ticket."""

    messages: Sequence[MessageView]
    related: Sequence[Related]

    @property
    def merged_into(self) -> int | None:
        """The number of the ticket that has its messages, where it is merged; then it has none itself."""
        return next((one.ticket.number for one in self.related if one.relation is Relation.MERGED_INTO), None)


@dataclass(frozen=True, slots=True)
class QuarantineView:
    row: Quarantined
    record: QuarantineRecord


class Desk:
    """The readable side of a store."""

    def __init__(self, content: Database, blobs: Blobs, keys: KeyRing, *, blob_bytes_min: int) -> None:
        self.content = content
        self.blobs = blobs
        self.keys = keys
        self.blob_bytes_min = blob_bytes_min

    async def mailboxes(self, account_id: UUID) -> list[MailboxView]:
        found = await self.content.read(account_id, mailboxes.list_mailboxes)
        return [await self._mailbox(one) for one in found]

    async def mailbox(self, account_id: UUID, mailbox_id: UUID) -> MailboxView:
        """Raises NotFound."""
        return await self._mailbox(await self.content.read(account_id, mailboxes.get_mailbox, mailbox_id))

    async def mailbox_page(
        self, account_id: UUID, *, after: UUID | None, limit: int
    ) -> tuple[list[MailboxView], UUID | None]:
        """Return up to `limit` mailboxes behind the id `after`, oldest first, without those that are being forgotten;
        and the id behind which the next ones are, None at the end."""
        found = await self.content.read(account_id, mailboxes.page_of_mailboxes, after=after, limit=limit + 1)
        views = []
        for one in found[:limit]:
            with suppress(KeyDestroyed):  # it was disconnected meanwhile
                views.append(await self._mailbox(one))
        return views, found[limit - 1].mailbox_id if len(found) > limit else None

    async def linked_mailbox(self, account_id: UUID, mailbox_id: UUID) -> MailboxView:
        """Raises NotFound, also where it is being forgotten; KeyDestroyed."""
        view = await self.mailbox(account_id, mailbox_id)
        if view.record is None:
            raise NotFound(f"no mailbox {mailbox_id}, or it is being disconnected")
        return view

    async def backfill(self, account_id: UUID, mailbox_id: UUID) -> BackfillView | None:
        """Return how far the reading of a mailbox's old mail has come; None where nobody asked for it."""
        found = await self.content.read(account_id, find_backfill, mailbox_id)
        return None if found is None else BackfillView(found, progress_of(found))

    async def tickets(
        self,
        account_id: UUID,
        *,
        statuses: Collection[TicketStatus] = tuple(TicketStatus),
        mailbox_id: UUID | None = None,
        after_number: int = 0,
        limit: int = 100,
    ) -> list[TicketSummary]:
        """Return up to `limit` tickets behind `after_number`, ordered by number. `listing` has further filters."""
        wanted = TicketFilter(statuses, mailbox_id, number_from=after_number + 1)
        return await self.open_tickets(await self.content.read(account_id, list_tickets, wanted, limit=limit))

    async def open_tickets(self, found: Sequence[Ticket]) -> list[TicketSummary]:
        """Open tickets in their order, without those whose mailbox is being forgotten since they were found."""
        opened = []
        for one in found:
            try:
                opened.append(TicketSummary(one, await self._ticket_record(one)))
            except KeyDestroyed:
                continue
        return opened

    async def ticket(self, account_id: UUID, number: int) -> TicketView:
        """Return a ticket with its messages and all that belongs to them. Raises NotFound."""
        of = await self.conversation(account_id, number)
        found = await self._views(of.key, of.messages)
        received = [one.record for one in found if one.row.direction == "in"]
        related = await relations_of(self.content, self.keys, of.ticket, received)
        return TicketView(of.ticket, of.record, of.mailbox, of.key, found, related)

    async def conversation(self, account_id: UUID, number: int) -> Conversation:
        """Return a ticket with its messages alone. Raises NotFound."""
        ticket, mailbox, rows = await self.content.read(account_id, _conversation, number)
        view = await self._mailbox(mailbox)
        if view.record is None:
            raise NotFound(f"no ticket {number}")
        key = await self.keys.mailbox(account_id, ticket.mailbox_id)
        opened = [_open_message(key, row) for row in rows]
        return Conversation(ticket, await self._ticket_record(ticket), view.record, key, opened)

    async def ticket_alone(self, account_id: UUID, number: int) -> TicketHead:
        """Return a ticket and its relations without its messages. Raises NotFound."""
        ticket, _, rows = await self.content.read(account_id, _conversation, number, limit=RELATED_BY_MAX)
        key = await self.keys.mailbox(account_id, ticket.mailbox_id)
        received = [_open_message(key, row).record for row in rows if row.direction == "in"]
        related = await relations_of(self.content, self.keys, ticket, received)
        return TicketHead(ticket, await self._ticket_record(ticket), related)

    async def messages(
        self, account_id: UUID, number: int, *, after: UUID | None = None, limit: int, chars_max: int
    ) -> tuple[Sequence[MessageView], bool]:
        """Return up to `limit` of a ticket's messages behind the one `after`, and whether there are more.

        It ends earlier where their texts have more than `chars_max` characters together; it has one at least, where
        there is any. Raises NotFound, also where `after` is no message of the ticket.
        """
        ticket, rows = await self.content.read(account_id, _messages_behind, number, after, limit + 1)
        key = await self.keys.mailbox(account_id, ticket.mailbox_id)
        opened: list[OpenMessage] = []
        for row in rows[:limit]:
            one = _open_message(key, row)
            chars_max -= len(one.record.mail.text) + len(one.record.mail.new_text) + len(one.record.mail.html)
            if chars_max < 0 and opened:
                break
            opened.append(one)
        return await self._views(key, opened), len(rows) > len(opened)

    async def message(self, account_id: UUID, message_id: UUID) -> tuple[Ticket, MessageView]:
        """Return a message and its ticket. Raises NotFound."""
        row = await self.content.read(account_id, messages.get_message, message_id)
        ticket = await self.ticket_by_id(account_id, row.ticket_id)
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        return ticket, (await self._views(key, [_open_message(key, row)]))[0]

    async def number_of_message(self, account_id: UUID, message_id: UUID) -> int:
        """Return the number of a message's ticket. Raises NotFound."""
        row = await self.content.read(account_id, messages.get_message, message_id)
        return (await self.ticket_by_id(account_id, row.ticket_id)).number

    async def mailbox_of_ticket(self, account_id: UUID, number: int) -> UUID:
        """Raises NotFound."""
        return (await self.content.read(account_id, tickets.get_ticket, number)).mailbox_id

    async def ticket_by_id(self, account_id: UUID, ticket_id: UUID) -> Ticket:
        """Raises NotFound."""
        return await self.content.read(account_id, tickets.get_ticket_by_id, ticket_id)

    async def raw(self, account_id: UUID, message_id: UUID) -> bytes:
        """Return the raw bytes of a message. Raises NotFound, SealBroken."""
        row = await self.content.read(account_id, messages.get_message, message_id)
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        return await load_raw(self.content, self.blobs, key, RawPlace(message_id, row.chunks, row.raw_place))

    async def raw_stream(self, account_id: UUID, message_id: UUID) -> RawStream:
        """Return the raw message in portions, the first of which is read. Raises NotFound, SealBroken."""
        row = await self.content.read(account_id, messages.get_message, message_id)
        key = await self.keys.mailbox(account_id, row.mailbox_id)

        async def check() -> None:
            await self.content.read(account_id, messages.get_message, message_id)

        place = RawPlace(message_id, row.chunks, row.raw_place)
        return await stream_raw(self.content, self.blobs, key, place, row.size_bytes, check)

    async def attachment(self, account_id: UUID, message_id: UUID, position: int) -> tuple[Attachment, bytes]:
        """Return an attachment and its bytes, read from its part of the raw message. Raises NotFound, SealBroken."""
        row = await self.content.read(account_id, messages.get_message, message_id)
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        rows = await self.content.read(account_id, messages.list_attachments, [message_id])
        parts = _open_attachments(key, rows.get(message_id, ()))
        found = next((one for one in parts if one.row.position == position), None)
        if found is None or found.attachment.offset < 0:
            raise NotFound(f"message {message_id} has no attachment {position}")
        part = found.attachment
        place = RawPlace(message_id, row.chunks, row.raw_place)
        encoded = await load_range(self.content, self.blobs, key, place, part.offset, part.length)
        # In a thread: an attachment may be large, and what it lies in must be opened. `containers` says why that is
        # done outside the parser process.
        content = await asyncio.to_thread(content_of, part, encoded)
        if content is None:
            raise NotFound(f"attachment {position} of message {message_id} is not where it was")
        return part, content

    async def quarantine(
        self,
        account_id: UUID,
        *,
        mailbox_id: UUID | None = None,
        statuses: Collection[QuarantineStatus] = (QuarantineStatus.HELD,),
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[Quarantined]:
        """Return up to `limit` quarantined messages behind the id `after`, in the order in which they came."""
        return await self.content.read(
            account_id,
            quarantine.list_quarantined,
            mailbox_id=mailbox_id,
            statuses=statuses,
            after=after,
            limit=limit,
        )

    async def quarantined(self, account_id: UUID, quarantine_id: UUID) -> QuarantineView:
        """Raises NotFound, SealBroken."""
        row = await self.content.read(account_id, quarantine.get_quarantined, quarantine_id)
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        place = QuarantineRecord.place(quarantine_id)
        return QuarantineView(row, key.open_record(place, row.sealed, QuarantineRecord))

    async def quarantined_raw(self, account_id: UUID, quarantine_id: UUID) -> bytes:
        """Return the raw bytes of a message in quarantine. Raises NotFound, also where they have gone; SealBroken."""
        row = await self.content.read(account_id, quarantine.get_quarantined, quarantine_id)
        if row.status is not QuarantineStatus.HELD:
            raise NotFound(f"message {quarantine_id} is not in quarantine any more")
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        return await load_raw(self.content, self.blobs, key, RawPlace(quarantine_id, row.chunks, row.raw_place))

    async def quarantined_stream(self, account_id: UUID, quarantine_id: UUID) -> RawStream:
        """As `raw_stream`, of a message in quarantine. Raises NotFound, also where its bytes have gone; SealBroken."""

        async def check() -> Quarantined:
            row = await self.content.read(account_id, quarantine.get_quarantined, quarantine_id)
            if row.status is not QuarantineStatus.HELD:
                raise NotFound(f"message {quarantine_id} is not in quarantine any more")
            return row

        row = await check()
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        place = RawPlace(quarantine_id, row.chunks, row.raw_place)
        return await stream_raw(self.content, self.blobs, key, place, row.size_bytes, check)

    async def replies(
        self,
        account_id: UUID,
        *,
        statuses: Collection[ReplyStatus] = tuple(ReplyStatus),
        mailbox_id: UUID | None = None,
        waiting_for_person: bool = False,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[ListedReply]:
        """Return up to `limit` replies behind the id `after`, oldest first."""
        return await self.content.read(
            account_id,
            list_replies,
            statuses=statuses,
            mailbox_id=mailbox_id,
            waiting_for_person=waiting_for_person,
            after=after,
            limit=limit,
        )

    async def reply(self, account_id: UUID, message_id: UUID) -> tuple[ListedReply, ReplyView]:
        """Return a reply with its ticket's number, recipients and attempts. Raises NotFound, SealBroken."""
        listed, view, _ = await self.reply_with_author(account_id, message_id)
        return listed, view

    async def reply_with_author(self, account_id: UUID, message_id: UUID) -> tuple[ListedReply, ReplyView, str]:
        """As `reply`, with who wrote it, as the helpdesk names its agent."""
        found = await self.content.read(
            account_id, list_replies, statuses=tuple(ReplyStatus), message_id=message_id, limit=1
        )
        if not found:
            raise NotFound(f"no reply {message_id}")
        row = await self.content.read(account_id, messages.get_message, message_id)
        stored = await self.content.read(account_id, replies_of, [message_id])
        if message_id not in stored:
            raise NotFound(f"no reply {message_id}")
        key = await self.keys.mailbox(account_id, row.mailbox_id)
        record = key.open_record(MessageRecord.place(message_id), row.sealed, MessageRecord)
        return found[0], _open_reply(key, stored[message_id]), record.author

    async def _mailbox(self, mailbox: Mailbox) -> MailboxView:
        if mailbox.state is MailboxState.DISCONNECTING:
            return MailboxView(mailbox, None)
        key = await self.keys.mailbox(mailbox.account_id, mailbox.mailbox_id)
        place = MailboxRecord.place(mailbox.mailbox_id)
        record = key.open_record(place, mailbox.sealed, MailboxRecord)
        return MailboxView(mailbox, record, open_folders(key, mailbox))

    async def _ticket_record(self, ticket: Ticket) -> TicketRecord:
        key = await self.keys.mailbox(ticket.account_id, ticket.mailbox_id)
        return key.open_record(TicketRecord.place(ticket.ticket_id), ticket.sealed, TicketRecord)

    async def _views(self, key: DataKey, opened: Sequence[OpenMessage]) -> list[MessageView]:
        """Return messages of a mailbox with all that belongs to them, read for all of them at once."""
        parts, replies, waiting = await self.content.read(key.account_id, _belongings, [one.row for one in opened])
        return [
            MessageView(
                row=one.row,
                record=one.record,
                attachments=_open_attachments(key, parts.get(one.row.message_id, ())),
                reply=_open_reply(key, replies[one.row.message_id]) if one.row.message_id in replies else None,
                edits=waiting.get(one.row.message_id, ()),
            )
            for one in opened
        ]


def _open_message(key: DataKey, row: Message) -> OpenMessage:
    return OpenMessage(row, key.open_record(MessageRecord.place(row.message_id), row.sealed, MessageRecord))


def _open_attachments(key: DataKey, rows: Sequence[AttachmentRow]) -> list[AttachmentView]:
    return [
        AttachmentView(
            one, key.open_record(AttachmentRecord.place(one.attachment_id), one.sealed, AttachmentRecord).attachment
        )
        for one in rows
    ]


def _open_reply(key: DataKey, stored: StoredReply) -> ReplyView:
    reply = stored.reply
    record = key.open_record(ReplyRecord.place(reply.message_id), reply.sealed, ReplyRecord)
    by_place = {one.position: one for one in stored.recipients}
    recipients = [
        RecipientView(address, by_place.get(place), record.refused.get(address))
        for place, address in enumerate(record.recipients)
    ]
    return ReplyView(reply, record, stored.attempts, recipients)


def _belongings(
    conn: Connection, account_id: UUID, rows: Sequence[Message]
) -> tuple[Mapping[UUID, list[AttachmentRow]], Mapping[UUID, StoredReply], Mapping[UUID, list[MessageEdit]]]:
    ids = [one.message_id for one in rows]
    replies = replies_of(conn, account_id, [one.message_id for one in rows if one.direction == "out"])
    return messages.list_attachments(conn, account_id, ids), replies, list_of_messages(conn, account_id, ids)


def _messages_behind(
    conn: Connection, account_id: UUID, number: int, after: UUID | None, limit: int
) -> tuple[Ticket, list[Message]]:
    ticket = tickets.get_ticket(conn, account_id, number)
    behind = None if after is None else messages.get_message(conn, account_id, after)
    if behind is not None and behind.ticket_id != ticket.ticket_id:
        raise NotFound(f"message {after} is not of ticket {number}")
    return ticket, messages.list_messages(conn, account_id, ticket.ticket_id, after=behind, limit=limit)


def _conversation(
    conn: Connection, account_id: UUID, number: int, limit: int = 1000
) -> tuple[Ticket, Mailbox, list[Message]]:
    ticket = tickets.get_ticket(conn, account_id, number)
    mailbox = mailboxes.get_mailbox(conn, account_id, ticket.mailbox_id)
    return ticket, mailbox, messages.list_messages(conn, account_id, ticket.ticket_id, limit=limit)
