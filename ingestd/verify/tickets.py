"""Messages and their tickets; their numbers; one event for each thing that happened, as far as the log reaches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Table, exists, func, select

from ingestd.verify.log import is_forgotten
from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.quarantine import QuarantineStatus
from storage.tables import accounts, events, forgotten_messages, messages, outbox, quarantine, tickets
from storage.tickets import TicketStatus


@stated
def messages_belong_to_a_ticket() -> Statements:
    """Every message belongs to a ticket of the same account and mailbox."""
    yield Count(messages, live(messages))
    theirs = select(tickets.c.ticket_id).where(*same(tickets, messages, "ticket_id", "mailbox_id")).exists()
    query = select(messages.c.account_id, messages.c.message_id).where(live(messages), ~theirs)
    yield Flag(query, "the message has no ticket in its mailbox")


@stated
def tickets_have_a_message() -> Statements:
    """Every ticket that was not merged into another one has at least one message."""
    whole = tickets.c.merged_into_id.is_(None)
    yield Count(tickets, live(tickets), whole)
    theirs = select(messages.c.message_id).where(*same(messages, tickets, "ticket_id")).exists()
    query = select(tickets.c.account_id, tickets.c.ticket_id).where(live(tickets), whole, ~theirs)
    yield Flag(query, "the ticket has no message")


@stated
def closed_tickets_know_since_when() -> Statements:
    """Every ticket is open, closed, spam, deleted or merged, and has the time since when it is not open, where it is
    not."""
    yield Count(tickets, live(tickets))
    query = select(tickets.c.account_id, tickets.c.ticket_id).where(live(tickets))
    ended = tickets.c.status != TicketStatus.OPEN
    yield Flag(query.where(ended != tickets.c.closed_at.is_not(None)), "its end does not fit its status")
    yield Flag(query.where(tickets.c.status.not_in(list(TicketStatus))), "its status is unknown")


@stated
def spam_deletions_and_merges_were_told() -> Statements:
    """Every ticket that is spam, deleted or merged has an event ticket.spam, ticket.deleted or ticket.merged."""
    yield Count(tickets, live(tickets))
    query = select(tickets.c.account_id, tickets.c.ticket_id).where(live(tickets))
    for status in (TicketStatus.SPAM, TicketStatus.DELETED, TicketStatus.MERGED):
        told = exists().where(*same(events, tickets, "ticket_id"), events.c.type == f"ticket.{status.value}")
        untold = query.where(tickets.c.status == status, ~told, ~is_forgotten(tickets, tickets.c.closed_at))
        yield Flag(untold, "its status was not told")


@stated
def follow_ups_continue_an_older_ticket() -> Statements:
    """The ticket that another one follows up is an older one of the same mailbox."""
    yield Count(tickets, tickets.c.follows_ticket_id.is_not(None))
    other = tickets.alias("other")
    query = select(tickets.c.account_id, tickets.c.ticket_id).join(
        other,
        (other.c.ticket_id == tickets.c.follows_ticket_id)
        & (
            (other.c.account_id != tickets.c.account_id)
            | (other.c.mailbox_id != tickets.c.mailbox_id)
            | (other.c.number >= tickets.c.number)
        ),
    )
    yield Flag(query, "the ticket that it follows up is no older one of its mailbox")


@stated
def messages_are_stored_once() -> Statements:
    """One message is in a mailbox once: no identity twice among its messages and its quarantine."""
    for table in (messages, quarantine):
        yield Count(table)
        key = (table.c.account_id, table.c.mailbox_id, table.c.identity_key)
        query = select(table.c.account_id, table.c.mailbox_id).group_by(*key).having(func.count() > 1)
        yield Flag(query, f"the mailbox has a message twice in {table.name}")
    yield from _there_in_part()
    both = select(quarantine.c.account_id, quarantine.c.quarantine_id).join(
        messages,
        (quarantine.c.account_id == messages.c.account_id)
        & (quarantine.c.mailbox_id == messages.c.mailbox_id)
        & (quarantine.c.identity_key == messages.c.identity_key),
    )
    both = both.where(quarantine.c.status == QuarantineStatus.HELD)
    yield Flag(both, "the message is quarantined and in a ticket")


def _there_in_part() -> Statements:
    """A message that was read whole is not there a second time by its header alone."""
    whole, part = messages.alias(), messages.alias()
    twice = select(part.c.account_id, part.c.message_id).join(
        whole,
        (whole.c.account_id == part.c.account_id)
        & (whole.c.mailbox_id == part.c.mailbox_id)
        & (whole.c.header_key == part.c.identity_key),
    )
    yield Flag(twice, "the message is there twice, once only in part")


@stated
def deleted_messages_stay_away() -> Statements:
    """What was deleted for its age, and is remembered so that it does not come back, is no message and in no
    quarantine."""
    yield Count(forgotten_messages)
    for table, id_column in ((messages, messages.c.message_id), (quarantine, quarantine.c.quarantine_id)):
        query = select(table.c.account_id, id_column).join(
            forgotten_messages,
            (forgotten_messages.c.account_id == table.c.account_id)
            & (forgotten_messages.c.mailbox_id == table.c.mailbox_id)
            & (forgotten_messages.c.identity_key == table.c.identity_key),
        )
        yield Flag(query, "the message was deleted, and is there again")


@stated
def ticket_numbers_are_unique() -> Statements:
    """No two tickets of an account have the same number."""
    yield Count(tickets)
    key = (tickets.c.account_id, tickets.c.number)
    yield Flag(select(*key).group_by(*key).having(func.count() > 1), "the number is given twice")


@stated
def ticket_numbers_were_drawn() -> Statements:
    """Every ticket's number was drawn from its account's counter: it lies below the next one."""
    yield Count(tickets)
    query = select(tickets.c.account_id, tickets.c.ticket_id).join(
        accounts, accounts.c.account_id == tickets.c.account_id
    )
    wrong = (tickets.c.number < 1) | (tickets.c.number >= accounts.c.next_ticket_number)
    yield Flag(query.where(wrong), "the ticket's number is not below the counter")


@stated
def messages_were_announced_once() -> Statements:
    """Every received message has exactly one event message.received, message.imported where it is old mail, or
    message.muted where it came beyond a limit."""
    told = ("message.received", "message.imported", "message.muted")
    arrived = messages.c.direction == "in"
    yield from _announced(messages, "message_id", told, arrived, since=messages.c.created_at)


@stated
def quarantine_was_announced_once() -> Statements:
    """Every quarantined message has exactly one event message.quarantined."""
    yield from _announced(quarantine, "quarantine_id", ("message.quarantined",), since=quarantine.c.created_at)


@stated
def tickets_were_announced_once() -> Statements:
    """Every ticket has exactly one event ticket.created, or ticket.imported where old mail opened it."""
    told = ("ticket.created", "ticket.imported")
    since = tickets.c.created_at
    yield from _announced(tickets, "ticket_id", told, event_column="ticket_id", since=since)


@stated
def replies_were_announced_once() -> Statements:
    """Every reply has exactly one event reply.queued."""
    written = select(messages.c.created_at).where(*same(messages, outbox, "message_id"))
    since = written.correlate(outbox).scalar_subquery()
    yield from _announced(outbox, "message_id", ("reply.queued",), since=since)


def _announced(
    table: Table,
    id_column: str,
    event_types: Sequence[str],
    *where: ColumnElement[bool],
    event_column: str = "message_id",
    since: ColumnElement[datetime] | ScalarSelect[datetime],
) -> Statements:
    """`since` is when a row was written."""
    yield Count(table, live(table), *where)
    # Grouped once, not counted row by row: events have no index by what they are about.
    about: Any = (events.c.account_id, events.c[event_column].label("subject_id"))
    told = select(*about, func.count().label("times")).where(events.c.type.in_(event_types))
    each = told.group_by(events.c.account_id, events.c[event_column]).subquery()
    query = (
        select(table.c.account_id, table.c[id_column])
        .outerjoin(each, (each.c.account_id == table.c.account_id) & (each.c.subject_id == table.c[id_column]))
        .where(live(table), *where)
        .where((each.c.times > 1) | (each.c.times.is_(None) & ~is_forgotten(table, since)))
    )
    yield Flag(query, f"there is not exactly one event {' or '.join(event_types)}")
