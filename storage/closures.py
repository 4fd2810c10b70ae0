"""The last of an account: its own rows go, in small chunks, once its mailboxes are forgotten.

How far it has come is in `erasures`, as with a mailbox: the account's own row there has its id in the place of a
mailbox's. What stays is that row and the account's, both without personal data.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, delete, exists, func, select, update

from storage import deliveries, webhooks
from storage.accounts import AccountStatus
from storage.database import now, wake
from storage.erasures import Erasure, add_count, get_erasure
from storage.some_rows import SomeRows
from storage.tables import ACCOUNT_TABLES, accounts, erasures, mailboxes, tokens
from storage.tables import webhooks as webhooks_table
from storage.webhooks import WebhookStatus

_ROWS: Final = [(table, SomeRows(table, "account_id")) for table in ACCOUNT_TABLES]


def lock(conn: Connection, account_id: UUID) -> None:
    """Wait for everybody who holds the account to write for it (`accounts.hold`), and keep others waiting."""
    conn.execute(select(accounts.c.account_id).where(accounts.c.account_id == account_id).with_for_update())


def revoke_tokens(conn: Connection, account_id: UUID) -> None:
    """From the commit on no token of the account opens anything."""
    mine = tokens.c.account_id == account_id, tokens.c.revoked_at.is_(None)
    conn.execute(update(tokens).where(*mine).values(revoked_at=now(conn)))


def is_empty(conn: Connection, account_id: UUID) -> bool:
    """Whether every mailbox of the account is forgotten, with its receipt."""
    unfinished = exists().where(
        erasures.c.account_id == account_id, erasures.c.mailbox_id != account_id, erasures.c.step != "done"
    )
    return not conn.execute(select(unfinished | exists().where(mailboxes.c.account_id == account_id))).scalar_one()


def find_progress(conn: Connection, account_id: UUID) -> tuple[Erasure, int]:
    """Return how far the closing has come, and how many mailboxes are not forgotten yet. Raises NotFound."""
    erasure = get_erasure(conn, account_id, account_id)
    where = erasures.c.account_id == account_id, erasures.c.mailbox_id != account_id, erasures.c.step != "done"
    return erasure, conn.execute(select(func.count()).select_from(erasures).where(*where)).scalar_one()


def end_webhooks(conn: Connection, account_id: UUID) -> None:
    """Let nothing more be delivered for the account: what its webhooks are told by is sealed under its key."""
    values = {"status": WebhookStatus.DELETED, "status_since": now(conn), "worker_id": None}
    conn.execute(update(webhooks_table).where(webhooks_table.c.account_id == account_id).values(values))
    wake(conn, webhooks.TOPIC)


def forget_name(conn: Connection, account_id: UUID) -> None:
    """Make the account closed: from the commit on nothing is written for it any more, not even by who came before."""
    lock(conn, account_id)
    conn.execute(
        update(accounts)
        .where(accounts.c.account_id == account_id, accounts.c.status == AccountStatus.CLOSING)
        .values(status=AccountStatus.CLOSED, status_since=now(conn), sealed=b"")
    )


def delete_chunk(conn: Connection, account_id: UUID, limit: int) -> int:
    """Delete up to `limit` of the account's own rows, and count them; return how many, 0 at the end."""
    if count := _delete_webhooks(conn, account_id, limit):
        return count
    for table, rows in _ROWS:
        if count := rows.delete(conn, limit, account_id=account_id):
            add_count(conn, account_id, account_id, table.name, count)
            return count
    return 0


def count_rows(conn: Connection, account_id: UUID) -> dict[str, int]:
    """Return how many rows of the account are left, by table; empty when it is gone."""
    counts = {}
    for table in (*ACCOUNT_TABLES, mailboxes):
        query = select(func.count()).select_from(table).where(table.c.account_id == account_id)
        if count := conn.execute(query).scalar_one():
            counts[table.name] = count
    return counts


def _delete_webhooks(conn: Connection, account_id: UUID, limit: int) -> int:
    """Delete some deliveries of a webhook, or the webhook that has none left: whoever makes new ones holds its row."""
    mine = webhooks_table.c.account_id == account_id
    webhook_id = conn.execute(select(webhooks_table.c.webhook_id).where(mine).limit(1)).scalar_one_or_none()
    if webhook_id is None or webhooks.find_webhook(conn, account_id, webhook_id, lock=True) is None:
        return 0
    if count := deliveries.delete_chunk(conn, account_id, webhook_id, limit):
        add_count(conn, account_id, account_id, "deliveries", count)
        return count
    conn.execute(delete(webhooks_table).where(mine, webhooks_table.c.webhook_id == webhook_id))
    add_count(conn, account_id, account_id, "webhooks", 1)
    return 1
