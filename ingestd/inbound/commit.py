"""One batch, one transaction: cursor, tickets, messages, attachments, events.

The order of the steps is the order of the locks: the mailbox's row first (it holds the
fence), the account's counters last. What joins which ticket is decided in between, by
`ingestd.mail.thread`, from what this same transaction sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.identity import MESSAGE_ID_PURPOSE, address_key, thread_key
from ingestd.inbound.intake import MailboxContext, Prepared, Read
from ingestd.mail.addresses import normalize
from ingestd.mail.message_id import token_of, verify_token
from ingestd.mail.thread import (
    Authentication,
    Candidate,
    Decision,
    Standing,
    ancestors,
    authentication_of,
    choose_ticket,
    decide,
)
from ingestd.mail.types import Address, Kind, ParsedMail
from ingestd.outbound.statuses import ReplyEvent, next_status
from ingestd.records import AttachmentRecord, CursorRecord, MessageRecord, QuarantineRecord, TicketRecord
from storage import accounts, events, mailboxes, messages, outbox, tickets
from storage.errors import NotFound
from storage.sealing import DataKey
from storage.types import new_id


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a batch."""

    kinds: Sequence[Kind] = ()
    """Of the messages that were new."""
    tickets: int = 0
    quarantined: Sequence[str] = ()
    """The reasons."""
    known: int = 0
    """Messages that were there already."""
    bounced: int = 0


@dataclass(slots=True)
class _Draft:
    """What the transaction is going to write, collected while the batch is decided."""

    new_tickets: list[tickets.NewTicket] = field(default_factory=list)
    new_messages: list[messages.NewMessage] = field(default_factory=list)
    new_quarantine: list[messages.NewQuarantine] = field(default_factory=list)
    participants: list[tuple[UUID, bytes]] = field(default_factory=list)
    new_events: list[events.NewEvent] = field(default_factory=list)
    ticket_of_key: dict[bytes, UUID] = field(default_factory=dict)
    """Thread keys of this batch's messages: an answer can come in the same batch as its question."""
    bounced: int = 0


def commit_batch(
    conn: Connection,
    account_id: UUID,
    context: MailboxContext,
    prepared: Sequence[Prepared],
    *,
    fence: int,
    cursor_sequence: int,
    cursor: str,
) -> Committed:
    """Write one batch. Raises FenceLost, CursorMoved; then nothing was written."""
    key = context.key
    mailboxes.advance_cursor(
        conn,
        account_id,
        context.mailbox_id,
        fence=fence,
        cursor_sequence=cursor_sequence,
        cursor_sealed=key.seal_record(CursorRecord.place(context.mailbox_id), CursorRecord(cursor)),
    )
    wanted = [one.read.identity_key for one in prepared]
    known = messages.known_identities(conn, account_id, context.mailbox_id, wanted) if wanted else set()
    draft = _Draft()
    for one in prepared:
        if one.read.identity_key in known:
            continue
        if one.read.mail is None:
            _quarantine(context, draft, one)
        else:
            _take(conn, context, draft, one, one.read.mail)
    _write(conn, account_id, context, draft)
    return Committed(
        kinds=[Kind(one.kind) for one in draft.new_messages],
        tickets=len(draft.new_tickets),
        quarantined=[one.reason for one in draft.new_quarantine],
        known=len(known),
        bounced=draft.bounced,
    )


def _take(conn: Connection, context: MailboxContext, draft: _Draft, one: Prepared, mail: ParsedMail) -> None:
    kind = mail.kind
    own = _verified(context, [mail.message_id])
    if own and _sender(mail).addr and normalize(_sender(mail).addr) in _own_addresses(context):
        # A reply of ours that came back to the mailbox, through an alias or a list.
        kind = Kind.OWN
    decision = _decide(conn, context, draft, mail, kind)
    ticket_id = decision.ticket_id
    if ticket_id is None:
        ticket_id = _open_ticket(context, draft, mail, decision)
    elif ticket_id not in {ticket.ticket_id for ticket in draft.new_tickets}:
        _join_ticket(conn, context, draft, ticket_id, decision)
    draft.new_messages.append(_message(context, one.read, one.raw, mail, kind, ticket_id, decision))
    draft.new_events.append(
        events.NewEvent("message.received", context.mailbox_id, ticket_id, one.read.row_id, kind.value)
    )
    if mail.message_id:
        draft.ticket_of_key.setdefault(thread_key(context.key, mail.message_id), ticket_id)
    if kind is Kind.BOUNCE:
        _bounce(conn, context, draft, mail, ticket_id)


def _decide(conn: Connection, context: MailboxContext, draft: _Draft, mail: ParsedMail, kind: Kind) -> Decision:
    named = list(ancestors(mail.in_reply_to, mail.references))
    proofs = [mail.message_id, *named] if kind is Kind.OWN else named
    if mail.bounce is not None:
        proofs = [*proofs, *mail.bounce.original_message_ids]
    sender = address_key(context.key, normalize(_requester(context, mail).addr))
    return decide(
        by_token=_by_token(conn, context, draft, proofs, sender),
        by_known_id=_by_known_id(conn, context, draft, named, sender),
        authentication=_authentication(context, mail),
        kind=kind,
    )


def _verified(context: MailboxContext, message_ids: Sequence[str]) -> list[UUID]:
    """Return the messages of ours that these Message-IDs prove, oldest first."""
    hmac_key = context.key.subkey(MESSAGE_ID_PURPOSE)
    tokens = [token for one in message_ids if (token := token_of(one))]
    return [UUID(bytes=proved) for token in tokens if (proved := verify_token(hmac_key, token))]


def _by_token(
    conn: Connection, context: MailboxContext, draft: _Draft, message_ids: Sequence[str], sender: bytes
) -> Candidate | None:
    proved = _verified(context, message_ids)
    if not proved:
        return None
    found = messages.tickets_by_message(conn, context.account_id, context.mailbox_id, proved)
    ticket_id = next((found[one] for one in reversed(proved) if one in found), None)
    return _candidate(conn, context, draft, ticket_id, sender)


def _by_known_id(
    conn: Connection, context: MailboxContext, draft: _Draft, named: Sequence[str], sender: bytes
) -> Candidate | None:
    keys = {one: thread_key(context.key, one) for one in named}
    if not keys:
        return None
    stored = messages.tickets_by_thread_key(conn, context.account_id, context.mailbox_id, keys.values())
    known = draft.ticket_of_key | stored
    ticket_id = choose_ticket(named, {one: known[key] for one, key in keys.items() if key in known})
    return _candidate(conn, context, draft, ticket_id, sender)


def _candidate(
    conn: Connection, context: MailboxContext, draft: _Draft, ticket_id: UUID | None, sender: bytes
) -> Candidate | None:
    if ticket_id is None:
        return None
    requesters = {ticket.ticket_id: ticket.requester_key for ticket in draft.new_tickets}
    if ticket_id not in requesters:
        try:
            requesters[ticket_id] = tickets.get_ticket_by_id(conn, context.account_id, ticket_id).requester_key
        except NotFound:
            return None
    if requesters[ticket_id] == sender:
        return Candidate(ticket_id, Standing.REQUESTER)
    joined = (ticket_id, sender) in draft.participants or tickets.is_participant(
        conn, context.account_id, ticket_id, sender
    )
    return Candidate(ticket_id, Standing.PARTICIPANT if joined else Standing.STRANGER)


def _authentication(context: MailboxContext, mail: ParsedMail) -> Authentication:
    """Believe the provider's own verdict only; anybody can write the header under another name."""
    if mail.auth is None or mail.auth.authserv_id.lower() not in context.authserv_ids:
        return Authentication.ABSENT
    return authentication_of(mail.auth.methods)


def _open_ticket(context: MailboxContext, draft: _Draft, mail: ParsedMail, decision: Decision) -> UUID:
    ticket_id = new_id()
    requester = _requester(context, mail)
    requester_key = address_key(context.key, normalize(requester.addr))
    record = TicketRecord(subject=mail.subject, requester=requester)
    draft.new_tickets.append(
        tickets.NewTicket(
            ticket_id=ticket_id,
            mailbox_id=context.mailbox_id,
            requester_key=requester_key,
            suspected_ticket_id=decision.suspected,
            sealed=context.key.seal_record(TicketRecord.place(ticket_id), record),
        )
    )
    draft.participants.append((ticket_id, requester_key))
    draft.new_events.append(events.NewEvent("ticket.created", context.mailbox_id, ticket_id))
    return ticket_id


def _join_ticket(conn: Connection, context: MailboxContext, draft: _Draft, ticket_id: UUID, decision: Decision) -> None:
    reopen = decision.reopen and tickets.get_ticket_by_id(conn, context.account_id, ticket_id).status != "open"
    tickets.touch_ticket(conn, context.account_id, ticket_id, status="open" if reopen else None)
    if reopen:
        draft.new_events.append(events.NewEvent("ticket.reopened", context.mailbox_id, ticket_id))


def _message(
    context: MailboxContext,
    read: Read,
    raw: messages.Raw,
    mail: ParsedMail,
    kind: Kind,
    ticket_id: UUID,
    decision: Decision,
) -> messages.NewMessage:
    record = MessageRecord(
        mail=mail,
        raw_sha256=read.raw_sha256,
        locator=read.locator,
        folder=read.folder,
        evidence=decision.evidence,
        truncated=read.truncated,
    )
    return messages.NewMessage(
        message_id=read.row_id,
        mailbox_id=context.mailbox_id,
        ticket_id=ticket_id,
        direction="in",
        kind=kind.value,
        identity_key=read.identity_key,
        received_at=read.received_at,
        raw=raw,
        sealed=context.key.seal_record(MessageRecord.place(read.row_id), record),
        attachments=new_attachments(context.key, mail),
        thread_keys=[thread_key(context.key, mail.message_id)] if mail.message_id else [],
    )


def new_attachments(key: DataKey, mail: ParsedMail) -> list[messages.NewAttachment]:
    """Seal the attachments' metadata; their bytes stay in the raw message."""
    rows = []
    for attachment in mail.attachments:
        attachment_id = new_id()
        sealed = key.seal_record(AttachmentRecord.place(attachment_id), AttachmentRecord(attachment))
        rows.append(messages.NewAttachment(attachment_id, attachment.size_bytes, sealed))
    return rows


def _quarantine(context: MailboxContext, draft: _Draft, one: Prepared) -> None:
    read = one.read
    record = QuarantineRecord(read.locator, read.folder, read.raw_sha256, read.truncated)
    draft.new_quarantine.append(
        messages.NewQuarantine(
            quarantine_id=read.row_id,
            mailbox_id=context.mailbox_id,
            identity_key=read.identity_key,
            reason=read.rejected or "unknown",
            received_at=read.received_at,
            raw=one.raw,
            sealed=context.key.seal_record(QuarantineRecord.place(read.row_id), record),
        )
    )
    draft.new_events.append(
        events.NewEvent("message.quarantined", context.mailbox_id, None, read.row_id, read.rejected)
    )


def _bounce(conn: Connection, context: MailboxContext, draft: _Draft, mail: ParsedMail, ticket_id: UUID) -> None:
    """Change the reply that bounced. Only our HMAC in the returned headers proves that it is ours."""
    if mail.bounce is None or not mail.bounce.permanent:
        return
    for message_id in _verified(context, mail.bounce.original_message_ids):
        try:
            reply = outbox.get_reply(conn, context.account_id, message_id)
        except NotFound:
            continue
        status = next_status(reply.status, ReplyEvent.BOUNCE)
        if reply.mailbox_id != context.mailbox_id or status == reply.status:
            continue
        outbox.change_reply(
            conn,
            context.account_id,
            message_id,
            was=reply.status,
            status=status,
            due_at=reply.due_at if reply.sent_copy is outbox.SentCopy.DUE else None,
            reason="bounced",
        )
        draft.bounced += 1
        draft.new_events.append(events.NewEvent("reply.bounced", context.mailbox_id, ticket_id, message_id))


def _write(conn: Connection, account_id: UUID, context: MailboxContext, draft: _Draft) -> None:
    messages.insert_messages(conn, account_id, draft.new_messages)
    messages.insert_quarantine(conn, account_id, draft.new_quarantine)
    if draft.participants:
        tickets.insert_participants(conn, account_id, context.mailbox_id, draft.participants)
    if draft.new_events:
        number, sequence = accounts.draw_numbers(
            conn, account_id, tickets=len(draft.new_tickets), events=len(draft.new_events)
        )
        tickets.insert_tickets(conn, account_id, number, draft.new_tickets)
        events.insert_events(conn, account_id, sequence, draft.new_events)


def _sender(mail: ParsedMail) -> Address:
    return mail.from_[0] if mail.from_ else (mail.sender or Address(""))


def _own_addresses(context: MailboxContext) -> set[str]:
    return {normalize(address) for address in context.record.own_addresses()}


def _requester(context: MailboxContext, mail: ParsedMail) -> Address:
    """Return who asks: the From; Reply-To where one of our own addresses or a contact form wrote for somebody."""
    sender = _sender(mail)
    for_another = _own_addresses(context) | context.contact_forms
    if mail.reply_to and normalize(sender.addr) in for_another:
        return next((one for one in mail.reply_to if normalize(one.addr) not in for_another), sender)
    return sender
