"""Each recipient of a reply, by its place in the sealed list, and where the reply stands for it."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from storage.database import now
from storage.tables import messages, reply_recipients


class RecipientStatus(enum.StrEnum):
    """Where a reply stands for one recipient."""

    PENDING = "pending"
    """No server has answered for it."""
    ACCEPTED = "accepted"
    """A server took the responsibility."""
    REFUSED = "refused"
    BOUNCED = "bounced"


@dataclass(frozen=True, slots=True)
class Recipient:
    position: int
    """Its place in the reply's list, from 0."""
    address_key: bytes
    status: RecipientStatus
    status_since: datetime
    code: int | None
    """The server's reply code, where it said no."""
    enhanced_code: str | None
    """RFC 3463, as well."""


_COLUMNS = [reply_recipients.c[name] for name in Recipient.__dataclass_fields__]


def insert_recipients(
    conn: Connection, account_id: UUID, mailbox_id: UUID, message_id: UUID, address_keys: Sequence[bytes]
) -> None:
    """Write the recipients of a reply that is being queued, in their order."""
    at = now(conn)
    rows = [
        {
            "account_id": account_id,
            "message_id": message_id,
            "position": position,
            "mailbox_id": mailbox_id,
            "address_key": address_key,
            "status": RecipientStatus.PENDING,
            "status_since": at,
        }
        for position, address_key in enumerate(address_keys)
    ]
    if rows:
        conn.execute(_INSERT, rows)


def list_recipients(conn: Connection, account_id: UUID, message_id: UUID) -> list[Recipient]:
    """Return them in their order; none for a reply from before they were kept."""
    return recipients_of(conn, account_id, [message_id]).get(message_id, [])


def recipients_of(conn: Connection, account_id: UUID, message_ids: Collection[UUID]) -> dict[UUID, list[Recipient]]:
    """Return the recipients of replies, by reply, in their order."""
    rows = conn.execute(
        select(reply_recipients.c.message_id, *_COLUMNS)
        .where(reply_recipients.c.account_id == account_id, reply_recipients.c.message_id.in_(message_ids))
        .order_by(reply_recipients.c.message_id, reply_recipients.c.position)
    )
    found: dict[UUID, list[Recipient]] = {}
    for message_id, position, key, status, *rest in rows:
        found.setdefault(message_id, []).append(Recipient(position, bytes(key), RecipientStatus(status), *rest))
    return found


def mark(
    conn: Connection,
    account_id: UUID,
    message_id: UUID,
    status: RecipientStatus,
    *,
    was: Collection[RecipientStatus],
    positions: Collection[int] | None = None,
    code: int | None = None,
    enhanced_code: str | None = None,
) -> int:
    """Move those recipients that are at one of `was`, all or those at `positions`; return how many that were."""
    values = {
        "of_account": account_id,
        "of_message": message_id,
        "of_status": list(was),
        "new_status": status,
        "new_status_since": now(conn),
        "new_code": code,
        "new_enhanced_code": enhanced_code,
    }
    if positions is None:
        return conn.execute(_MARK_ALL, values).rowcount
    return conn.execute(_MARK, values | {"of_position": list(positions)}).rowcount


# Built once: building them takes several times as long as running them.
_INSERT = insert(reply_recipients)
_MARK_ALL = (
    update(reply_recipients)
    .where(
        reply_recipients.c.account_id == bindparam("of_account"),
        reply_recipients.c.message_id == bindparam("of_message"),
        reply_recipients.c.status.in_(bindparam("of_status", expanding=True)),
    )
    .values({name: bindparam(f"new_{name}") for name in ("status", "status_since", "code", "enhanced_code")})
)
_MARK = _MARK_ALL.where(reply_recipients.c.position.in_(bindparam("of_position", expanding=True)))


def replies_to(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    address_keys: Collection[bytes],
    *,
    since: datetime,
    limit: int,
) -> list[tuple[UUID, UUID]]:
    """Return message and ticket of up to `limit` replies of a mailbox that a server took for one of these addresses
    after `since`."""
    theirs = and_(
        messages.c.account_id == reply_recipients.c.account_id, messages.c.message_id == reply_recipients.c.message_id
    )
    rows = conn.execute(
        select(messages.c.message_id, messages.c.ticket_id)
        .select_from(reply_recipients.join(messages, theirs))
        .where(
            reply_recipients.c.account_id == account_id,
            reply_recipients.c.mailbox_id == mailbox_id,
            reply_recipients.c.address_key.in_(address_keys),
            reply_recipients.c.status_since > since,
            reply_recipients.c.status.in_((RecipientStatus.ACCEPTED, RecipientStatus.BOUNCED)),
        )
        .distinct()
        .limit(limit)
    )
    return [(message_id, ticket_id) for message_id, ticket_id in rows]
