"""A small healthy installation: two accounts, mailboxes, tickets, replies, a quarantine, a blob and two
disconnected mailboxes, all written by the storage functions and really sealed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, insert

from ingestd import account_states, records
from ingestd.inbound.states import tell
from ingestd.keys import KeyRing
from ingestd.mail.blobs import CHUNK_BYTES, compress_chunks
from ingestd.mail.types import Address, Attachment, Kind, ParsedMail
from ingestd.privacy.closing import Closer
from ingestd.privacy.disconnect import EraserTools
from ingestd.privacy.requests import request_close
from ingestd.telemetry.metrics import Metrics
from ingestd.verify import Report, verify
from ingestd.verify.ledger import KNOWN_POSITION
from storage import (
    access_warnings,
    accounts,
    audits,
    backfills,
    deliveries,
    edits,
    erasures,
    events,
    flows,
    grants,
    keystore,
    mailboxes,
    merges,
    messages,
    meta,
    outbox,
    persons,
    pushes,
    quarantine,
    reply_recipients,
    requests,
    suspensions,
    tickets,
    uploads,
    webhooks,
)
from storage.deliveries import DeliveryStatus, Outcome
from storage.edits import NewEdit
from storage.events import NewEvent
from storage.messages import BLOB, ROWS, NewAttachment, NewMessage, Raw
from storage.quarantine import NewQuarantine, QuarantineStatus
from storage.reply_recipients import RecipientStatus
from storage.sealing import DataKey, MasterKey
from storage.tables import forgotten_messages, store_meta
from storage.types import new_id
from tests.stores import Stores

RECEIVED = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
MASTER = MasterKey(bytes(range(32)))
RAW = b"Subject: Invoice\r\n\r\nHello, here are two files.\r\n"
HELD, TAKEN, DROPPED = QuarantineStatus.HELD, QuarantineStatus.TAKEN, QuarantineStatus.DROPPED
WORKER = UUID("018f0000-0000-7000-8000-000000000001")


@dataclass
class World:
    """The ids of what was built, for damages to aim at."""

    stores: Stores
    account: UUID = field(default_factory=new_id)
    other_account: UUID = field(default_factory=new_id)
    mailbox: UUID = field(default_factory=new_id)
    second_mailbox: UUID = field(default_factory=new_id)
    """Of the same account."""
    other_mailbox: UUID = field(default_factory=new_id)
    """Of the other account."""
    leaving_mailbox: UUID = field(default_factory=new_id)
    """Its key is destroyed, its rows are not deleted yet."""
    gone_mailbox: UUID = field(default_factory=new_id)
    person: UUID = field(default_factory=new_id)
    """The erasure of a person, under way."""
    erased_person: UUID = field(default_factory=new_id)
    closing_account: UUID = field(default_factory=new_id)
    """Being closed; its key is still there."""
    closed_account: UUID = field(default_factory=new_id)
    ticket: UUID = field(default_factory=new_id)
    suspicious_ticket: UUID = field(default_factory=new_id)
    """In the second mailbox, with the first ticket as its suspected one."""
    other_ticket: UUID = field(default_factory=new_id)
    message: UUID = field(default_factory=new_id)
    """With two attachments, in rows."""
    large_message: UUID = field(default_factory=new_id)
    """In a blob of three chunks."""
    chunked_message: UUID = field(default_factory=new_id)
    """In rows, of two chunks."""
    sent: UUID = field(default_factory=new_id)
    queued: UUID = field(default_factory=new_id)
    sending: UUID = field(default_factory=new_id)
    found: UUID = field(default_factory=new_id)
    """A reply whose unknown attempt was found in Sent."""
    quarantined: UUID = field(default_factory=new_id)
    taken: UUID = field(default_factory=new_id)
    """A message that was in quarantine, in a ticket of its own."""
    dropped: UUID = field(default_factory=new_id)
    """A message that was in quarantine, without its bytes."""
    edited: UUID = field(default_factory=new_id)
    """An edit of `message` that is due."""
    given_up: UUID = field(default_factory=new_id)
    """An edit of `large_message` that failed."""
    imported: UUID = field(default_factory=new_id)
    """An old message, of a backfill under way."""
    imported_ticket: UUID = field(default_factory=new_id)
    follow_up: UUID = field(default_factory=new_id)
    """A closed ticket that follows the first one up, and collects a flood."""
    muted: UUID = field(default_factory=new_id)
    """Its message."""
    uploaded: UUID = field(default_factory=new_id)
    """A file that waits for a reply."""
    merged_ticket: UUID = field(default_factory=new_id)
    """Merged into the first ticket."""
    merged_message: UUID = field(default_factory=new_id)
    """What had come to it."""
    webhook: UUID = field(default_factory=new_id)
    """It was told the first event, the second was given up, the third waits; the rest is in the log."""
    disabled: UUID = field(default_factory=new_id)
    """A webhook that is switched off."""
    key: DataKey = field(default_factory=lambda: DataKey(new_id(), new_id(), bytes(32)))
    """Of `mailbox`, once it is linked."""

    def keys(self) -> KeyRing:
        return KeyRing(self.stores.keystore, MASTER)

    async def verify(self, *, now: datetime | None = None, page_rows: int = 3) -> Report:
        """Check with a fresh key ring, in tiny pages, so that paging is tested by every test."""
        stores = self.stores
        return await verify(stores.content, stores.keystore, stores.blobs, self.keys(), now=now, page_rows=page_rows)


def parsed_mail(subject: str, attachments: Sequence[Attachment] = ()) -> ParsedMail:
    return ParsedMail(
        subject=subject,
        from_=(Address("kim@example.net", "Kim"),),
        reply_to=(),
        sender=None,
        to=(Address("support@example.com"),),
        cc=(),
        delivered_to=(),
        message_id="<one@example.net>",
        in_reply_to=(),
        references=(),
        date=None,
        text="Hello",
        new_text="Hello",
        html="",
        attachments=tuple(attachments),
        kind=Kind.CUSTOMER,
        evidence=(),
        bounce=None,
        auth=None,
        own_tokens=(),
        defects=(),
        charset="utf-8",
        body_sha256=bytes(32),
    )


def attachment(offset: int, length: int) -> Attachment:
    return Attachment(
        name="bill.pdf",
        original_name="bill.pdf",
        content_type="application/pdf",
        size_bytes=length,
        sha256="0" * 64,
        content_id=None,
        inline=False,
        offset=offset,
        length=length,
        encoding="8bit",
    )


def sealed_chunks(key: DataKey, owner_id: UUID, raw: bytes) -> list[bytes]:
    chunks = compress_chunks(raw)
    return [
        key.seal(records.chunk_place(owner_id, position, len(chunks)), chunk) for position, chunk in enumerate(chunks)
    ]


def new_message(
    key: DataKey,
    message_id: UUID,
    ticket_id: UUID,
    raw: bytes,
    *,
    direction: str = "in",
    blob: bool = False,
    attachments: Sequence[Attachment] = (),
) -> NewMessage:
    """Seal a message; with `blob` its bytes must be put by the caller."""
    assert key.mailbox_id is not None
    sealed = sealed_chunks(key, message_id, raw)
    mail = parsed_mail("Invoice", attachments)
    record = records.MessageRecord(mail=mail, raw_sha256=hashlib.sha256(raw).digest())
    parts = [(new_id(), one) for one in attachments]
    return NewMessage(
        message_id=message_id,
        mailbox_id=key.mailbox_id,
        ticket_id=ticket_id,
        direction=direction,
        kind="customer",
        identity_key=key.hash("identity", message_id.bytes),
        received_at=RECEIVED,
        raw=Raw(BLOB, len(sealed), len(raw)) if blob else Raw(ROWS, len(sealed), len(raw), sealed),
        sealed=key.seal_record(records.MessageRecord.place(message_id), record),
        attachments=[
            NewAttachment(
                part_id,
                one.size_bytes,
                key.seal_record(records.AttachmentRecord.place(part_id), records.AttachmentRecord(one)),
            )
            for part_id, one in parts
        ],
        thread_keys=[key.hash("message-id", message_id.bytes)],
    )


async def build(stores: Stores) -> World:
    """Write the whole installation; `verify` finds it clean."""
    world = World(stores)
    ring = world.keys()
    for account_id in (world.account, world.other_account):
        await _add_account(world, ring, account_id)
    for account_id, mailbox_id in (
        (world.account, world.mailbox),
        (world.account, world.second_mailbox),
        (world.other_account, world.other_mailbox),
        (world.account, world.leaving_mailbox),
        (world.account, world.gone_mailbox),
    ):
        await _link(world, ring, account_id, mailbox_id)
    world.key = key = await ring.mailbox(world.account, world.mailbox)
    await stores.content.transaction(world.account, _receive, world, key)
    await stores.content.transaction(world.account, _reply, world, key)
    for status, one in ((HELD, world.quarantined), (TAKEN, world.taken), (DROPPED, world.dropped)):
        await stores.content.transaction(world.account, _quarantine, world, key, one, status)
    await stores.content.transaction(world.account, _edit, world, key)
    await stores.content.transaction(world.account, _forget_a_message, world)
    await stores.content.transaction(world.account, _backfill, world, key)
    await stores.content.transaction(world.account, _flood, world, key)
    await stores.content.transaction(world.account, _upload, world, key)
    await stores.content.transaction(world.account, _merge, world, key)
    account_key = await ring.account(world.account)
    await stores.content.transaction(world.account, _deliver, world, account_key)
    for account_id, mailbox_id, ticket_id, suspected in (
        (world.account, world.second_mailbox, world.suspicious_ticket, world.ticket),
        (world.other_account, world.other_mailbox, world.other_ticket, None),
    ):
        key = await ring.mailbox(account_id, mailbox_id)
        await stores.content.transaction(account_id, _one_ticket, key, ticket_id, suspected)
    for account_id, done in ((world.closing_account, False), (world.closed_account, True)):
        await _add_account(world, ring, account_id)
        await stores.content.transaction(account_id, account_states.suspend)
        await stores.content.transaction(account_id, suspensions.warn, 1, RECEIVED)
        await stores.content.transaction(account_id, request_close, "retention")
        if done:
            await _close(world, ring, account_id)
    await stores.content.transaction(world.account, accounts.set_location, "eu")
    await _erase_person(world, await ring.account(world.other_account))
    await _disconnect(world, ring, world.leaving_mailbox, done=False)
    await _disconnect(world, ring, world.gone_mailbox, done=True)
    return world


async def _erase_person(world: World, key: DataKey) -> None:
    """One that is done, and one that goes on."""
    stores, hashed = world.stores, bytes(16)
    for erasure_id, step in ((world.erased_person, "done"), (world.person, "messages")):
        sealed = key.seal_record(records.PersonRecord.place(erasure_id), records.PersonRecord(("anna@example.com",)))
        asked = {"address_key": hashed, "until_id": new_id(), "sealed": sealed, "dry_run": False}
        await stores.content.transaction(world.other_account, persons.request, erasure_id, **asked)  # type: ignore[arg-type]
        at = await stores.content.read(world.other_account, persons.get_erasure, erasure_id)
        await stores.keystore.transaction(world.other_account, keystore.append_ledger, erasure_id, "person", {})
        if step == "done":
            await stores.keystore.transaction(world.other_account, keystore.append_ledger, erasure_id, "receipt", {})
        await stores.content.transaction(world.other_account, persons.advance, at, step=step)


async def _close(world: World, ring: KeyRing, account_id: UUID) -> None:
    async def revoke(_account: UUID, _mailbox: UUID) -> None:
        raise AssertionError("it has no mailbox")

    stores = world.stores
    metrics = Metrics(version="0", python_version="3")
    closer = Closer(EraserTools(stores.content, stores.keystore, stores.blobs, ring, metrics, revoke))
    erasure = await stores.content.read(account_id, erasures.get_erasure, account_id)
    assert await closer.run(erasure) is not None


async def _add_account(world: World, ring: KeyRing, account_id: UUID) -> None:
    key = await ring.create_account_key(account_id)
    sealed = key.seal_record(records.AccountRecord.place(account_id), records.AccountRecord("Example"))
    await world.stores.content.transaction(account_id, accounts.insert_account, sealed)
    flow_id = new_id()
    record = records.FlowRecord("state", "verifier", "nonce", "https://desk.example.com/back", "now", 0, "", ())
    await world.stores.content.transaction(
        account_id,
        flows.insert_flow,
        flow_id,
        mailbox_id=new_id(),
        provider="example",
        relink=False,
        state_hash=account_id.bytes,
        lifetime_seconds=600,
        sealed=key.seal_record(records.FlowRecord.place(flow_id), record),
    )


async def _link(world: World, ring: KeyRing, account_id: UUID, mailbox_id: UUID) -> None:
    key = await ring.create_mailbox_key(account_id, mailbox_id)

    def link(conn: Connection, account: UUID) -> None:
        record = records.MailboxRecord("support@example.com", "subject", "https://login.example.com", "support")
        mailboxes.insert_mailbox(
            conn,
            account,
            mailbox_id,
            provider="example",
            start_from="now",
            start_days=0,
            sealed=key.seal_record(records.MailboxRecord.place(mailbox_id), record),
        )
        grant = records.GrantRecord("access", "refresh", ("mail",))
        sealed = key.seal_record(records.GrantRecord.place(mailbox_id), grant)
        grants.put_grant(conn, account, mailbox_id, None, sealed)
        cursor = key.seal_record(records.CursorRecord.place(mailbox_id), records.CursorRecord("INBOX 1 1"))
        mailboxes.advance_cursor(conn, account, mailbox_id, fence=1, cursor_sequence=0, cursor_sealed=cursor)
        folders = key.seal_record(records.FoldersRecord.place(mailbox_id), records.FoldersRecord(missing=("Spam",)))
        mailboxes.set_folders(conn, account, mailbox_id, sealed=folders, missing=1)
        mailboxes.bind_read_way(conn, account, mailbox_id, fence=1, way="imap")
        audits.note_audit(conn, account, mailbox_id, fence=1, unaccounted=0)
        _subscribe(conn, account, mailbox_id, key)
        access_warnings.begin(conn, account, mailbox_id, "scope_missing")
        tell(conn, account, mailbox_id, "mailbox.access_warning", "scope_missing")
        _, sequence = accounts.draw_numbers(conn, account, events=1)
        events.insert_events(conn, account, sequence, [NewEvent("mailbox.linked", mailbox_id)])

    await world.stores.content.transaction(account_id, link)


def _subscribe(conn: Connection, account_id: UUID, mailbox_id: UUID, key: DataKey) -> None:
    """To the news of a mailbox, of which something was told."""
    record = records.PushRecord("subscription", "secret", "https://mail.example.com/push")
    sealed = key.seal_record(records.PushRecord.place(mailbox_id), record)
    pushes.want(conn, account_id, mailbox_id, fence=1)
    day = timedelta(days=1)
    pushes.note_made(conn, account_id, mailbox_id, fence=1, sealed=sealed, expires_at=RECEIVED + 3 * day, renew_in=day)
    pushes.tell(conn, account_id, mailbox_id, pushes.Told.NEWS)


def _receive(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    """A ticket of three messages: in one row with attachments, in two rows, in a blob."""
    large = os.urandom(2 * CHUNK_BYTES + 100)
    world.stores.blobs.put(
        account_id, world.mailbox, world.large_message, sealed_chunks(key, world.large_message, large)
    )
    parts = [attachment(20, 10), attachment(-1, 5)]
    new = [
        new_message(key, world.message, world.ticket, RAW, attachments=parts),
        new_message(key, world.chunked_message, world.ticket, bytes(CHUNK_BYTES + 1)),
        new_message(key, world.large_message, world.ticket, large, blob=True),
    ]
    messages.insert_messages(conn, account_id, new)
    tickets.insert_participants(conn, account_id, world.mailbox, [(world.ticket, key.hash("address", b"kim"))])
    _open_ticket(conn, account_id, key, world.ticket, None, [one.message_id for one in new])


def _reply(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    """Four replies: one sent, one queued, one being sent, one found in Sent after a loss."""
    raw = b"Subject: Re: Invoice\r\n\r\nThank you.\r\n"
    ids = (world.sent, world.queued, world.sending, world.found)
    new = [new_message(key, one, world.ticket, raw, direction="out") for one in ids]
    messages.insert_messages(conn, account_id, new)
    for one in ids:
        record = records.ReplyRecord(
            "support@example.com", ("kim@example.net", "lee@example.net"), "<reply@example.com>", "token"
        )
        sealed = key.seal_record(records.ReplyRecord.place(one), record)
        delay = timedelta(hours=1 if one == world.queued else 0)
        outbox.insert_reply(conn, account_id, world.mailbox, one, epoch=1, sealed=sealed, delay=delay)
        address_keys = [key.hash("address", b"kim@example.net"), key.hash("address", b"lee@example.net")]
        reply_recipients.insert_recipients(conn, account_id, world.mailbox, one, address_keys)
        outbox.remember_request(
            conn, account_id, world.mailbox, request_key=one.bytes, request_hash=one.bytes, message_id=one
        )
    sending, sent = outbox.ReplyStatus.SENDING, outbox.ReplyStatus.SENT
    for one in (world.sent, world.sending, world.found):
        outbox.start_attempt(conn, account_id, outbox.get_reply(conn, account_id, one), sending, WORKER)
    outbox.end_attempt(conn, account_id, world.sent, 1, outcome="accepted", stage="data", code=250)
    outbox.change_reply(
        conn,
        account_id,
        world.sent,
        was=sending,
        status=sent,
        due_at=RECEIVED,
        sent_at=RECEIVED,
        sent_copy=outbox.SentCopy.DUE,
    )
    outbox.end_attempt(conn, account_id, world.found, 1, outcome="unknown", stage="data")
    outbox.change_reply(
        conn, account_id, world.found, was=sending, status=sent, due_at=None, reason="found_in_sent", sent_at=RECEIVED
    )
    for one in (world.sent, world.found):
        reply_recipients.mark(
            conn, account_id, one, RecipientStatus.ACCEPTED, was=[RecipientStatus.PENDING], positions=[0]
        )
        reply_recipients.mark(conn, account_id, one, RecipientStatus.REFUSED, was=[RecipientStatus.PENDING], code=550)
    _, sequence = accounts.draw_numbers(conn, account_id, events=len(ids))
    told = [NewEvent("reply.queued", world.mailbox, world.ticket, one) for one in ids]
    events.insert_events(conn, account_id, sequence, told)


def _quarantine(
    conn: Connection, account_id: UUID, world: World, key: DataKey, one: UUID, status: QuarantineStatus
) -> None:
    raw = b"\x00\x00 not a mail"
    sealed = sealed_chunks(key, one, raw)
    record = records.QuarantineRecord("1 1", "INBOX", hashlib.sha256(raw).digest())
    new = NewQuarantine(
        quarantine_id=one,
        mailbox_id=world.mailbox,
        identity_key=key.hash("identity", one.bytes),
        reason="timeout",
        received_at=RECEIVED,
        raw=Raw(ROWS, len(sealed), len(raw), sealed),
        sealed=key.seal_record(records.QuarantineRecord.place(one), record),
    )
    quarantine.insert_quarantine(conn, account_id, [new])
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    told = [NewEvent("message.quarantined", world.mailbox, None, one, "timeout")]
    events.insert_events(conn, account_id, sequence, told)
    place, nothing = records.QuarantineRecord.place(one), records.QuarantineRecord("", "", b"")
    if status is TAKEN:
        ticket_id = new_id()
        message = dataclasses.replace(new_message(key, one, ticket_id, raw), raw=Raw(ROWS, len(sealed), len(raw)))
        messages.insert_messages(conn, account_id, [message])
        quarantine.hand_over(conn, account_id, one, key.seal_record(place, nothing))
        _open_ticket(conn, account_id, key, ticket_id, None, [one])
    elif status is DROPPED:
        quarantine.drop(conn, account_id, one, key.seal_record(place, nothing))


def _edit(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    """Two edits in the mailbox: one is due, one was given up."""
    new = [
        NewEdit(edit_id, world.mailbox, message_id, "move", sealed_edit(key, edit_id))
        for edit_id, message_id in ((world.edited, world.message), (world.given_up, world.large_message))
    ]
    edits.insert_edits(conn, account_id, new)
    edits.give_up(conn, account_id, [world.given_up], reason="refused")


def sealed_edit(key: DataKey, edit_id: UUID) -> bytes:
    record = records.EditRecord("1:1:INBOX", "INBOX", "Archive")
    return key.seal_record(records.EditRecord.place(edit_id), record)


def _backfill(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    """Old mail of the mailbox: half of it is in, and names what may still come."""
    backfills.insert_backfill(conn, account_id, world.mailbox, since=None, before=RECEIVED, newest_first=True)
    cursor = key.seal_record(records.HistoryRecord.place(world.mailbox), records.HistoryRecord("INBOX 1 1"))
    mailboxes.hold(conn, account_id, world.mailbox, 1)
    backfills.advance(
        conn, account_id, world.mailbox, cursor_sequence=0, cursor_sealed=cursor, seen=1, total=2, seconds=1.0
    )
    one = new_message(key, world.imported, world.imported_ticket, b"Subject: Old\r\n\r\nOld\r\n")
    messages.insert_messages(conn, account_id, [one])
    backfills.insert_references(conn, account_id, world.mailbox, [(key.hash("thread", b"older"), world.imported)])
    _open_ticket(conn, account_id, key, world.imported_ticket, None, [world.imported], imported=True)


def _forget_a_message(conn: Connection, account_id: UUID, world: World) -> None:
    """One was deleted for its age: what it would be known by stays."""
    row = {"account_id": account_id, "mailbox_id": world.mailbox, "identity_key": b"forgotten"}
    conn.execute(insert(forgotten_messages).values(row))


def _flood(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    one = new_message(key, world.muted, world.follow_up, b"Subject: Again\r\n\r\nAgain\r\n")
    messages.insert_messages(conn, account_id, [dataclasses.replace(one, muted=True)])
    number, sequence = accounts.draw_numbers(conn, account_id, tickets=1, events=3)
    record = records.TicketRecord("Again", Address("kim@example.net"), Address("lee@example.net"))
    new = tickets.NewTicket(
        ticket_id=world.follow_up,
        mailbox_id=world.mailbox,
        requester_key=key.hash("address", b"kim@example.net"),
        suspected_ticket_id=None,
        sealed=key.seal_record(records.TicketRecord.place(world.follow_up), record),
        status="closed",
        follows_ticket_id=world.ticket,
    )
    tickets.insert_tickets(conn, account_id, number, [new])
    told = [NewEvent(news, world.mailbox, world.follow_up) for news in ("ticket.created", "ticket.flooded")]
    told += [NewEvent("message.muted", world.mailbox, world.follow_up, world.muted)]
    events.insert_events(conn, account_id, sequence, told)


def _upload(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    """A file that waits for its reply, and the request that it came with."""
    record = records.UploadRecord("list.csv", "text/csv", b"1;2;3")
    uploads.insert_upload(
        conn,
        account_id,
        world.uploaded,
        mailbox_id=world.mailbox,
        size_bytes=len(record.content),
        lifetime=timedelta(hours=1),
        sealed=key.seal_record(records.UploadRecord.place(world.uploaded), record),
        uploads_max=1,
        bytes_max=100,
    )
    claim = requests.Claim(b"key", b"hash", str(world.uploaded), world.mailbox)
    assert requests.remember(conn, account_id, claim)


def _merge(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    one = new_message(key, world.merged_message, world.merged_ticket, b"Subject: Also\r\n\r\nAlso\r\n")
    messages.insert_messages(conn, account_id, [one])
    _open_ticket(conn, account_id, key, world.merged_ticket, None, [world.merged_message])
    merges.move(conn, account_id, world.merged_ticket, world.ticket)
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    told = NewEvent("ticket.merged", world.mailbox, world.merged_ticket, None, "1")
    events.insert_events(conn, account_id, sequence, [told])


def _deliver(conn: Connection, account_id: UUID, world: World, key: DataKey) -> None:
    for webhook_id in (world.webhook, world.disabled):
        record = records.WebhookRecord("https://desk.example.com/hooks", "whsec_c2VjcmV0")
        sealed = key.seal_record(records.WebhookRecord.place(webhook_id), record)
        webhooks.insert_webhook(
            conn, account_id, webhook_id, types=["*"], content=False, after=0, sealed=sealed, webhooks_max=2
        )
    webhooks.disable(conn, account_id, world.disabled, "gone")
    taken, _ = deliveries.take(conn, webhooks.get_webhook(conn, account_id, world.webhook), 3)
    outcomes = [
        Outcome(one.event.sequence, one.created_at, status, 1, code, reason, None)
        for one, (status, code, reason) in zip(
            taken, ((DeliveryStatus.DELIVERED, 204, None), (DeliveryStatus.GIVEN_UP, None, "timeout")), strict=False
        )
    ]
    deliveries.record(conn, account_id, world.webhook, outcomes)


def _one_ticket(conn: Connection, account_id: UUID, key: DataKey, ticket_id: UUID, suspected: UUID | None) -> None:
    one = new_message(key, new_id(), ticket_id, b"Subject: Hi\r\n\r\nHi\r\n")
    messages.insert_messages(conn, account_id, [one])
    _open_ticket(conn, account_id, key, ticket_id, suspected, [one.message_id])


def _open_ticket(
    conn: Connection,
    account_id: UUID,
    key: DataKey,
    ticket_id: UUID,
    suspected: UUID | None,
    message_ids: Sequence[UUID],
    *,
    imported: bool = False,
) -> None:
    assert key.mailbox_id is not None
    number, sequence = accounts.draw_numbers(conn, account_id, tickets=1, events=1 + len(message_ids))
    record = records.TicketRecord("Invoice", Address("kim@example.net", "Kim"))
    new = tickets.NewTicket(
        ticket_id=ticket_id,
        mailbox_id=key.mailbox_id,
        requester_key=key.hash("address", b"kim@example.net"),
        suspected_ticket_id=suspected,
        sealed=key.seal_record(records.TicketRecord.place(ticket_id), record),
    )
    tickets.insert_tickets(conn, account_id, number, [new])
    opened, came = ("ticket.imported", "message.imported") if imported else ("ticket.created", "message.received")
    told = [NewEvent(opened, key.mailbox_id, ticket_id)]
    told += [NewEvent(came, key.mailbox_id, ticket_id, one) for one in message_ids]
    events.insert_events(conn, account_id, sequence, told)


async def _disconnect(world: World, ring: KeyRing, mailbox_id: UUID, *, done: bool) -> None:
    """Forget a mailbox: all the way, or only until its key is destroyed."""
    content, store, account_id = world.stores.content, world.stores.keystore, world.account
    if done:
        key = await ring.mailbox(account_id, mailbox_id)
        await content.transaction(account_id, _one_ticket, key, new_id(), None)
    await content.transaction(account_id, mailboxes.start_disconnect, mailbox_id)
    await content.transaction(account_id, erasures.insert_erasure, mailbox_id)
    await store.transaction(
        account_id,
        keystore.destroy_key,
        mailbox_id,
        detail={"provider": "example"},
        provider="example",
        wrapped_refresh_token=ring.wrap_token(account_id, mailbox_id, "refresh"),
    )
    await content.transaction(account_id, erasures.set_step, mailbox_id, "unreadable")
    if done:
        await store.transaction(account_id, keystore.end_revocation, mailbox_id, {"outcome": "revoked"})
        while (await content.transaction(account_id, erasures.delete_chunk, mailbox_id, 5)).rows:
            pass
        await content.transaction(account_id, mailboxes.delete_mailbox, mailbox_id)
        await content.transaction(account_id, erasures.set_step, mailbox_id, "deleted")
        await store.transaction(account_id, keystore.append_ledger, mailbox_id, "receipt", {"left": {}})
        await content.transaction(account_id, erasures.set_step, mailbox_id, "done")
    head = await store.read(None, keystore.ledger_head)
    await content.transaction(None, meta.put, store_meta, KNOWN_POSITION, str(head))
