"""Lists of tickets: filtered, sorted, read page by page.

Each page walks an index in the order that is asked for and stops at its limit, however many tickets there are.
So it has a *leg* for each status (or each mailbox of a requester): what a leg's tickets have in common leads an
index, the sort key follows. The legs find numbers alone, in the index alone; they are merged, and only the rows
of the page itself are read. Two filters are about another column than the sort key:

- `created_*`: numbers are given in about the order of creation, so the range of times becomes a range of numbers,
  found in an index of both;
- `updated_*` while it is sorted by number: the tickets of that range are gone through, in the index alone.

While tickets change between two pages, a list by number has no gaps and none twice. In a list by `updated_at` a
ticket that changes moves: it comes (again) at the end of an ascending one, and is at the top of a descending one.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Select,
    and_,
    bindparam,
    column,
    func,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import values as value_rows
from sqlalchemy.sql.selectable import Subquery

from storage.mailboxes import MailboxState
from storage.tables import mailboxes, tickets
from storage.tickets import Ticket, TicketStatus
from storage.types import Id, Instant

_NUMBER_MAX: Final = 2**63 - 1
_LEGS_MAX: Final = 40
"""Of one statement; SQLite takes 500."""
_PROBES_MAX: Final = 500
"""Mailboxes that one statement asks for a requester."""


class TicketOrder(enum.StrEnum):
    """What a list is sorted by."""

    NUMBER = "number"
    UPDATED_AT = "updated_at"
    """The last change; those of the same microsecond by number."""


@dataclass(frozen=True, slots=True)
class TicketPlace:
    """Where a list goes on: the sort keys of a ticket."""

    number: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TicketFilter:
    """Which tickets are wanted: those for which all of it holds."""

    statuses: Collection[TicketStatus] = tuple(TicketStatus)
    mailbox_id: UUID | None = None
    requester_keys: Mapping[UUID, bytes] | None = None
    """By mailbox, the key of the requester's address there. None: whoever it is."""
    created_since: datetime | None = None
    """From this time on, as with all `_since`."""
    created_before: datetime | None = None
    """Before this time, as with all `_before`."""
    updated_since: datetime | None = None
    updated_before: datetime | None = None
    number_from: int = 1
    number_to: int = _NUMBER_MAX
    """Included."""


ALL_TICKETS: Final = TicketFilter()


def list_tickets(
    conn: Connection,
    account_id: UUID,
    wanted: TicketFilter = ALL_TICKETS,
    *,
    order: TicketOrder = TicketOrder.NUMBER,
    descending: bool = False,
    after: TicketPlace | None = None,
    limit: int = 100,
) -> list[Ticket]:
    """Return up to `limit` of the wanted tickets behind the place `after`, in this order; none of mailboxes that are
    being forgotten."""
    values: dict[str, Any] = {"account": account_id, "most": limit}
    numbers = _numbers(conn, values, wanted)
    if numbers is None:
        return []
    shape = _bounded(_Shape(order, descending), values, wanted, numbers, after)
    found: list[Ticket] = []
    for legs in _legs(conn, account_id, wanted):
        statement = _statement(_with_legs(shape, wanted, len(legs)))
        leg_values = {f"{name}_{index}": value for index, leg in enumerate(legs) for name, value in leg.items()}
        found += [Ticket(*row) for row in conn.execute(statement, values | leg_values)]
    # Already in their order, where there was but one statement.
    found.sort(key=lambda one: _sort_key(order, one), reverse=descending)
    return found[:limit]


def _sort_key(order: TicketOrder, one: Ticket) -> tuple[Any, ...]:
    return (one.number,) if order is TicketOrder.NUMBER else (one.updated_at, one.number)


# -- what is asked for -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shape:
    """What makes one statement another; the values are its parameters."""

    order: TicketOrder
    descending: bool
    scope: tuple[str, ...] = ("status",)
    """The columns that are given for each leg."""
    legs: int = 1
    bounds: frozenset[str] = field(default_factory=frozenset)
    """The names of the parameters that limit a leg."""


def _numbers(conn: Connection, values: dict[str, Any], wanted: TicketFilter) -> tuple[int, int] | None:
    """Return the range of numbers in which all wanted tickets are; None where there are none."""
    low, high = wanted.number_from, wanted.number_to
    times = {"created_since": wanted.created_since, "created_before": wanted.created_before}
    given = {name: at for name, at in times.items() if at is not None}
    if given:
        values |= given
        first, last = conn.execute(_created(frozenset(given)), {"account": values["account"], **given}).one()
        if first is None:
            return None
        low, high = max(low, first), min(high, last)
    return (low, high) if low <= high else None


def _bounded(
    shape: _Shape,
    values: dict[str, Any],
    wanted: TicketFilter,
    numbers: tuple[int, int],
    after: TicketPlace | None,
) -> _Shape:
    """Return the shape with the limits of its legs, and put their values to the others.

    On either side the nearest limit alone: an index is entered at one place, and what other conditions exclude
    would be gone through for each page anew.
    """
    low, high = numbers
    if shape.order is TicketOrder.NUMBER:
        if after is not None:
            low, high = (low, min(high, after.number - 1)) if shape.descending else (max(low, after.number + 1), high)
        limits: dict[str, Any] = {"updated_since": wanted.updated_since, "updated_before": wanted.updated_before}
    else:
        limits = _changes(wanted, after, descending=shape.descending)
    limits |= {"number_from": low if low > 1 else None, "number_to": high if high < _NUMBER_MAX else None}
    limits |= {name: values.get(name) for name in ("created_since", "created_before")}
    given = {name: value for name, value in limits.items() if value is not None}
    values |= given
    names = {name.removesuffix("_at").removesuffix("_number") for name in given}
    return _Shape(shape.order, shape.descending, bounds=frozenset(names))


def _changes(wanted: TicketFilter, after: TicketPlace | None, *, descending: bool) -> dict[str, Any]:
    """Return the limits of a list by the last change: places that its tickets lie between."""
    low = (wanted.updated_since, 0) if wanted.updated_since is not None else None
    high = (wanted.updated_before, 0) if wanted.updated_before is not None else None
    place = (after.updated_at, after.number) if after is not None else None
    if place is not None and descending:
        high = place if high is None else min(high, place)
    elif place is not None:
        low = place if low is None else max(low, place)
    limits: dict[str, Any] = {}
    for name, one in (("low", low), ("high", high)):
        if one is not None:
            limits |= {f"{name}_at": one[0], f"{name}_number": one[1]}
    return limits


def _legs(conn: Connection, account_id: UUID, wanted: TicketFilter) -> list[list[dict[str, Any]]]:
    """Return what leads the index for each leg, in portions for one statement each."""
    if wanted.requester_keys is None:
        mailbox = {} if wanted.mailbox_id is None else {"mailbox": wanted.mailbox_id}
        legs: list[dict[str, Any]] = [{"status": one, **mailbox} for one in dict.fromkeys(wanted.statuses)]
    else:
        legs = [
            {"mailbox": mailbox_id, "requester": wanted.requester_keys[mailbox_id], "statuses": wanted.statuses}
            for mailbox_id in _mailboxes_of(conn, account_id, wanted)
        ]
    return [legs[at : at + _LEGS_MAX] for at in range(0, len(legs), _LEGS_MAX)]


def _mailboxes_of(conn: Connection, account_id: UUID, wanted: TicketFilter) -> list[UUID]:
    """Return the mailboxes in which the requester has any ticket: usually one, of perhaps hundreds."""
    keys = {
        mailbox_id: key
        for mailbox_id, key in (wanted.requester_keys or {}).items()
        if wanted.mailbox_id in {None, mailbox_id}
    }
    found, pairs = [], sorted(keys.items())
    for at in range(0, len(pairs), _PROBES_MAX):
        rows = conn.execute(_having_tickets(pairs[at : at + _PROBES_MAX]), {"account": account_id})
        found += [mailbox_id for (mailbox_id,) in rows]
    return sorted(found)


def _having_tickets(keys: Sequence[tuple[UUID, bytes]]) -> Select[Any]:
    asked = (
        value_rows(column("mailbox_id", Id()), column("requester_key", LargeBinary()), name="asked").data(keys).cte()
    )
    any_ticket = select(tickets.c.number).where(
        tickets.c.account_id == bindparam("account"),
        tickets.c.mailbox_id == asked.c.mailbox_id,
        tickets.c.requester_key == asked.c.requester_key,
    )
    return select(asked.c.mailbox_id).where(any_ticket.exists())


def _with_legs(shape: _Shape, wanted: TicketFilter, legs: int) -> _Shape:
    if wanted.requester_keys is not None:
        scope: tuple[str, ...] = ("mailbox", "requester", "statuses")
    else:
        scope = ("status",) if wanted.mailbox_id is None else ("mailbox", "status")
    return _Shape(shape.order, shape.descending, scope, legs, shape.bounds)


# -- statements, each built once: that costs more than to run it -------------------------------------------


@lru_cache(maxsize=256)
def _statement(shape: _Shape) -> Select[Any]:
    legs = [_leg(shape, index) for index in range(shape.legs)]
    # SQLite takes no limit inside a compound but in a subquery of its own.
    found = union_all(*[select(one) for one in legs]).subquery("found") if len(legs) > 1 else legs[0]
    columns = [tickets.c[name] for name in Ticket.__dataclass_fields__]
    same = and_(tickets.c.account_id == bindparam("account"), tickets.c.number == found.c.number)
    keys = [found.c[one] for one in _order_columns(shape)]
    query = select(*columns).select_from(found.join(tickets, same))
    return query.order_by(*_directed(keys, shape)).limit(bindparam("most", type_=Integer))


def _leg(shape: _Shape, index: int) -> Subquery:
    names = ["number"] if shape.order is TicketOrder.NUMBER else ["updated_at", "number"]
    keys: list[ColumnElement[Any]] = [tickets.c[one] for one in names]
    if shape.order is TicketOrder.NUMBER and shape.bounds & {"updated_since", "updated_before"}:
        # Else the numbers are walked, and the row of each is read, until a page of that range is together.
        keys = [tickets.c.number + 0]
    query = (
        select(*[tickets.c[one] for one in names])
        .where(tickets.c.account_id == bindparam("account"), tickets.c.mailbox_id.not_in(_FORGOTTEN))
        .where(*[_given(name, index) for name in shape.scope], *[_BOUNDS[name] for name in sorted(shape.bounds)])
    )
    return query.order_by(*_directed(keys, shape)).limit(bindparam("most", type_=Integer)).subquery(f"leg_{index}")


def _order_columns(shape: _Shape) -> Sequence[str]:
    return ("number",) if shape.order is TicketOrder.NUMBER else ("updated_at", "number")


def _directed(keys: Sequence[ColumnElement[Any]], shape: _Shape) -> list[ColumnElement[Any]]:
    return [one.desc() if shape.descending else one.asc() for one in keys]


def _given(name: str, index: int) -> ColumnElement[bool]:
    if name == "statuses":
        return tickets.c.status.in_(bindparam(f"statuses_{index}", expanding=True))
    column = {"status": tickets.c.status, "mailbox": tickets.c.mailbox_id, "requester": tickets.c.requester_key}[name]
    return column == bindparam(f"{name}_{index}")


@lru_cache(maxsize=4)
def _created(given: frozenset[str]) -> Select[Any]:
    """Return the query for the lowest and the highest number of a range of creation times."""
    # Of the bare column both engines would look for the first row in the order of numbers, reading all before it.
    bare = tickets.c.number + 0
    times = [_BOUNDS[name] for name in sorted(given)]
    return select(func.min(bare), func.max(bare)).where(tickets.c.account_id == bindparam("account"), *times)


_FORGOTTEN = (
    select(mailboxes.c.mailbox_id)
    .where(mailboxes.c.account_id == bindparam("account"), mailboxes.c.state == MailboxState.DISCONNECTING)
    .scalar_subquery()
)
_PLACE = tuple_(tickets.c.updated_at, tickets.c.number)
_BOUNDS: Final[Mapping[str, ColumnElement[bool]]] = {
    "low": tuple_(bindparam("low_at", type_=Instant), bindparam("low_number", type_=BigInteger)) < _PLACE,
    "high": tuple_(bindparam("high_at", type_=Instant), bindparam("high_number", type_=BigInteger)) > _PLACE,
    "number_from": tickets.c.number >= bindparam("number_from", type_=BigInteger),
    "number_to": tickets.c.number <= bindparam("number_to", type_=BigInteger),
    "created_since": tickets.c.created_at >= bindparam("created_since", type_=Instant),
    "created_before": tickets.c.created_at < bindparam("created_before", type_=Instant),
    "updated_since": tickets.c.updated_at >= bindparam("updated_since", type_=Instant),
    "updated_before": tickets.c.updated_at < bindparam("updated_before", type_=Instant),
}
