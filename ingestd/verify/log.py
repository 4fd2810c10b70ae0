"""The log of events: where it begins and ends, and what it can still tell."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Table, exists, select

from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.tables import accounts, events


def is_forgotten(table: Table, since: ColumnElement[datetime] | ScalarSelect[datetime]) -> ColumnElement[bool]:
    """The condition that the log does not reach back to a time of the row: what it told then may be deleted by now.

    An event is written after what it tells, in the same transaction. So where an older event is left, it is, too.
    """
    older = exists().where(events.c.account_id == accounts.c.account_id, events.c.at < since).correlate(accounts, table)
    return exists().where(accounts.c.account_id == table.c.account_id, accounts.c.events_gone_to > 0, ~older)


@stated
def event_sequences_were_drawn() -> Statements:
    """Every event's sequence was drawn from its account's counter: it lies below the next one."""
    yield Count(events)
    query = select(events.c.account_id, events.c.sequence).join(accounts, accounts.c.account_id == events.c.account_id)
    wrong = (events.c.sequence < 1) | (events.c.sequence >= accounts.c.next_event_sequence)
    yield Flag(query.where(wrong), "the event's sequence is not below the counter")


@stated
def events_lie_behind_what_is_gone() -> Statements:
    """Every event lies behind the last one that was deleted for its age, and that one was drawn."""
    yield Count(events)
    query = select(events.c.account_id, events.c.sequence).join(accounts, accounts.c.account_id == events.c.account_id)
    yield Flag(query.where(events.c.sequence <= accounts.c.events_gone_to), "the event is said to be gone")
    own: Any = (accounts.c.account_id, accounts.c.account_id.label("subject"))
    wrong = (accounts.c.events_gone_to < 0) | (accounts.c.events_gone_to >= accounts.c.next_event_sequence)
    yield Flag(select(*own).where(wrong), "events are said to be gone that never were")
