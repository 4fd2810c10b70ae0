"""Nothing shared: every row stays within the account and the mailbox of what it belongs to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, exists, select

from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.tables import (
    attachments,
    attempts,
    backfills,
    deliveries,
    edits,
    erasures,
    events,
    forgotten_messages,
    grants,
    idempotency,
    link_flows,
    mailboxes,
    messages,
    outbox,
    participants,
    quarantine,
    raw_chunks,
    reference_keys,
    reply_recipients,
    requests,
    thread_keys,
    tickets,
    uploads,
)

_OWNED: tuple[tuple[Table, Column[UUID]], ...] = (
    (attachments, attachments.c.attachment_id),
    (attempts, attempts.c.message_id),
    (backfills, backfills.c.mailbox_id),
    (edits, edits.c.message_id),
    (forgotten_messages, forgotten_messages.c.mailbox_id),
    (grants, grants.c.mailbox_id),
    (messages, messages.c.message_id),
    (outbox, outbox.c.message_id),
    (participants, participants.c.ticket_id),
    (quarantine, quarantine.c.quarantine_id),
    (raw_chunks, raw_chunks.c.owner_id),
    (reference_keys, reference_keys.c.message_id),
    (reply_recipients, reply_recipients.c.message_id),
    (thread_keys, thread_keys.c.message_id),
    (tickets, tickets.c.ticket_id),
    (uploads, uploads.c.upload_id),
)
"""Tables whose rows cannot be without their mailbox, and the column that names the row."""

_ABOUT: tuple[tuple[Table, Column[Any]], ...] = (
    (deliveries, deliveries.c.sequence),
    (erasures, erasures.c.mailbox_id),
    (events, events.c.sequence),
    (idempotency, idempotency.c.message_id),
    (link_flows, link_flows.c.flow_id),
    (requests, requests.c.mailbox_id),
)
"""Tables whose rows may outlive their mailbox, or precede it."""

_CHILDREN: tuple[tuple[Table, Table, str], ...] = (
    (attachments, messages, "message_id"),
    (edits, messages, "message_id"),
    (thread_keys, messages, "message_id"),
    (reference_keys, messages, "message_id"),
    (outbox, messages, "message_id"),
    (attempts, outbox, "message_id"),
    (reply_recipients, outbox, "message_id"),
    (participants, tickets, "ticket_id"),
)


@stated
def rows_have_a_mailbox() -> Statements:
    """Every row of a mailbox's data names a mailbox that is there, in the row's own account."""
    for table, subject in _OWNED:
        yield Count(table)
        theirs = exists().where(*same(mailboxes, table, "mailbox_id"))
        query = select(table.c.account_id, subject).where(~theirs).distinct()
        yield Flag(query, f"a row of {table.name} has no mailbox in its account")


@stated
def rows_stay_in_their_account() -> Statements:
    """No row about a mailbox, a ticket or a message names one of another account."""
    for table, subject in _ABOUT:
        yield Count(table)
        yield from _foreign(table, subject, "mailbox_id", mailboxes)
    yield from _foreign(events, events.c.sequence, "ticket_id", tickets)
    yield from _foreign(events, events.c.sequence, "message_id", messages)
    yield from _foreign(idempotency, idempotency.c.message_id, "message_id", messages)


@stated
def suspected_tickets_are_of_the_same_account() -> Statements:
    """The ticket that a new ticket is suspected to continue is one of the same account."""
    yield Count(tickets, tickets.c.suspected_ticket_id.is_not(None))
    other = tickets.alias("other")
    query = select(tickets.c.account_id, tickets.c.ticket_id).join(
        other, (other.c.ticket_id == tickets.c.suspected_ticket_id) & (other.c.account_id != tickets.c.account_id)
    )
    yield Flag(query, "the suspected ticket is another account's")


@stated
def children_lie_in_their_parents_mailbox() -> Statements:
    """Attachments, thread keys, edits, replies, attempts and participants lie in the account and mailbox of the
    message, reply or ticket that they belong to."""
    for child, parent, name in _CHILDREN:
        yield Count(child, live(child))
        theirs = exists().where(*same(parent, child, name, "mailbox_id"))
        query = select(child.c.account_id, child.c[name]).where(live(child), ~theirs).distinct()
        yield Flag(query, f"a row of {child.name} has no parent in its mailbox")


def _foreign(table: Table, subject: Column[Any], name: str, target: Table) -> Statements:
    query = select(table.c.account_id, subject).join(
        target, (target.c[name] == table.c[name]) & (target.c.account_id != table.c.account_id)
    )
    yield Flag(query, f"a row of {table.name} names another account's {name}")
