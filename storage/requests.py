"""Writes that were asked for under an idempotency key: each is done once, for 24 hours.

Replies have a table of their own (`storage.outbox.remember_request`), hashed by their mailbox's key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Concatenate, Generic, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Executable, bindparam, delete, insert, select
from sqlalchemy.dialects import postgresql

from storage import accounts
from storage.database import now
from storage.errors import KeyReused
from storage.tables import requests

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", UUID, None)
"""An account; None: the operator."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One request under an idempotency key, and what it makes or is about."""

    request_key: bytes
    """The keyed hash of who asks for what under which key."""
    request_hash: bytes
    """The keyed hash of what exactly is asked for."""
    resource: str
    """The id of what the request makes, or is about: how a repeated one finds it."""
    mailbox_id: UUID | None = None
    """The mailbox that it is about; it is forgotten with it."""


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What came of a write."""

    value: T | None
    """What it returned; None where it had been done before."""
    resource: str
    """The resource of the first request under this key; "" where there is no key."""
    repeated: bool


_INSERT_POSTGRESQL = postgresql.insert(requests).on_conflict_do_nothing()
_FIND = select(requests.c.request_hash, requests.c.resource).where(
    requests.c.request_key == bindparam("of_key"),
    requests.c.account_id.is_not_distinct_from(bindparam("of_account")),
)


def once(
    conn: Connection,
    account_id: A,
    claim: Claim | None,
    write: Callable[Concatenate[Connection, A, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Done[T]:
    """Run `write` in this transaction, unless it was done before under the same key.

    Raises KeyReused where the key was used for another request, and what `write` raises.
    """
    if claim is None:
        return Done(write(conn, account_id, *args, **kwargs), "", repeated=False)
    # Written first: a second request under the same key waits here for the first one's commit, and then finds it.
    if not remember(conn, account_id, claim):
        return Done(None, _get(conn, account_id, claim), repeated=True)
    return Done(write(conn, account_id, *args, **kwargs), claim.resource, repeated=False)


def once_of_operator(
    conn: Connection,
    claim: Claim | None,
    write: Callable[Concatenate[Connection, None, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Done[T]:
    """As `once`, for what belongs to no account."""
    return once(conn, None, claim, write, *args, **kwargs)


def remember(conn: Connection, account_id: UUID | None, claim: Claim) -> bool:
    """Note a request as done, in the transaction that does it; return False where there was one under this key.

    Raises NotFound where the account is closed.
    """
    if account_id is not None:
        accounts.hold(conn, account_id)
    values = {
        "account_id": account_id,
        "request_key": claim.request_key,
        "mailbox_id": claim.mailbox_id,
        "request_hash": claim.request_hash,
        "resource": claim.resource,
        "created_at": now(conn),
    }
    known = conn.execute(_FIND, {"of_account": account_id, "of_key": claim.request_key}).first()
    return known is None and conn.execute(_insert_if_new(conn), values).rowcount == 1


def is_done(conn: Connection, account_id: UUID, claim: Claim | None) -> bool:
    """Whether this request was done already. Raises KeyReused."""
    if claim is None or conn.execute(_FIND, {"of_account": account_id, "of_key": claim.request_key}).first() is None:
        return False
    _get(conn, account_id, claim)
    return True


def _insert_if_new(conn: Connection) -> Executable:
    if conn.dialect.name == "postgresql":
        return _INSERT_POSTGRESQL
    return insert(requests)  # there is one writer: nobody came in between


def find_anywhere(conn: Connection, request_key: bytes) -> tuple[UUID, bytes] | None:
    """Return the account and the hash of a request that made its account; None where there was none."""
    query = select(requests.c.account_id, requests.c.request_hash).where(requests.c.request_key == request_key)
    row = conn.execute(query).first()
    return None if row is None else (row.account_id, bytes(row.request_hash))


def forget_old(conn: Connection, before: datetime, limit: int) -> int:
    """Forget up to `limit` requests from before a time; return how many."""
    old = (
        conn.execute(select(requests.c.request_key).where(requests.c.created_at < before).limit(limit)).scalars().all()
    )
    if old:
        conn.execute(delete(requests).where(requests.c.request_key.in_(old)))
    return len(old)


def _get(conn: Connection, account_id: UUID | None, claim: Claim) -> str:
    row = conn.execute(_FIND, {"of_account": account_id, "of_key": claim.request_key}).one()
    if bytes(row.request_hash) != claim.request_hash:
        raise KeyReused("this idempotency key was used for another request")
    return str(row.resource)
