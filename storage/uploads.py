"""Files that wait for the reply that they belong to. One too old is not there any more, also before its row goes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from storage import mailboxes
from storage.database import now
from storage.errors import LimitReached, NotFound
from storage.mailboxes import readable
from storage.tables import mailboxes as mailboxes_table
from storage.tables import uploads


@dataclass(frozen=True, slots=True)
class Upload:
    account_id: UUID
    upload_id: UUID
    mailbox_id: UUID
    size_bytes: int
    created_at: datetime
    expires_at: datetime
    sealed: bytes


_COLUMNS = [uploads.c[name] for name in Upload.__dataclass_fields__]


def insert_upload(
    conn: Connection,
    account_id: UUID,
    upload_id: UUID,
    *,
    mailbox_id: UUID,
    size_bytes: int,
    lifetime: timedelta,
    sealed: bytes,
    uploads_max: int,
    bytes_max: int,
) -> None:
    """Write a file. Raises NotFound, LimitReached where its mailbox has so many waiting, or so large ones."""
    mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    at = now(conn)
    waiting = select(func.count(), func.coalesce(func.sum(uploads.c.size_bytes), 0))
    count, size = conn.execute(waiting.where(_of(account_id, mailbox_id), uploads.c.expires_at > at)).one()
    if count >= uploads_max:
        raise LimitReached(f"{count} files wait for their replies already; the limit is {uploads_max}")
    if size + size_bytes > bytes_max:
        raise LimitReached(f"files of {size} bytes wait for their replies already; the limit is {bytes_max}")
    conn.execute(
        insert(uploads).values(
            account_id=account_id,
            upload_id=upload_id,
            mailbox_id=mailbox_id,
            size_bytes=size_bytes,
            created_at=at,
            expires_at=at + lifetime,
            sealed=sealed,
        )
    )


def get_upload(conn: Connection, account_id: UUID, upload_id: UUID) -> Upload:
    """Raises NotFound, also where it is too old, was used, or its mailbox is being forgotten."""
    same = and_(
        mailboxes_table.c.account_id == uploads.c.account_id,
        mailboxes_table.c.mailbox_id == uploads.c.mailbox_id,
    )
    query = select(*_COLUMNS).select_from(uploads.join(mailboxes_table, same))
    row = conn.execute(
        query.where(
            uploads.c.account_id == account_id,
            uploads.c.upload_id == upload_id,
            uploads.c.expires_at > now(conn),
            readable(account_id),
        )
    ).one_or_none()
    if row is None:
        raise NotFound(f"no upload {upload_id}")
    return Upload(*row)


def sizes_of(conn: Connection, account_id: UUID, mailbox_id: UUID, upload_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the size of each of these files that waits in the mailbox."""
    query = select(uploads.c.upload_id, uploads.c.size_bytes).where(
        _of(account_id, mailbox_id), uploads.c.upload_id.in_(upload_ids), uploads.c.expires_at > now(conn)
    )
    return {row.upload_id: row.size_bytes for row in conn.execute(query)}


def take_uploads(conn: Connection, account_id: UUID, mailbox_id: UUID, upload_ids: Collection[UUID]) -> bool:
    """Delete these files, which belong to a reply now; return whether all of them were there.

    The caller holds the mailbox.
    """
    mine = uploads.c.upload_id.in_(upload_ids), uploads.c.expires_at > now(conn)
    gone = conn.execute(delete(uploads).where(_of(account_id, mailbox_id), *mine))
    return gone.rowcount == len(set(upload_ids))


def forget_old(conn: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` files whose time was over `before` a time; return how many."""
    old = select(uploads.c.account_id, uploads.c.upload_id).where(uploads.c.expires_at < before).limit(limit)
    rows = conn.execute(old).all()
    for account_id, upload_id in rows:
        conn.execute(delete(uploads).where(uploads.c.account_id == account_id, uploads.c.upload_id == upload_id))
    return len(rows)


def _of(account_id: UUID, mailbox_id: UUID) -> ColumnElement[bool]:
    return and_(uploads.c.account_id == account_id, uploads.c.mailbox_id == mailbox_id)
