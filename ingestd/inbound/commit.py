"""One batch, one transaction: cursor, tickets, messages, attachments, events.

The order of the steps is the order of the locks: the mailbox's row first (it holds the
fence), the account's counters last. What joins which ticket is decided in between (`joining`), by
`ingestd.mail.thread`, from what this same transaction sees; what comes beyond a limit is muted (`floods`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import HistoryBatch
from ingestd.inbound.bounces import note_bounce, suspect
from ingestd.inbound.draft import Draft
from ingestd.inbound.edits import plan_edits
from ingestd.inbound.floods import Flood, flood_of, foresee_openings, note
from ingestd.inbound.identity import address_key, thread_key
from ingestd.inbound.intake import MailboxContext, Prepared, Read, identities
from ingestd.inbound.joining import decide_for, foresee, is_own
from ingestd.inbound.mirroring import mirror_status
from ingestd.inbound.relocating import relocate
from ingestd.inbound.senders import offered_requester, requester_of
from ingestd.mail.addresses import normalize
from ingestd.mail.thread import Decision
from ingestd.mail.types import Kind, ParsedMail
from ingestd.records import (
    AttachmentRecord,
    CursorRecord,
    HistoryRecord,
    MessageRecord,
    QuarantineRecord,
    TicketRecord,
)
from storage import accounts, backfills, edits, events, mailboxes, messages, quarantine, tickets
from storage.errors import Conflict
from storage.sealing import DataKey
from storage.tickets import TicketStatus
from storage.types import new_id


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a batch."""

    kinds: Sequence[Kind] = ()
    """Of the messages that were new."""
    tickets: int = 0
    quarantined: Sequence[str] = ()
    """The reasons."""
    again: Sequence[Read] = ()
    """Those that were there already: they came in after they had been looked for."""
    bounced: Sequence[UUID] = ()
    """The replies of ours that came back."""
    muted: Sequence[str] = ()
    """Of the messages that are muted, why: the limit that they are beyond, `sender` or `ticket`; or `spam`."""

    @property
    def known(self) -> int:
        """How many were there already."""
        return len(self.again)


def commit_batch(
    conn: Connection,
    account_id: UUID,
    context: MailboxContext,
    prepared: Sequence[Prepared],
    *,
    fence: int,
    cursor_sequence: int,
    cursor: str,
    seen: Sequence[Read] = (),
) -> Committed:
    """Write one batch; `seen` are those of its messages that were known before.

    Raises FenceLost, CursorMoved; then nothing was written.
    """
    key = context.key
    mailboxes.advance_cursor(
        conn,
        account_id,
        context.mailbox_id,
        fence=fence,
        cursor_sequence=cursor_sequence,
        cursor_sealed=key.seal_record(CursorRecord.place(context.mailbox_id), CursorRecord(cursor)),
    )
    if seen:
        relocate(conn, account_id, context, seen)
    draft = Draft(remembers=backfills.is_unfinished(conn, account_id, context.mailbox_id))
    committed = _commit(conn, account_id, context, prepared, draft)
    if committed.again:
        relocate(conn, account_id, context, committed.again)
    return committed


def commit_history(
    conn: Connection,
    account_id: UUID,
    context: MailboxContext,
    prepared: Sequence[Prepared],
    *,
    fence: int,
    cursor_sequence: int,
    batch: HistoryBatch,
    seconds: float,
    ticket_status: str,
) -> Committed:
    """Write one batch of old mail, under the backfill's own cursor; nobody is to answer it.

    `seconds` is what it took to read it; `ticket_status` is that of the tickets that it opens. Raises FenceLost,
    CursorMoved; then nothing was written.
    """
    sealed = context.key.seal_record(HistoryRecord.place(context.mailbox_id), HistoryRecord(batch.cursor))
    mailboxes.hold(conn, account_id, context.mailbox_id, fence)
    backfills.advance(
        conn,
        account_id,
        context.mailbox_id,
        cursor_sequence=cursor_sequence,
        cursor_sealed=sealed,
        seen=batch.seen,
        total=batch.total,
        seconds=seconds,
    )
    draft = Draft(remembers=True, imported=True, ticket_status=ticket_status)
    return _commit(conn, account_id, context, prepared, draft)


def commit_missed(
    conn: Connection,
    account_id: UUID,
    context: MailboxContext,
    prepared: Sequence[Prepared],
    *,
    imported: bool,
    ticket_status: str,
) -> Committed:
    """Write messages that no reading took, on a person's request; a worker may be reading the mailbox.

    `imported`: they are old mail, as in `commit_history`. Raises NotFound; Conflict where nothing is read now.
    """
    if mailboxes.hold_unfenced(conn, account_id, context.mailbox_id).state not in mailboxes.WORKED:
        raise Conflict(f"mailbox {context.mailbox_id} is not being read: nothing is taken from it")
    remembers = imported or backfills.is_unfinished(conn, account_id, context.mailbox_id)
    status = ticket_status if imported else "open"
    draft = Draft(remembers=remembers, imported=imported, ticket_status=status)
    committed = _commit(conn, account_id, context, prepared, draft)
    if draft.new_edits:
        edits.announce(conn)
    return committed


def _commit(
    conn: Connection, account_id: UUID, context: MailboxContext, prepared: Sequence[Prepared], draft: Draft
) -> Committed:
    """Write those messages of a batch that are new."""
    wanted = identities([one.read for one in prepared])
    known = messages.known_identities(conn, account_id, context.mailbox_id, wanted)
    new = [one for one in prepared if not one.read.is_among(known)]
    _foresee(conn, context, draft, [one.read.mail for one in new if one.read.mail is not None])
    for one in new:
        if one.read.mail is None:
            _quarantine(context, draft, one)
        else:
            _take(conn, context, draft, one, one.read.mail)
    _write(conn, account_id, context, draft)
    return Committed(
        kinds=[Kind(one.kind) for one in draft.new_messages],
        tickets=len(draft.new_tickets),
        quarantined=[one.reason for one in draft.new_quarantine],
        again=[one.read for one in prepared if one.read.is_among(known)],
        bounced=draft.bounced,
        muted=draft.muted,
    )


def _foresee(conn: Connection, context: MailboxContext, draft: Draft, mails: Sequence[ParsedMail]) -> None:
    foresee(conn, context, draft, mails)
    if not draft.imported:
        requesters = (normalize(requester_of(context, mail).addr) for mail in mails)
        foresee_openings(conn, context, draft, {address_key(context.key, one) for one in requesters})


def write_understood(
    conn: Connection,
    account_id: UUID,
    context: MailboxContext,
    one: Prepared,
    *,
    imported: bool = False,
    ticket_status: str = "open",
) -> UUID:
    """Write one message that was in quarantine and is understood now; return its ticket.

    The caller holds the mailbox, and has seen to it that the message is not known. What a backfill
    had read is `imported`; `ticket_status` is that of a ticket that it opens.
    """
    assert one.read.mail is not None
    remembers = backfills.is_unfinished(conn, account_id, context.mailbox_id)
    draft = Draft(remembers=remembers, imported=imported, ticket_status=ticket_status)
    _take(conn, context, draft, one, one.read.mail)
    _write(conn, account_id, context, draft)
    if draft.new_edits:
        edits.announce(conn)
    return draft.new_messages[0].ticket_id


def _take(conn: Connection, context: MailboxContext, draft: Draft, one: Prepared, mail: ParsedMail) -> None:
    kind = Kind.OWN if is_own(conn, context, draft, mail) else mail.kind
    at = one.read.received_at
    decision = decide_for(conn, context, draft, mail, kind, at)
    if kind is Kind.BOUNCE and not draft.imported:
        decision = suspect(conn, context, mail, decision, at)
    requester = requester_of(context, mail)
    requester_key = address_key(context.key, normalize(requester.addr))
    flood = None
    if draft.imported:
        decision = replace(decision, reopen=False, evidence=(*decision.evidence, "imported"))
    else:
        flood = flood_of(conn, context, draft, decision.ticket_id, requester_key, at)
    if flood is not None:
        ticket_id, evidence = flood.ticket_id, (*decision.evidence, f"beyond the limit of the {flood.limit}")
        decision = replace(decision, ticket_id=ticket_id, reopen=False, evidence=evidence)
    muted = flood is not None or (decision.muted and not draft.imported)
    opens = decision.ticket_id is None
    ticket_id = decision.ticket_id or _open_ticket(context, draft, mail, decision, requester_key)
    status = TicketStatus.OPEN if opens else _join_ticket(conn, context, draft, ticket_id, decision)
    note(draft, requester_key, ticket_id, at, opened=opens, muted=muted)
    new_edits, home = ([], "") if draft.imported else plan_edits(context, one.read, status)
    message = _message(context, one, mail, kind, ticket_id, decision, muted=muted, home=home)
    draft.new_messages.append(message)
    draft.new_events.extend(_news(context, draft, one.read, kind, ticket_id, flood, muted=muted))
    draft.remember(context, mail, one.read.row_id, ticket_id)
    if draft.imported:
        return  # a bounce in it is not of a reply of ours, and the mailbox stays as it is
    if kind is Kind.BOUNCE:
        note_bounce(conn, context, draft, mail, ticket_id)
    draft.new_edits.extend(new_edits)


def _open_ticket(
    context: MailboxContext, draft: Draft, mail: ParsedMail, decision: Decision, requester_key: bytes
) -> UUID:
    ticket_id = new_id()
    requester = requester_of(context, mail)
    record = TicketRecord(mail.subject, requester, offered_requester(context, mail))
    draft.new_tickets[ticket_id] = tickets.NewTicket(
        ticket_id=ticket_id,
        mailbox_id=context.mailbox_id,
        requester_key=requester_key,
        suspected_ticket_id=decision.suspected,
        sealed=context.key.seal_record(TicketRecord.place(ticket_id), record),
        status=draft.ticket_status,
        follows_ticket_id=decision.follows,
    )
    draft.participants[ticket_id, requester_key] = None
    news = "ticket.imported" if draft.imported else "ticket.created"
    draft.new_events.append(events.NewEvent(news, context.mailbox_id, ticket_id))
    return ticket_id


def _join_ticket(
    conn: Connection, context: MailboxContext, draft: Draft, ticket_id: UUID, decision: Decision
) -> TicketStatus:
    """Return where the ticket stands then."""
    if ticket_id in draft.new_tickets:
        return TicketStatus.OPEN  # opened by this batch, and not written yet
    ticket = draft.foreseen.ticket(conn, context, ticket_id)
    if not decision.reopen or ticket.status == TicketStatus.OPEN:
        draft.touched[ticket_id] = None
        return TicketStatus(ticket.status)
    limit = context.mirror_messages_max
    mirror_status(conn, context.account_id, context.key, context.mirror, ticket, TicketStatus.OPEN, limit)
    draft.new_events.append(events.NewEvent("ticket.reopened", context.mailbox_id, ticket_id))
    tickets.touch_ticket(conn, context.account_id, ticket_id, status=TicketStatus.OPEN)
    draft.foreseen.reopened(ticket)
    return TicketStatus.OPEN


def _news(
    context: MailboxContext,
    draft: Draft,
    read: Read,
    kind: Kind,
    ticket_id: UUID,
    flood: Flood | None,
    *,
    muted: bool,
) -> Iterator[events.NewEvent]:
    """Tell of a message; one that is muted under another name, so that nobody answers it."""
    if flood is not None:
        draft.muted.append(flood.limit)
        if flood.begins:
            yield events.NewEvent("ticket.flooded", context.mailbox_id, ticket_id, None, flood.limit)
    elif muted:
        draft.muted.append("spam")
    news = "message.imported" if draft.imported else "message.muted" if muted else "message.received"
    yield events.NewEvent(news, context.mailbox_id, ticket_id, read.row_id, kind.value)


def _message(
    context: MailboxContext,
    one: Prepared,
    mail: ParsedMail,
    kind: Kind,
    ticket_id: UUID,
    decision: Decision,
    *,
    muted: bool,
    home: str,
) -> messages.NewMessage:
    read = one.read
    record = MessageRecord(
        mail=mail,
        raw_sha256=read.raw_sha256,
        locator=read.locator,
        folder=read.folder,
        evidence=decision.evidence,
        truncated=read.truncated,
        home=home,
    )
    return messages.NewMessage(
        message_id=read.row_id,
        mailbox_id=context.mailbox_id,
        ticket_id=ticket_id,
        direction="in",
        kind=kind.value,
        identity_key=read.identity_key,
        header_key=read.header_key,
        received_at=read.received_at,
        raw=one.raw,
        sealed=context.key.seal_record(MessageRecord.place(read.row_id), record),
        attachments=new_attachments(context.key, mail),
        thread_keys=[thread_key(context.key, mail.message_id)] if mail.message_id else [],
        muted=muted,
        altered=read.altered,
    )


def new_attachments(key: DataKey, mail: ParsedMail) -> list[messages.NewAttachment]:
    """Seal the attachments' metadata; their bytes stay in the raw message."""
    rows = []
    for attachment in mail.attachments:
        attachment_id = new_id()
        sealed = key.seal_record(AttachmentRecord.place(attachment_id), AttachmentRecord(attachment))
        rows.append(messages.NewAttachment(attachment_id, attachment.size_bytes, sealed))
    return rows


def _quarantine(context: MailboxContext, draft: Draft, one: Prepared) -> None:
    read = one.read
    record = QuarantineRecord(read.locator, read.folder, read.raw_sha256, read.truncated, draft.imported)
    draft.new_quarantine.append(
        quarantine.NewQuarantine(
            quarantine_id=read.row_id,
            mailbox_id=context.mailbox_id,
            identity_key=read.identity_key,
            header_key=read.header_key,
            reason=read.rejected or "unknown",
            received_at=read.received_at,
            raw=one.raw,
            sealed=context.key.seal_record(QuarantineRecord.place(read.row_id), record),
        )
    )
    draft.new_events.append(
        events.NewEvent("message.quarantined", context.mailbox_id, None, read.row_id, read.rejected)
    )


def _write(conn: Connection, account_id: UUID, context: MailboxContext, draft: Draft) -> None:
    tickets.touch_tickets(conn, account_id, draft.touched)
    messages.insert_messages(conn, account_id, draft.new_messages)
    quarantine.insert_quarantine(conn, account_id, draft.new_quarantine)
    edits.insert_edits(conn, account_id, draft.new_edits)
    backfills.insert_references(conn, account_id, context.mailbox_id, draft.new_references)
    if draft.participants:
        tickets.insert_participants(conn, account_id, context.mailbox_id, draft.participants)
    if draft.new_events:
        number, sequence = accounts.draw_numbers(
            conn, account_id, tickets=len(draft.new_tickets), events=len(draft.new_events)
        )
        tickets.insert_tickets(conn, account_id, number, list(draft.new_tickets.values()))
        events.insert_events(conn, account_id, sequence, draft.new_events)
