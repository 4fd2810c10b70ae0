"""The erasure of a person within an account: the intent, how far it has come, and what each of its steps writes.

A step's transaction holds the mailbox that it writes for, and then the erasure's own row, at the place where the step
began: of two processes at the same erasure, the second one finds it moved, and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, func, insert, select, update

from storage import accounts as account_rows
from storage.database import now, wake
from storage.errors import Conflict, NotFound
from storage.mailboxes import is_readable
from storage.quarantine import QuarantineStatus
from storage.tables import (
    accounts,
    mailboxes,
    messages,
    person_erasures,
    quarantine,
    tickets,
)
from storage.types import Id

STEPS: Final = ("requested", "names", "tickets", "messages", "quarantine", "erased", "done")
"""Of an erasure, in their order: what is looked through at each of them."""
_UNFINISHED_MAX = 20
"""Of one account: each reads all of its mail."""


@dataclass(frozen=True, slots=True)
class PersonErasure:
    account_id: UUID
    erasure_id: UUID
    dry_run: bool
    """A preview: it is counted what would be done, and nothing is written."""
    step: str
    address_key: bytes
    """The hash of the address under a key that is derived from the account's."""
    requested_at: datetime
    step_at: datetime
    until_id: UUID
    """What came later than this id stays."""
    after_id: UUID | None
    """How far the step has come."""
    checked: int
    total: int
    counts: str
    sealed: bytes | None

    @property
    def done(self) -> dict[str, int]:
        """What was deleted, rewritten or left, by kind."""
        counts: dict[str, int] = json.loads(self.counts)
        return counts


@dataclass(frozen=True, slots=True)
class Found:
    """A ticket, a message or a quarantine row that is looked at."""

    row_id: UUID
    mailbox_id: UUID
    sealed: bytes
    ticket_id: UUID | None = None
    direction: str = ""
    chunks: int = 0
    raw_place: str = ""
    merged_from_id: UUID | None = None


_COLUMNS = [person_erasures.c[name] for name in PersonErasure.__dataclass_fields__]


def request(
    conn: Connection,
    account_id: UUID,
    erasure_id: UUID,
    *,
    address_key: bytes,
    until_id: UUID,
    sealed: bytes,
    dry_run: bool,
) -> UUID:
    """Write the intent; return its id, or that of the same one that is under way.

    Raises NotFound, Conflict where the account is held or has too many under way.
    """
    account_rows.hold_still(conn, account_id)
    if account_rows.get_account(conn, account_id).held_since is not None and not dry_run:
        raise Conflict("the account is held: release it first")
    mine = person_erasures.c.account_id == account_id, person_erasures.c.step != "done"
    columns = person_erasures.c.erasure_id, person_erasures.c.address_key, person_erasures.c.dry_run
    unfinished = conn.execute(select(*columns).where(*mine)).all()
    for other_id, other_key, is_dry in unfinished:
        if bytes(other_key) == address_key and is_dry == dry_run:
            return UUID(str(other_id))
    if len(unfinished) >= _UNFINISHED_MAX:
        raise Conflict(f"{_UNFINISHED_MAX} erasures of persons are under way in this account: wait for one of them")
    _insert(conn, account_id, erasure_id, address_key, until_id, sealed, dry_run=dry_run)
    return erasure_id


def request_again(conn: Connection, account_id: UUID, erasure_id: UUID, address_key: bytes, until_id: UUID) -> bool:
    """Write an intent that a restored copy of the database does not have; return whether it was missing.

    Raises NotFound for an account that is gone.
    """
    account_rows.hold_still(conn, account_id)
    try:
        get_erasure(conn, account_id, erasure_id)
    except NotFound:
        _insert(conn, account_id, erasure_id, address_key, until_id, None, dry_run=False)
        return True
    return False


def _insert(
    conn: Connection,
    account_id: UUID,
    erasure_id: UUID,
    address_key: bytes,
    until_id: UUID,
    sealed: bytes | None,
    *,
    dry_run: bool,
) -> None:
    at = now(conn)
    conn.execute(
        insert(person_erasures).values(
            account_id=account_id,
            erasure_id=erasure_id,
            dry_run=dry_run,
            step="requested",
            address_key=address_key,
            requested_at=at,
            step_at=at,
            until_id=until_id,
            checked=0,
            total=0,
            counts="{}",
            sealed=sealed,
        )
    )
    wake(conn, "erasures")


def get_erasure(conn: Connection, account_id: UUID, erasure_id: UUID) -> PersonErasure:
    """Raises NotFound."""
    same = person_erasures.c.account_id == account_id, person_erasures.c.erasure_id == erasure_id
    row = conn.execute(select(*_COLUMNS).where(*same)).one_or_none()
    if row is None:
        raise NotFound(f"no erasure {erasure_id}")
    return PersonErasure(*row)


def list_unfinished(conn: Connection) -> list[PersonErasure]:
    """Return those of all accounts that are open, oldest first."""
    mine = person_erasures.join(accounts, accounts.c.account_id == person_erasures.c.account_id)
    query = select(*_COLUMNS).select_from(mine)
    query = query.where(person_erasures.c.step != "done", accounts.c.status.in_(account_rows.OPEN))
    return [PersonErasure(*row) for row in conn.execute(query.order_by(person_erasures.c.erasure_id))]


def count_all(conn: Connection, account_id: UUID) -> int:
    """Return how many rows an erasure looks at: messages twice, first for names."""
    total = 0
    for table, times in ((tickets, 1), (messages, 2), (quarantine, 1)):
        query = select(func.count()).select_from(table).where(table.c.account_id == account_id)
        total += times * conn.execute(query).scalar_one()
    return total


def advance(
    conn: Connection,
    account_id: UUID,
    at: PersonErasure,
    *,
    step: str,
    after_id: UUID | None = None,
    checked: int = 0,
    counts: Mapping[str, int] | None = None,
    total: int | None = None,
    sealed: bytes | None = None,
) -> PersonErasure:
    """Let the erasure stand at a step and a place in it, with so many more rows `checked`. Raises Conflict."""
    lock(conn, at)
    values: dict[str, Any] = {"step": step, "after_id": after_id, "checked": person_erasures.c.checked + checked}
    if step != at.step:
        values["step_at"] = now(conn)
    if total is not None:
        values |= {"total": total, "checked": 0}
    if sealed is not None:
        values["sealed"] = sealed
    if step == "done":
        values["sealed"] = None
    conn.execute(update(person_erasures).where(_same(at)).values(values))
    if counts:
        _count(conn, at, counts)
    if step != at.step:
        wake(conn, "erasures")
    return get_erasure(conn, account_id, at.erasure_id)


def page_of_tickets(conn: Connection, account_id: UUID, after: UUID, until: UUID, limit: int) -> list[Found]:
    """Return up to `limit` tickets whose ids lie behind `after`, and not behind `until`."""
    place = {"of_account": account_id, "after": after, "until": until, "most": limit}
    return [Found(*row) for row in conn.execute(_TICKETS, place)]


def page_of_messages(conn: Connection, account_id: UUID, after: UUID, until: UUID, limit: int) -> list[Found]:
    """As `page_of_tickets`."""
    place = {"of_account": account_id, "after": after, "until": until, "most": limit}
    return [Found(*row) for row in conn.execute(_MESSAGES, place)]


def page_of_quarantine(conn: Connection, account_id: UUID, after: UUID, until: UUID, limit: int) -> list[Found]:
    """As `page_of_tickets`; those that still have their bytes."""
    place = {"of_account": account_id, "after": after, "until": until, "most": limit}
    rows = conn.execute(_QUARANTINE, place)
    return [Found(one[0], one[1], one[2], chunks=one[3], raw_place=one[4]) for one in rows]


def tickets_by_id(conn: Connection, account_id: UUID, ticket_ids: Sequence[UUID]) -> list[Found]:
    """Return those of an account's tickets that there are."""
    columns = tickets.c.ticket_id, tickets.c.mailbox_id, tickets.c.sealed
    query = select(*columns).where(tickets.c.account_id == account_id, tickets.c.ticket_id.in_(ticket_ids))
    return [Found(*row) for row in conn.execute(query)]


def count(conn: Connection, account_id: UUID, at: PersonErasure, more: Mapping[str, int]) -> None:
    """Add to the counts of an erasure that is held."""
    assert at.account_id == account_id
    _count(conn, at, more)


def lock(conn: Connection, at: PersonErasure) -> None:
    """Hold the erasure, at the place where it stands. Raises Conflict where another process has moved it."""
    after = person_erasures.c.after_id
    place = after.is_(None) if at.after_id is None else after == at.after_id
    query = select(person_erasures.c.erasure_id).where(_same(at), person_erasures.c.step == at.step, place)
    if conn.execute(query.with_for_update()).first() is None:
        raise Conflict("another process goes on with this erasure")


def _same(at: PersonErasure) -> Any:
    return and_(person_erasures.c.account_id == at.account_id, person_erasures.c.erasure_id == at.erasure_id)


def _count(conn: Connection, at: PersonErasure, more: Mapping[str, int]) -> None:
    counts = get_erasure(conn, at.account_id, at.erasure_id).done
    for kind, number in more.items():
        if number:
            counts[kind] = counts.get(kind, 0) + number
    conn.execute(update(person_erasures).where(_same(at)).values(counts=json.dumps(counts, sort_keys=True)))


def _of_mailbox(table: Any) -> Any:
    same = and_(mailboxes.c.account_id == table.c.account_id, mailboxes.c.mailbox_id == table.c.mailbox_id)
    return table.join(mailboxes, same)


def _page(table: Any, id_column: str, *columns: str) -> Any:
    row_id = table.c[id_column]
    return (
        select(row_id, table.c.mailbox_id, table.c.sealed, *(table.c[name] for name in columns))
        .select_from(_of_mailbox(table))
        .where(
            table.c.account_id == bindparam("of_account"),
            row_id > bindparam("after", type_=Id),
            row_id <= bindparam("until", type_=Id),
            is_readable(),
        )
        .order_by(row_id)
        .limit(bindparam("most"))
    )


_TICKETS = _page(tickets, "ticket_id")
_MESSAGES = _page(messages, "message_id", "ticket_id", "direction", "chunks", "raw_place", "merged_from_id")
_QUARANTINE = _page(quarantine, "quarantine_id", "chunks", "raw_place").where(
    quarantine.c.status == QuarantineStatus.HELD
)
