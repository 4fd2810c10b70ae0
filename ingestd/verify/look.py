"""What an invariant looks through: the databases, in pages, and the keys."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, exists, literal, select, tuple_

from ingestd.keys import KeyRing
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import KeyDestroyed, MasterKeyWrong
from storage.mailboxes import MailboxState
from storage.sealing import DataKey
from storage.tables import mailboxes

AnyRow = Row[*tuple[Any, ...]]
UNDER_WAY = timedelta(hours=1)
"""What is written before the row that owns it (a key, a blob) may be without that row for this long."""


@dataclass(frozen=True, slots=True)
class Look:
    content: Database
    keystore: Database
    blobs: Blobs
    keys: KeyRing
    now: datetime
    page_rows: int
    empty: Set[Table] = frozenset()
    """Tables that had no row when the look began: nothing is looked for in them."""

    async def key(self, account_id: UUID, mailbox_id: UUID | None) -> DataKey | None:
        """Return the key of a mailbox, or of the account itself; None where there is none that opens.

        Missing and damaged keys have invariants of their own; what they seal is passed over.
        """
        try:
            if mailbox_id is None:
                return await self.keys.account(account_id)
            return await self.keys.mailbox(account_id, mailbox_id)
        except (KeyDestroyed, MasterKeyWrong):
            return None

    async def pages(self, database: Database, table: Table, *where: ColumnElement[bool]) -> AsyncIterator[list[AnyRow]]:
        """Yield the rows of `table`, all columns, in the order of its primary key, a page a transaction."""
        after: tuple[Any, ...] | None = None
        more = table not in self.empty
        while more and (rows := await database.read(None, _page, table, where, after, self.page_rows)):
            yield rows
            more = len(rows) == self.page_rows
            after = tuple(getattr(rows[-1], column.name) for column in table.primary_key.columns)

    async def rows(self, query: Select[Any], *, database: Database | None = None) -> list[AnyRow]:
        """Run a query whose answer is known to be small."""
        return await (database or self.content).read(None, _all, query)


@functools.cache
def live(table: Table) -> ColumnElement[bool]:
    """The condition that a row's mailbox is there and is not being forgotten: deletion in chunks
    leaves half a message for a while, and nobody reads it any more."""
    return exists().where(
        mailboxes.c.account_id == table.c.account_id,
        mailboxes.c.mailbox_id == table.c.mailbox_id,
        mailboxes.c.state != MailboxState.DISCONNECTING,
    )


def same(left: Table, right: Table, *names: str | tuple[str, str]) -> list[ColumnElement[bool]]:
    """The conditions that rows of two tables agree in their account and in the named columns."""
    pairs = [("account_id", "account_id"), *((one, one) if isinstance(one, str) else one for one in names)]
    return [left.c[a] == right.c[b] for a, b in pairs]


def _page(
    conn: Connection, table: Table, where: tuple[ColumnElement[bool], ...], after: tuple[Any, ...] | None, limit: int
) -> list[AnyRow]:
    key = list(table.primary_key.columns)
    query = select(table).where(*where).order_by(*key).limit(limit)
    if after is not None:
        last = [literal(value, column.type) for value, column in zip(after, key, strict=True)]
        query = query.where(tuple_(*key) > tuple_(*last))
    return list(conn.execute(query).all())


def _all(conn: Connection, query: Select[Any]) -> list[AnyRow]:
    return list(conn.execute(query).all())
