"""The Message-IDs that the messages of a mailbox are known by, as keyed hashes: what threads are found by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, case, func, insert, select

from storage.mailboxes import readable
from storage.tables import mailboxes, messages, thread_keys

MESSAGES_PER_ID_MAX = 20
"""Messages that may be known by the same Message-ID. The first ones decide where an answer goes, and a look-up must
not get slower with each mail of somebody who writes thousands under one id."""
_SAME_MESSAGE = and_(
    messages.c.account_id == thread_keys.c.account_id,
    messages.c.message_id == thread_keys.c.message_id,
)


# Asked for each message of a batch, and so built once: that costs more than to run it.
_KNOWN_IDS = (
    select(thread_keys.c.thread_key, messages.c.ticket_id, messages.c.direction)
    .join(messages, _SAME_MESSAGE)
    .where(
        thread_keys.c.account_id == bindparam("account"),
        thread_keys.c.mailbox_id == bindparam("mailbox"),
        thread_keys.c.thread_key.in_(bindparam("keys", expanding=True)),
    )
    # Of old mail, read newest first, the later one was written first.
    .order_by(
        case((messages.c.direction == "out", 1), else_=0),
        messages.c.received_at.desc(),
        thread_keys.c.message_id.desc(),
    )
)


@dataclass(frozen=True, slots=True)
class KnownId:
    """A Message-ID that this mailbox knows."""

    ticket_id: UUID
    ours: bool
    """It is one of a message that we sent."""


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was looked for by its Message-ID."""

    mailbox_id: UUID
    message_id: UUID
    ticket_id: UUID
    sealed: bytes


# Run for each batch and each reply, so built once: building them takes several times as long as running them.
_INSERT = insert(thread_keys)
_COUNT_KNOWN = (
    select(thread_keys.c.mailbox_id, thread_keys.c.thread_key, func.count())
    .where(
        thread_keys.c.account_id == bindparam("of_account"),
        thread_keys.c.mailbox_id.in_(bindparam("of_mailboxes", expanding=True)),
        thread_keys.c.thread_key.in_(bindparam("of_keys", expanding=True)),
    )
    .group_by(thread_keys.c.mailbox_id, thread_keys.c.thread_key)
)


def insert_thread_keys(conn: Connection, account_id: UUID, wanted: Sequence[tuple[UUID, bytes, UUID]]) -> None:
    """Let messages be known by Message-IDs: mailbox, key, message. Beyond MESSAGES_PER_ID_MAX nothing is written."""
    if not wanted:
        return
    known = conn.execute(
        _COUNT_KNOWN,
        {
            "of_account": account_id,
            "of_mailboxes": list({mailbox_id for mailbox_id, _, _ in wanted}),
            "of_keys": list({key for _, key, _ in wanted}),
        },
    )
    counts = {(mailbox_id, bytes(key)): count for mailbox_id, key, count in known}
    rows = []
    for mailbox_id, key, message_id in wanted:
        count = counts.get((mailbox_id, key), 0)
        if count < MESSAGES_PER_ID_MAX:
            row = {"account_id": account_id, "mailbox_id": mailbox_id, "thread_key": key, "message_id": message_id}
            rows.append(row)
        counts[mailbox_id, key] = count + 1
    if rows:
        conn.execute(_INSERT, rows)


def add_thread_key(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    message_id: UUID,
    thread_key: bytes,
) -> None:
    """Let a message be known by one more Message-ID, such as the one its provider gave it."""
    present = conn.execute(
        select(thread_keys.c.message_id).where(
            thread_keys.c.account_id == account_id,
            thread_keys.c.mailbox_id == mailbox_id,
            thread_keys.c.thread_key == thread_key,
            thread_keys.c.message_id == message_id,
        )
    ).one_or_none()
    if present is None:
        conn.execute(
            insert(thread_keys).values(
                account_id=account_id,
                mailbox_id=mailbox_id,
                thread_key=thread_key,
                message_id=message_id,
            )
        )


def known_ids(conn: Connection, account_id: UUID, mailbox_id: UUID, keys: Collection[bytes]) -> dict[bytes, KnownId]:
    """Map those of `keys` that a message of this mailbox is known by to its ticket.

    Two mails can share a Message-ID: one of ours counts, else the one that came first, as a forger comes second.
    """
    rows = conn.execute(_KNOWN_IDS, {"account": account_id, "mailbox": mailbox_id, "keys": list(keys)})
    return {bytes(key): KnownId(ticket_id, direction == "out") for key, ticket_id, direction in rows}


def find_received(
    conn: Connection, account_id: UUID, mailbox_id: UUID, keys: Collection[bytes], limit: int
) -> list[Found]:
    """Return up to `limit` received messages of a mailbox that are known by one of `keys`, oldest first.

    They are sorted here: asked for an order, SQLite goes through all messages in that order, however few are known.
    """
    rows = conn.execute(
        select(messages.c.mailbox_id, messages.c.message_id, messages.c.ticket_id, messages.c.sealed)
        .select_from(
            thread_keys.join(messages, _SAME_MESSAGE).join(
                mailboxes,
                and_(
                    mailboxes.c.account_id == messages.c.account_id,
                    mailboxes.c.mailbox_id == messages.c.mailbox_id,
                ),
            )
        )
        .where(
            thread_keys.c.account_id == account_id,
            thread_keys.c.mailbox_id == mailbox_id,
            thread_keys.c.thread_key.in_(keys),
            messages.c.direction == "in",
            readable(account_id),
        )
        .limit(limit)
    )
    return sorted((Found(*row) for row in rows), key=lambda one: one.message_id)


def tickets_by_message(
    conn: Connection, account_id: UUID, mailbox_id: UUID, message_ids: Collection[UUID]
) -> dict[UUID, UUID]:
    """Map messages of this mailbox to their tickets."""
    rows = conn.execute(
        select(messages.c.message_id, messages.c.ticket_id).where(
            messages.c.account_id == account_id,
            messages.c.mailbox_id == mailbox_id,
            messages.c.message_id.in_(message_ids),
        )
    )
    return dict(rows.all())
