"""An agent's reply: composed once, written with its outbox row in one transaction.

The request fixes the Message-ID and the exact bytes; whatever happens later sends these
bytes or none. An idempotency key makes a repeated request the same reply.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config import Outbound
from ingestd.desk import Conversation, Desk
from ingestd.inbound.commit import new_attachments
from ingestd.inbound.identity import MESSAGE_ID_PURPOSE, address_key, identity_of, thread_key
from ingestd.inbound.intake import seal_raw
from ingestd.mail.addresses import domain_of, normalize
from ingestd.mail.compose import ComposeError, ReplyRequest, compose_reply
from ingestd.mail.message_id import own_message_id, own_token
from ingestd.mail.transform import Transformed, transform
from ingestd.outbound.addressing import Recipients, answers_to, choose_recipients, sender_of_reply
from ingestd.outbound.caps import Guard, refuse_automatic
from ingestd.outbound.delay import Delay, delay_of
from ingestd.outbound.draft import ReplyDraft, request_hash, request_key
from ingestd.outbound.parent import parent_of, quoted_of, references_of, thread_index_of
from ingestd.outbound.refused import ReplyRefused
from ingestd.privacy.positions import epoch
from ingestd.records import MessageRecord, ReplyRecord
from ingestd.uploads import Files, load_files, upload_gone
from storage import accounts, events, mailboxes, merges, messages, outbox, reply_recipients, tickets, uploads
from storage.database import now
from storage.errors import Conflict
from storage.messages import NewMessage, Raw
from storage.outbox import Request
from storage.sealing import DataKey
from storage.types import new_id

__all__ = ["CreatedReply", "ReplyDraft", "ReplyRefused", "create_reply"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CreatedReply:
    message_id: UUID
    repeated: bool
    """The same request had been made before: this is its reply."""


@dataclass(frozen=True, slots=True)
class _Composed:
    """A reply ready to be written."""

    message: NewMessage
    recipients: tuple[bytes, ...]
    """Address keys of those who get standing on the ticket."""
    envelope: tuple[bytes, ...]
    """Address keys of all to whom it is sent, in the order of the sealed list."""
    reply_sealed: bytes


async def create_reply(
    desk: Desk,
    settings: Outbound,
    account_id: UUID,
    number: int,
    draft: ReplyDraft,
    *,
    idempotency_key: str | None = None,
) -> CreatedReply:
    """Queue a reply to the ticket's requester. Raises NotFound, Conflict, TicketMerged, ReplyRefused, ComposeError.

    A request that is repeated gets its first reply, also where it could not be made any more: its uploads are used up,
    or the time that it names has passed.
    """
    try:
        return await _create(desk, settings, account_id, number, draft, idempotency_key)
    except (ReplyRefused, ComposeError):
        if idempotency_key is None:
            raise
        mailbox_id = await desk.mailbox_of_ticket(account_id, number)
        asked = _request_of(await desk.keys.mailbox(account_id, mailbox_id), number, draft, idempotency_key)
        first = await desk.content.read(account_id, outbox.find_request, asked)
        if first is None:
            raise
        return CreatedReply(first, repeated=True)


def _request_of(key: DataKey, number: int, draft: ReplyDraft, idempotency_key: str) -> Request:
    return Request(request_key(key, number, idempotency_key), request_hash(number, draft))


async def _create(
    desk: Desk, settings: Outbound, account_id: UUID, number: int, draft: ReplyDraft, idempotency_key: str | None
) -> CreatedReply:
    # By the clock that it will be due by: where ours is ahead, what is soon would have passed.
    at = datetime.now(UTC) if draft.send_at is None else await desk.content.read(None, now)
    delay = delay_of(settings, draft.send_at, draft.undo_seconds, at)
    view = await desk.conversation(account_id, number)
    message_id = new_id()
    if not view.record.requester.addr:
        raise ReplyRefused("the ticket has no requester that could be written to")
    recipients = choose_recipients(view.mailbox, [view.record.requester], draft.cc, draft.bcc)
    files = await load_files(
        desk.content, view.key, draft.attachments, draft.images, bytes_max=settings.reply_bytes_max
    )
    _check_limits(settings, draft, files, recipients)
    request = _request(settings, view, draft, files, recipients, delay, message_id)
    content = await asyncio.to_thread(compose_reply, request)
    if len(content) > settings.reply_bytes_max:
        raise ReplyRefused(f"the reply has {len(content)} bytes, the limit is {settings.reply_bytes_max}")
    transformed = await asyncio.to_thread(transform, content)
    raw = await seal_raw(desk.blobs, view.key, message_id, transformed.chunks, len(content), desk.blob_bytes_min)
    composed = _seal(view, request, recipients, draft, message_id, transformed, raw)
    guard = await _guard(desk, settings, account_id, view, draft, recipients)
    try:
        first = await desk.content.transaction(
            account_id,
            _write,
            view.ticket.ticket_id,
            composed,
            guard,
            delay,
            files.uploads,
            _request_of(view.key, number, draft, idempotency_key) if idempotency_key else None,
        )
    except (ReplyRefused, Conflict):
        await asyncio.to_thread(desk.blobs.delete, account_id, view.ticket.mailbox_id, message_id)
        raise
    if first is not None:
        await asyncio.to_thread(desk.blobs.delete, account_id, view.ticket.mailbox_id, message_id)
        return CreatedReply(first, repeated=True)
    log.info("reply.queued", mailbox_id=view.ticket.mailbox_id, message_id=message_id)
    return CreatedReply(message_id, repeated=False)


async def _guard(
    desk: Desk, settings: Outbound, account_id: UUID, view: Conversation, draft: ReplyDraft, recipients: Recipients
) -> Guard:
    refusal = None
    if draft.automatic:
        refusal = await refuse_automatic(desk, account_id, view, list(recipients.spellings))
    return Guard(settings, draft.automatic, refusal)


def _request(
    settings: Outbound,
    view: Conversation,
    draft: ReplyDraft,
    files: Files,
    recipients: Recipients,
    delay: Delay,
    message_id: UUID,
) -> ReplyRequest:
    sender = sender_of_reply(view)
    token = own_token(view.key.subkey(MESSAGE_ID_PURPOSE), message_id.bytes)
    parent = parent_of(view)
    date = delay.date(datetime.now(UTC))
    return ReplyRequest(
        message_id=own_message_id(token, domain_of(sender.addr)),
        own_token=token,
        from_=sender,
        to=recipients.to,
        subject=view.record.subject,
        date=date,
        text=draft.text,
        boundary=secrets.token_hex(16),
        cc=recipients.cc,
        reply_to=answers_to(view, sender),
        in_reply_to=parent.message_id if parent is not None else None,
        references=references_of(parent),
        attachments=files.attachments,
        format=draft.format,
        signature=view.mailbox.signature if draft.signature else "",
        quoted=quoted_of(view, settings.quote_bytes_max) if draft.quote else None,
        images=files.images,
        thread_index=thread_index_of(parent, date, secrets.randbits(4) << 4),
        text_bytes_max=settings.text_bytes_max,
    )


def _check_limits(settings: Outbound, draft: ReplyDraft, files: Files, recipients: Recipients) -> None:
    count = len(recipients.everybody())
    if count > settings.recipients_max:
        raise ReplyRefused(f"the reply has {count} recipients, the limit is {settings.recipients_max}")
    # Base64 makes 4 bytes of 3: what is surely too large is not composed first.
    size = len(draft.text.encode("utf-8", "replace")) + files.size_bytes() * 4 // 3
    if size > settings.reply_bytes_max:
        raise ReplyRefused(f"the reply would have {size} bytes, the limit is {settings.reply_bytes_max}")


def _seal(
    view: Conversation,
    request: ReplyRequest,
    recipients: Recipients,
    draft: ReplyDraft,
    message_id: UUID,
    transformed: Transformed,
    raw: Raw,
) -> _Composed:
    key, mail = view.key, transformed.mail
    record = MessageRecord(
        mail=mail, raw_sha256=transformed.raw_sha256, evidence=("written by an agent",), author=draft.author
    )
    reply = ReplyRecord(
        sender=request.from_.addr,
        recipients=tuple(one.addr for one in recipients.everybody()),
        message_id=request.message_id,
        token=request.own_token,
        bcc=tuple(one.addr for one in recipients.bcc),
    )
    message = NewMessage(
        message_id=message_id,
        mailbox_id=view.ticket.mailbox_id,
        ticket_id=view.ticket.ticket_id,
        direction="out",
        kind="reply",
        # The same identity as an inbound message: should it come back to the mailbox, it is known.
        identity_key=identity_of(key, mail, transformed.raw_sha256),
        received_at=request.date,
        raw=raw,
        sealed=key.seal_record(MessageRecord.place(message_id), record),
        attachments=new_attachments(key, mail),
        thread_keys=[thread_key(key, request.message_id)],
    )
    return _Composed(
        message=message,
        recipients=tuple(address_key(key, address) for address in recipients.spellings),
        envelope=tuple(address_key(key, normalize(address)) for address in reply.recipients),
        reply_sealed=key.seal_record(ReplyRecord.place(message_id), reply),
    )


def _write(
    conn: Connection,
    account_id: UUID,
    ticket_id: UUID,
    composed: _Composed,
    guard: Guard,
    delay: Delay,
    uploaded: frozenset[UUID],
    request: Request | None,
) -> UUID | None:
    """Write message and outbox row; return the first reply's id, writing nothing, where this is a repetition."""
    message = composed.message
    mailboxes.hold_unfenced(conn, account_id, message.mailbox_id)
    if request is not None:
        first = outbox.remember_request(
            conn,
            account_id,
            message.mailbox_id,
            request_key=request.key,
            request_hash=request.hash,
            message_id=message.message_id,
        )
        if first is not None:
            return first
    # Here, and not before: it may be merged while the reply is composed, and a repeated request gets its first reply.
    merges.refuse_merged(conn, account_id, tickets.get_ticket_by_id(conn, account_id, ticket_id))
    guard.check(conn, account_id, message.mailbox_id, ticket_id, composed.recipients)
    if uploaded and not uploads.take_uploads(conn, account_id, message.mailbox_id, uploaded):
        raise upload_gone()  # another reply took one meanwhile
    messages.insert_messages(conn, account_id, [message])
    outbox.insert_reply(
        conn,
        account_id,
        message.mailbox_id,
        message.message_id,
        epoch=epoch(conn),
        sealed=composed.reply_sealed,
        automatic=guard.automatic,
        send_at=delay.send_at,
        delay=delay.undo,
    )
    reply_recipients.insert_recipients(conn, account_id, message.mailbox_id, message.message_id, composed.envelope)
    tickets.insert_participants(conn, account_id, message.mailbox_id, [(ticket_id, key) for key in composed.recipients])
    tickets.touch_ticket(conn, account_id, ticket_id)
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    event = events.NewEvent("reply.queued", message.mailbox_id, ticket_id, message.message_id)
    events.insert_events(conn, account_id, sequence, [event])
    return None
