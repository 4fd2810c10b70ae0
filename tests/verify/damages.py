"""For each invariant, the damages that it must report and no other may."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection, insert, select, text, update

from ingestd import records
from ingestd.mail.types import Address
from storage import merges
from storage.keystore_tables import ledger, revocations, wrapped_keys
from storage.tables import (
    accounts,
    attachments,
    attempts,
    backfills,
    deliveries,
    edits,
    erasure_warnings,
    erasures,
    events,
    grants,
    idempotency,
    link_flows,
    mailboxes,
    messages,
    outbox,
    participants,
    person_erasures,
    pushes,
    quarantine,
    raw_chunks,
    reference_keys,
    reply_recipients,
    requests,
    store_meta,
    thread_keys,
    tickets,
    tokens,
    uploads,
    webhooks,
)
from storage.types import new_id
from tests.verify.builder import RECEIVED, World, attachment, sealed_chunks, sealed_edit
from tests.verify.damage import Break, both, copy, drop, drop_unique, flip, put, tell, try_again

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Damage:
    invariant: str
    what: str
    apply: Break
    keystore: bool = False
    """Whether it is the key store that is damaged."""
    also: str = ""
    """Another invariant that this damage breaks as well, where the two cannot be told apart."""


def _blob(world: World) -> str:
    return str(world.stores.urls.blobs / str(world.account) / str(world.mailbox) / str(world.large_message))


def _lose_blob(_conn: Connection, world: World) -> None:
    os.unlink(_blob(world))


def _cut_blob(_conn: Connection, world: World) -> None:
    os.truncate(_blob(world), os.path.getsize(_blob(world)) - 1)


def _cut_chunk_of_blob(_conn: Connection, world: World) -> None:
    """The last chunk is gone, all of it, behind its length."""
    blobs = world.stores.blobs
    chunks = blobs.get(world.account, world.mailbox, world.large_message)
    blobs.put(world.account, world.mailbox, world.large_message, chunks[:-1])


def _orphan_blob(world: World, mailbox_id: UUID, modified: datetime) -> None:
    orphan = new_id()
    world.stores.blobs.put(world.account, mailbox_id, orphan, [b"sealed"])
    path = world.stores.urls.blobs / str(world.account) / str(mailbox_id) / str(orphan)
    os.utime(path, (modified.timestamp(), modified.timestamp()))


def _event_of_a_closed_account(conn: Connection, world: World) -> None:
    row = {"account_id": world.closed_account, "sequence": 1, "type": "account.suspended", "at": RECEIVED}
    conn.execute(insert(events).values(**row))


def _token_of_a_closed_account(conn: Connection, world: World) -> None:
    row = {"token_id": new_id(), "account_id": world.closed_account, "secret_hash": bytes(32), "label": "desk"}
    conn.execute(insert(tokens).values(**row, scopes="read", created_at=RECEIVED))


def _old_orphan(_conn: Connection, world: World) -> None:
    _orphan_blob(world, world.mailbox, LONG_AGO)


def _left_blob(_conn: Connection, world: World) -> None:
    _orphan_blob(world, world.gone_mailbox, datetime.now(UTC))


def _other_bytes(conn: Connection, world: World) -> None:
    """A chunk that opens and has the right size, but holds other bytes."""
    size_bytes = conn.execute(select(messages.c.size_bytes).where(messages.c.message_id == world.message)).scalar_one()
    (sealed,) = sealed_chunks(world.key, world.message, bytes(size_bytes))
    conn.execute(update(raw_chunks).where(raw_chunks.c.owner_id == world.message).values(sealed=sealed))


def _not_compressed(conn: Connection, world: World) -> None:
    sealed = world.key.seal(records.chunk_place(world.message, 0, 1), b"not a zstd frame")
    conn.execute(update(raw_chunks).where(raw_chunks.c.owner_id == world.message).values(sealed=sealed))


def _not_a_record(conn: Connection, world: World) -> None:
    """A record that opens, but holds something else."""
    sealed = world.key.seal(records.TicketRecord.place(world.ticket), b"\x93\x01\x02\x03")
    conn.execute(update(tickets).where(tickets.c.ticket_id == world.ticket).values(sealed=sealed))


def _record_of_another_row(conn: Connection, world: World) -> None:
    sealed = conn.execute(select(outbox.c.sealed).where(outbox.c.message_id == world.queued)).scalar_one()
    conn.execute(update(outbox).where(outbox.c.message_id == world.sent).values(sealed=sealed))


def _attachment_beyond(conn: Connection, world: World) -> None:
    row_id = conn.execute(select(attachments.c.attachment_id).where(attachments.c.position == 0)).scalar_one()
    record = records.AttachmentRecord(attachment(20, 1000))
    sealed = world.key.seal_record(records.AttachmentRecord.place(row_id), record)
    conn.execute(update(attachments).where(attachments.c.attachment_id == row_id).values(sealed=sealed))


def _empty_ticket(conn: Connection, world: World) -> None:
    fresh, mine = new_id(), accounts.c.account_id == world.account
    number = conn.execute(select(accounts.c.next_ticket_number).where(mine)).scalar_one()
    conn.execute(update(accounts).where(mine).values(next_ticket_number=number + 1))
    record = records.TicketRecord("Alone", Address("kim@example.net"))
    sealed = world.key.seal_record(records.TicketRecord.place(fresh), record)
    copy(tickets, "ticket_id", "ticket", ticket_id=fresh, number=number, sealed=sealed)(conn, world)
    world.suspicious_ticket = fresh
    tell("ticket.created", "suspicious_ticket", "ticket_id")(conn, world)


def _same_number(conn: Connection, world: World) -> None:
    drop_unique(conn, tickets, "uq_tickets_account_id_number")
    number = conn.execute(select(tickets.c.number).where(tickets.c.ticket_id == world.ticket)).scalar_one()
    conn.execute(update(tickets).where(tickets.c.ticket_id == world.suspicious_ticket).values(number=number))


def _same_message(conn: Connection, world: World) -> None:
    drop_unique(conn, messages, "uq_messages_account_id_mailbox_id_identity_key")
    put(messages, "message_id", "large_message", identity_key=_identity_of_message)(conn, world)


def _in_part(conn: Connection, world: World) -> None:
    put(messages, "message_id", "large_message", header_key=_identity_of_message)(conn, world)


def _identity_of_message(world: World) -> bytes:
    return world.key.hash("identity", world.message.bytes)


def _reply_of_a_received_message(conn: Connection, world: World) -> None:
    record = records.ReplyRecord("support@example.com", (), "<x@example.com>", "token")
    sealed = world.key.seal_record(records.ReplyRecord.place(world.message), record)
    _row = {"message_id": world.message, "sealed": sealed}
    copy(outbox, "message_id", "queued", **_row)(conn, world)
    tell("reply.queued", "message", "message_id")(conn, world)


def _outgoing_without_reply(conn: Connection, world: World) -> None:
    drop(idempotency, "message_id", "queued")(conn, world)
    drop(reply_recipients, "message_id", "queued")(conn, world)
    drop(outbox, "message_id", "queued")(conn, world)


def _key_of_nobody(conn: Connection, world: World) -> None:
    # Its contents must open: another invariant looks after that.
    ring, owner = world.keys(), new_id()
    wrapped = ring._master_key.wrap("data key", world.account, owner, bytes(32))
    row = {"account_id": world.account, "owner_id": owner, "master_key_id": "", "created_at": LONG_AGO}
    conn.execute(insert(wrapped_keys).values(**row, wrapped=wrapped))


def _token_of_an_open_mailbox(conn: Connection, world: World) -> None:
    copy(revocations, "mailbox_id", "leaving_mailbox", mailbox_id=world.mailbox)(conn, world)


def _break_chain(conn: Connection, _world: World) -> None:
    conn.execute(update(ledger).where(ledger.c.entry == "revocation").values(detail='{"outcome": "failed"}'))


def _old_key_store(conn: Connection, _world: World) -> None:
    value = f"1000:{bytes(32).hex()}"
    conn.execute(update(store_meta).where(store_meta.c.name == "ledger").values(value=value))


def _another_key_store(conn: Connection, _world: World) -> None:
    value = f"1:{bytes(32).hex()}"
    conn.execute(update(store_meta).where(store_meta.c.name == "ledger").values(value=value))


def _next_schema(conn: Connection, _world: World) -> None:
    conn.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))


def _no_receipt(conn: Connection, world: World) -> None:
    # Its receipt is the last entry, so the chain stays whole; the content has seen a position before it.
    conn.execute(ledger.delete().where(ledger.c.entry == "receipt", ledger.c.owner_id == world.gone_mailbox))


def _other_ticket(world: World) -> UUID:
    return world.other_ticket


def _other_mailbox(world: World) -> UUID:
    return world.other_mailbox


def _second_mailbox(world: World) -> UUID:
    return world.second_mailbox


def _merge_again(conn: Connection, world: World) -> None:
    """The merged ticket's target is merged, and what had been merged into it still leads there."""
    merges.move(conn, world.account, world.ticket, world.follow_up)
    put(tickets, "ticket_id", "merged_ticket", merged_into_id=world.ticket)(conn, world)
    tell("ticket.merged", "ticket", "ticket_id")(conn, world)


def _chunk_of_a_dropped_one(conn: Connection, world: World) -> None:
    (sealed,) = sealed_chunks(world.key, world.dropped, b"not a mail")
    copy(raw_chunks, "owner_id", "message", owner_id=world.dropped, sealed=sealed)(conn, world)


def _edited_twice(kind: str) -> Break:
    """One more edit of a message that is to be moved already."""

    def apply(conn: Connection, world: World) -> None:
        edit_id = new_id()
        sealed = sealed_edit(world.key, edit_id)
        copy(edits, "edit_id", "edited", edit_id=edit_id, sealed=sealed, kind=kind)(conn, world)

    return apply


_LAST_CHUNK = raw_chunks.c.position == 1
_ENDED = {"ended_at": RECEIVED}

DAMAGES: tuple[Damage, ...] = (
    Damage("schemas_are_current", "a newer content schema", _next_schema),
    Damage("schemas_are_current", "a newer key store schema", _next_schema, keystore=True),
    Damage("ledger_is_unbroken", "an entry was rewritten", _break_chain, keystore=True),
    Damage("key_store_is_not_stale", "an older key store", _old_key_store),
    Damage("key_store_is_not_stale", "another key store", _another_key_store),
    Damage("raw_messages_are_whole", "the only chunk is gone", drop(raw_chunks, "owner_id", "message")),
    Damage(
        "raw_messages_are_whole", "the last chunk is gone", drop(raw_chunks, "owner_id", "chunked_message", _LAST_CHUNK)
    ),
    Damage(
        "raw_messages_are_whole", "a chunk is damaged", flip(raw_chunks, "owner_id", "chunked_message", _LAST_CHUNK)
    ),
    Damage("raw_messages_are_whole", "a chunk too many", copy(raw_chunks, "owner_id", "message", position=1)),
    Damage("raw_messages_are_whole", "another size", put(messages, "message_id", "large_message", size_bytes=1)),
    Damage("raw_messages_are_whole", "fewer chunks", put(messages, "message_id", "chunked_message", chunks=1)),
    Damage("raw_messages_are_whole", "other bytes", _other_bytes),
    Damage("raw_messages_are_whole", "not compressed", _not_compressed),
    Damage("raw_messages_are_whole", "the blob is gone", _lose_blob),
    Damage("raw_messages_are_whole", "the blob is cut", _cut_blob),
    Damage("raw_messages_are_whole", "the blob lost a chunk", _cut_chunk_of_blob),
    Damage("quarantined_messages_are_whole", "the chunk is gone", drop(raw_chunks, "owner_id", "quarantined")),
    Damage("raw_chunks_have_an_owner", "it was dropped", _chunk_of_a_dropped_one),
    Damage(
        "what_left_the_quarantine_left_its_bytes",
        "an unknown status",
        put(quarantine, "quarantine_id", "dropped", status="lost"),
    ),
    Damage(
        "what_left_the_quarantine_left_its_bytes",
        "dropped, with a blob",
        put(quarantine, "quarantine_id", "dropped", raw_place="blob", chunks=1),
    ),
    Damage(
        "what_left_the_quarantine_left_its_bytes",
        "taken, but no message",
        put(quarantine, "quarantine_id", "dropped", status="taken"),
    ),
    Damage(
        "what_left_the_quarantine_left_its_bytes",
        "a message, but dropped",
        put(quarantine, "quarantine_id", "taken", status="dropped"),
    ),
    Damage("edits_are_due_or_given_up", "due at no time", put(edits, "edit_id", "edited", due_at=None)),
    Damage("edits_are_due_or_given_up", "given up, and due", put(edits, "edit_id", "given_up", due_at=RECEIVED)),
    Damage("edits_are_due_or_given_up", "given up for no reason", put(edits, "edit_id", "given_up", reason=None)),
    Damage("edits_are_due_or_given_up", "nothing that can be done", put(edits, "edit_id", "edited", kind="burn")),
    Damage("edits_are_due_or_given_up", "for no known cause", put(edits, "edit_id", "edited", cause="whim")),
    Damage("received_messages_are_edited_once", "moved twice", _edited_twice("move")),
    Damage("received_messages_are_edited_once", "moved and deleted", _edited_twice("delete")),
    Damage("received_messages_are_edited_once", "read twice", both(_edited_twice("read"), _edited_twice("read"))),
    Damage(
        "received_messages_are_edited_once",
        "a message of ours",
        put(edits, "edit_id", "edited", message_id=lambda w: w.sent),
    ),
    Damage("records_open", "an edit's record is damaged", flip(edits, "edit_id", "edited")),
    Damage("records_open", "a message's record is damaged", flip(messages, "message_id", "message")),
    Damage("records_open", "a grant is damaged", flip(grants, "mailbox_id", "mailbox")),
    Damage("records_open", "a cursor is damaged", flip(mailboxes, "mailbox_id", "mailbox", sealed="cursor_sealed")),
    Damage("records_open", "folders are damaged", flip(mailboxes, "mailbox_id", "mailbox", sealed="folders_sealed")),
    Damage(
        "records_open",
        "a backfill's cursor is damaged",
        flip(backfills, "mailbox_id", "mailbox", sealed="cursor_sealed"),
    ),
    Damage("records_open", "an account's record is damaged", flip(accounts, "account_id", "account")),
    Damage("records_open", "a record of another row", _record_of_another_row),
    Damage("records_open", "no record", _not_a_record),
    Damage("uploads_open", "a file's record is damaged", flip(uploads, "upload_id", "uploaded")),
    Damage("uploads_open", "another size", put(uploads, "upload_id", "uploaded", size_bytes=1)),
    Damage("attachments_lie_in_their_message", "it reaches beyond", _attachment_beyond),
    Damage(
        "attachments_are_numbered",
        "one is gone",
        drop(attachments, "message_id", "message", attachments.c.position == 0),
    ),
    Damage("messages_belong_to_a_ticket", "no ticket", put(messages, "message_id", "message", ticket_id=new_id())),
    Damage(
        "messages_belong_to_a_ticket",
        "another account's ticket",
        put(messages, "message_id", "message", ticket_id=_other_ticket),
    ),
    Damage("tickets_have_a_message", "a ticket alone", _empty_ticket),
    Damage("closed_tickets_know_since_when", "never closed", put(tickets, "ticket_id", "ticket", status="closed")),
    Damage("closed_tickets_know_since_when", "nowhere", put(tickets, "ticket_id", "follow_up", status="lost")),
    Damage(
        "spam_deletions_and_merges_were_told",
        "deleted untold",
        put(tickets, "ticket_id", "follow_up", status="deleted"),
    ),
    Damage("spam_deletions_and_merges_were_told", "spam untold", put(tickets, "ticket_id", "follow_up", status="spam")),
    Damage(
        "spam_deletions_and_merges_were_told",
        "merged untold",
        drop(events, "ticket_id", "merged_ticket", events.c.type == "ticket.merged"),
    ),
    Damage(
        "merged_tickets_lead_to_another",
        "closed, but merged",
        put(tickets, "ticket_id", "merged_ticket", status="closed"),
    ),
    Damage(
        "merged_tickets_lead_to_another",
        "merged into nothing",
        both(put(tickets, "ticket_id", "follow_up", status="merged"), tell("ticket.merged", "follow_up", "ticket_id")),
    ),
    Damage(
        "merged_tickets_lead_to_another",
        "its target is gone",
        put(tickets, "ticket_id", "merged_ticket", merged_into_id=new_id()),
        also="merged_messages_are_in_the_target",
    ),
    Damage(
        "merged_tickets_lead_to_another",
        "another mailbox's",
        put(tickets, "ticket_id", "merged_ticket", merged_into_id=lambda w: w.suspicious_ticket),
        also="merged_messages_are_in_the_target",
    ),
    Damage("merged_tickets_lead_to_another", "a chain", _merge_again, also="merged_messages_are_in_the_target"),
    Damage(
        "merged_tickets_are_empty",
        "a message is left",
        put(messages, "message_id", "chunked_message", ticket_id=lambda w: w.merged_ticket),
    ),
    Damage(
        "merged_tickets_are_empty",
        "standing is left",
        copy(participants, "ticket_id", "ticket", ticket_id=lambda w: w.merged_ticket),
    ),
    Damage(
        "merged_messages_are_in_the_target",
        "nobody knows that they came from it",
        put(messages, "message_id", "merged_message", merged_from_id=None),
    ),
    Damage(
        "merged_messages_are_in_the_target",
        "of a ticket that is not merged",
        put(messages, "message_id", "message", merged_from_id=lambda w: w.follow_up),
    ),
    Damage(
        "muted_messages_are_told_as_such",
        "told as any other",
        put(messages, "message_id", "message", muted=True),
        also="floods_are_announced",
    ),
    Damage("muted_messages_are_told_as_such", "told as muted", put(messages, "message_id", "muted", muted=False)),
    Damage(
        "floods_are_announced",
        "never",
        drop(events, "ticket_id", "follow_up", events.c.type == "ticket.flooded"),
    ),
    Damage("subscriptions_are_looked_after", "never renewed", put(pushes, "mailbox_id", "mailbox", told=None)),
    Damage("subscriptions_are_looked_after", "pigeons", put(pushes, "mailbox_id", "mailbox", told="pigeons")),
    Damage("subscriptions_are_looked_after", "no end", put(pushes, "mailbox_id", "mailbox", expires_at=None)),
    Damage("records_open", "another's subscription", flip(pushes, "mailbox_id", "mailbox")),
    Damage(
        "audits_say_when", "never compared", put(mailboxes, "mailbox_id", "mailbox", unaccounted=3, audited_at=None)
    ),
    Damage("read_ways_are_known", "pigeons", put(mailboxes, "mailbox_id", "mailbox", read_way="pigeons")),
    Damage(
        "access_warnings_were_told",
        "never",
        drop(events, "mailbox_id", "mailbox", events.c.type == "mailbox.access_warning"),
    ),
    Damage(
        "access_warnings_were_told",
        "told to be over",
        put(
            events,
            "mailbox_id",
            "mailbox",
            events.c.type == "mailbox.access_warning",
            type="mailbox.access_warning_ended",
        ),
    ),
    Damage(
        "backfills_move_with_their_cursor",
        "the cursor is gone",
        put(backfills, "mailbox_id", "mailbox", cursor_sealed=None),
    ),
    Damage("backfills_move_with_their_cursor", "more than all", put(backfills, "mailbox_id", "mailbox", seen=3)),
    Damage("backfills_agree_with_their_status", "no end", put(backfills, "mailbox_id", "mailbox", status="stopped")),
    Damage("backfills_agree_with_their_status", "an early end", put(backfills, "mailbox_id", "mailbox", **_ENDED)),
    Damage(
        "backfills_agree_with_their_status",
        "it was given up, and waits",
        put(backfills, "mailbox_id", "mailbox", status="failed", retry_at=RECEIVED, **_ENDED),
    ),
    Damage(
        "references_wait_for_older_mail",
        "all is read",
        put(backfills, "mailbox_id", "mailbox", status="done", **_ENDED),
    ),
    Damage("records_open", "a webhook's record is damaged", flip(webhooks, "webhook_id", "webhook")),
    Damage(
        "webhooks_follow_the_log", "beyond its end", put(webhooks, "webhook_id", "disabled", cursor_sequence=10_000)
    ),
    Damage("webhooks_follow_the_log", "off for no reason", put(webhooks, "webhook_id", "disabled", reason=None)),
    Damage("webhooks_follow_the_log", "an unknown status", put(webhooks, "webhook_id", "webhook", status="perhaps")),
    Damage(
        "deliveries_are_due_or_done",
        "due at no time",
        put(deliveries, "webhook_id", "webhook", deliveries.c.status == "pending", due_at=None),
    ),
    Damage(
        "deliveries_are_due_or_done",
        "delivered, and due",
        put(deliveries, "webhook_id", "webhook", deliveries.c.status == "delivered", due_at=RECEIVED),
    ),
    Damage(
        "deliveries_are_due_or_done",
        "delivered without an attempt",
        put(deliveries, "webhook_id", "webhook", deliveries.c.status == "delivered", attempts=0),
    ),
    Damage(
        "deliveries_are_due_or_done",
        "given up for no reason",
        put(deliveries, "webhook_id", "webhook", deliveries.c.status == "given_up", reason=None),
    ),
    Damage(
        "deliveries_lie_behind_their_cursor",
        "of no webhook",
        put(deliveries, "webhook_id", "webhook", webhook_id=new_id()),
    ),
    Damage(
        "deliveries_lie_behind_their_cursor",
        "the cursor went back",
        put(webhooks, "webhook_id", "webhook", cursor_sequence=1),
    ),
    Damage(
        "rows_stay_in_their_account",
        "a delivery about another account's mailbox",
        put(deliveries, "webhook_id", "webhook", deliveries.c.status == "delivered", mailbox_id=_other_mailbox),
    ),
    Damage("messages_are_stored_once", "twice in tickets", _same_message),
    Damage("messages_are_stored_once", "whole, and in part", _in_part),
    Damage(
        "messages_are_stored_once",
        "in a ticket and quarantined",
        put(quarantine, "quarantine_id", "quarantined", identity_key=_identity_of_message),
    ),
    Damage("ticket_numbers_are_unique", "a number twice", _same_number),
    Damage(
        "ticket_numbers_were_drawn",
        "the counter is behind",
        put(accounts, "account_id", "account", next_ticket_number=1),
    ),
    Damage(
        "event_sequences_were_drawn",
        "the counter is behind",
        put(accounts, "account_id", "account", next_event_sequence=2),
        also="webhooks_follow_the_log",
    ),
    Damage(
        "events_lie_behind_what_is_gone",
        "one is left",
        put(accounts, "account_id", "account", events_gone_to=1),
    ),
    Damage(
        "events_lie_behind_what_is_gone",
        "more than there were",
        both(
            drop(events, "account_id", "account"),
            put(accounts, "account_id", "account", events_gone_to=accounts.c.next_event_sequence),
        ),
    ),
    Damage("messages_were_announced_once", "never", drop(events, "message_id", "message")),
    Damage("messages_were_announced_once", "as new, too", tell("message.received", "imported", "message_id")),
    Damage("messages_were_announced_once", "twice", tell("message.received", "message", "message_id")),
    Damage("quarantine_was_announced_once", "never", drop(events, "message_id", "quarantined")),
    Damage("tickets_were_announced_once", "as new, too", tell("ticket.created", "imported_ticket", "ticket_id")),
    Damage("tickets_were_announced_once", "twice", tell("ticket.created", "ticket", "ticket_id")),
    Damage("replies_were_announced_once", "never", drop(events, "message_id", "queued")),
    Damage("outgoing_messages_are_replies", "not in the outbox", _outgoing_without_reply),
    Damage("outgoing_messages_are_replies", "a received message in the outbox", _reply_of_a_received_message),
    Damage("attempts_are_numbered", "one more is counted", put(outbox, "message_id", "sent", attempts=2)),
    Damage("attempts_are_numbered", "the first is missing", put(attempts, "message_id", "sent", number=2)),
    Damage(
        "replies_are_accepted_once",
        "accepted twice",
        both(try_again("sent", 2, outcome="accepted", **_ENDED), put(outbox, "message_id", "sent", attempts=2)),
    ),
    Damage("sent_replies_were_accepted", "refused", put(attempts, "message_id", "sent", outcome="refused")),
    Damage("sent_replies_were_accepted", "unknown, not resolved", put(outbox, "message_id", "found", reason=None)),
    Damage(
        "sending_replies_have_one_open_attempt",
        "it has ended",
        put(attempts, "message_id", "sending", outcome="unknown", **_ENDED),
    ),
    Damage(
        "sending_replies_have_one_open_attempt",
        "an earlier one too",
        both(try_again("sending", 2), put(outbox, "message_id", "sending", attempts=2)),
    ),
    Damage(
        "sending_replies_have_one_open_attempt", "open, but sent", put(attempts, "message_id", "sent", ended_at=None)
    ),
    Damage("sent_copies_follow_the_send", "filed, but queued", put(outbox, "message_id", "queued", sent_copy="filed")),
    Damage(
        "final_replies_wait_for_nothing", "sent, and due again", put(outbox, "message_id", "found", due_at=RECEIVED)
    ),
    Damage(
        "recipients_are_numbered",
        "the first is missing",
        drop(reply_recipients, "message_id", "sent", reply_recipients.c.position == 0),
    ),
    Damage(
        "recipients_have_a_known_status",
        "a word of nobody's",
        put(reply_recipients, "message_id", "sending", status="perhaps"),
    ),
    Damage(
        "sent_replies_were_answered_for_everybody",
        "sent, but pending",
        put(reply_recipients, "message_id", "sent", reply_recipients.c.position == 1, status="pending"),
    ),
    Damage(
        "sent_replies_were_answered_for_everybody",
        "queued, but accepted",
        put(reply_recipients, "message_id", "queued", status="accepted"),
    ),
    Damage(
        "delayed_replies_wait_for_their_time",
        "due before its time",
        put(outbox, "message_id", "queued", send_at=datetime(2100, 1, 1, tzinfo=UTC)),
    ),
    Damage(
        "delayed_replies_wait_for_their_time",
        "sent before its time",
        put(outbox, "message_id", "sent", send_at=datetime(2100, 1, 1, tzinfo=UTC)),
    ),
    Damage("waiting_replies_have_a_next_step", "queued for ever", put(outbox, "message_id", "queued", due_at=None)),
    Damage(
        "keys_open", "a damaged key", flip(wrapped_keys, "owner_id", "second_mailbox", sealed="wrapped"), keystore=True
    ),
    Damage(
        "suspended_accounts_rest", "a mailbox works", put(accounts, "account_id", "other_account", status="suspended")
    ),
    Damage(
        "suspended_accounts_rest",
        "a mailbox rests alone",
        put(mailboxes, "mailbox_id", "second_mailbox", state="suspended", resumes_as="active"),
    ),
    Damage(
        "suspended_accounts_rest",
        "it remembers what it need not",
        put(mailboxes, "mailbox_id", "second_mailbox", resumes_as="paused"),
    ),
    Damage("keys_have_an_owner", "a forgotten key", _key_of_nobody, keystore=True),
    Damage("mailboxes_have_a_key", "the mailbox's is gone", drop(wrapped_keys, "owner_id", "mailbox"), keystore=True),
    Damage("mailboxes_have_a_key", "the account's is gone", drop(wrapped_keys, "owner_id", "account"), keystore=True),
    Damage("destroyed_mailboxes_are_gone", "an event is left", tell("message.received", "gone_mailbox", "mailbox_id")),
    Damage(
        "destroyed_mailboxes_are_gone",
        "a flow is left",
        put(link_flows, "account_id", "account", mailbox_id=lambda w: w.gone_mailbox),
    ),
    Damage("destroyed_mailboxes_are_gone", "a blob is left", _left_blob),
    Damage(
        "destroyed_mailboxes_are_gone",
        "an older content database",
        both(
            drop(erasures, "mailbox_id", "leaving_mailbox"),
            put(mailboxes, "mailbox_id", "leaving_mailbox", state="active"),
        ),
        also="mailboxes_have_a_key",
    ),
    Damage(
        "erasures_go_step_by_step",
        "the mailbox is open",
        put(mailboxes, "mailbox_id", "leaving_mailbox", state="paused"),
    ),
    Damage("erasures_go_step_by_step", "an unknown step", put(erasures, "mailbox_id", "leaving_mailbox", step="half")),
    Damage(
        "persons_are_erased_step_by_step", "an unknown step", put(person_erasures, "erasure_id", "person", step="x")
    ),
    Damage(
        "persons_are_erased_step_by_step",
        "no receipt",
        put(person_erasures, "erasure_id", "person", step="done", sealed=None),
    ),
    Damage(
        "persons_are_erased_step_by_step",
        "the address is kept",
        put(person_erasures, "erasure_id", "erased_person", sealed=b""),
        also="records_open",
    ),
    Damage("records_open", "of a person's erasure", flip(person_erasures, "erasure_id", "person")),
    Damage("erasures_go_step_by_step", "no receipt", _no_receipt, keystore=True, also="key_store_is_not_stale"),
    Damage(
        "disconnecting_mailboxes_are_being_erased",
        "no erasure",
        put(mailboxes, "mailbox_id", "second_mailbox", state="disconnecting"),
    ),
    Damage(
        "deleted_messages_stay_away",
        "it came again",
        put(messages, "message_id", "message", identity_key=b"forgotten"),
    ),
    Damage(
        "deleted_messages_stay_away",
        "it came again, into the quarantine",
        put(quarantine, "quarantine_id", "quarantined", identity_key=b"forgotten"),
    ),
    Damage(
        "warned_accounts_are_suspended",
        "of an active one",
        put(erasure_warnings, "account_id", "closing_account", account_id=lambda w: w.account),
    ),
    Damage(
        "warned_accounts_are_suspended",
        "of one that is held",
        put(accounts, "account_id", "closing_account", held_since=LONG_AGO),
    ),
    Damage("pins_are_labels", "no label", put(accounts, "account_id", "account", location="Europe, perhaps")),
    Damage("closed_accounts_are_gone", "an event is left", _event_of_a_closed_account),
    Damage("closed_accounts_are_gone", "its name is left", put(accounts, "account_id", "closed_account", sealed=b"x")),
    Damage("closed_accounts_are_gone", "a token is left", _token_of_a_closed_account),
    Damage(
        "accounts_are_closed_by_an_erasure",
        "by none",
        drop(erasures, "mailbox_id", "closing_account"),
    ),
    Damage(
        "accounts_are_closed_by_an_erasure",
        "it is open again",
        put(accounts, "account_id", "closing_account", status="suspended"),
    ),
    Damage(
        "accounts_are_closed_by_an_erasure",
        "it is closed too early",
        put(erasures, "mailbox_id", "closed_account", step="requested"),
    ),
    Damage(
        "accounts_are_closed_by_an_erasure",
        "a mailbox is open",
        both(
            put(accounts, "account_id", "other_account", status="closing"),
            put(
                erasures,
                "mailbox_id",
                "closing_account",
                account_id=lambda w: w.other_account,
                mailbox_id=lambda w: w.other_account,
            ),
            put(accounts, "account_id", "closing_account", status="suspended"),
        ),
    ),
    Damage("blobs_have_a_row", "an old orphan", _old_orphan),
    Damage(
        "revocations_end",
        "kept too long",
        put(revocations, "mailbox_id", "leaving_mailbox", expires_at=LONG_AGO),
        keystore=True,
    ),
    Damage("revocations_are_of_destroyed_mailboxes", "of an open one", _token_of_an_open_mailbox, keystore=True),
    Damage("altered_messages_have_a_cause", "a reply", put(messages, "message_id", "sent", altered=True)),
    Damage("raw_chunks_have_an_owner", "chunks of nobody", copy(raw_chunks, "owner_id", "message", owner_id=new_id())),
    Damage(
        "rows_have_a_mailbox",
        "another account's mailbox",
        put(grants, "mailbox_id", "leaving_mailbox", mailbox_id=new_id()),
    ),
    Damage(
        "rows_have_a_mailbox",
        "a file of another account's mailbox",
        put(uploads, "upload_id", "uploaded", mailbox_id=_other_mailbox),
    ),
    Damage(
        "rows_stay_in_their_account",
        "a request about another account's mailbox",
        put(requests, "mailbox_id", "mailbox", mailbox_id=_other_mailbox),
    ),
    Damage(
        "rows_stay_in_their_account",
        "an event about another account's mailbox",
        tell("mailbox.linked", "other_mailbox", "mailbox_id"),
    ),
    Damage(
        "rows_stay_in_their_account",
        "an event about another account's ticket",
        tell("ticket.reopened", "other_ticket", "ticket_id"),
    ),
    Damage(
        "rows_stay_in_their_account",
        "a flow for another account's mailbox",
        put(link_flows, "account_id", "account", mailbox_id=_other_mailbox),
    ),
    Damage(
        "suspected_tickets_are_of_the_same_account",
        "another account's",
        put(tickets, "ticket_id", "suspicious_ticket", suspected_ticket_id=_other_ticket),
    ),
    Damage(
        "follow_ups_continue_an_older_ticket",
        "another mailbox's",
        put(tickets, "ticket_id", "suspicious_ticket", follows_ticket_id=lambda w: w.ticket),
    ),
    Damage(
        "follow_ups_continue_an_older_ticket",
        "itself",
        put(tickets, "ticket_id", "follow_up", follows_ticket_id=lambda w: w.follow_up),
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "attempts elsewhere",
        put(attempts, "message_id", "sent", mailbox_id=_second_mailbox),
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "recipients elsewhere",
        put(reply_recipients, "message_id", "sent", mailbox_id=_second_mailbox),
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "thread keys elsewhere",
        put(thread_keys, "message_id", "message", mailbox_id=_second_mailbox),
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "what it names elsewhere",
        put(reference_keys, "message_id", "imported", mailbox_id=_second_mailbox),
        also="references_wait_for_older_mail",
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "standing elsewhere",
        put(participants, "ticket_id", "ticket", mailbox_id=_second_mailbox),
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "an edit of no message",
        put(edits, "edit_id", "edited", message_id=new_id()),
    ),
    Damage(
        "children_lie_in_their_parents_mailbox",
        "standing on no ticket",
        put(participants, "ticket_id", "ticket", ticket_id=new_id()),
    ),
)
