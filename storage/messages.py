"""Messages, their raw bytes and attachments, and the keys they are found by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    case,
    insert,
    select,
    tuple_,
    update,
)

from storage.database import now
from storage.errors import NotFound
from storage.mailboxes import is_readable, readable
from storage.tables import (
    attachments,
    forgotten_messages,
    mailboxes,
    messages,
    quarantine,
    raw_chunks,
)
from storage.threads import insert_thread_keys
from storage.types import Id, Instant

ROWS = "rows"
"""The raw message lies in `raw_chunks`."""
BLOB = "blob"
"""The raw message lies in the blob store, under account, mailbox and owner."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw message about to be written: sealed chunks, or a blob that was stored before this transaction."""

    place: str
    chunks: int
    size_bytes: int
    sealed: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class NewAttachment:
    attachment_id: UUID
    size_bytes: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class NewMessage:
    message_id: UUID
    mailbox_id: UUID
    ticket_id: UUID
    direction: str
    """in or out."""
    kind: str
    identity_key: bytes
    received_at: datetime
    raw: Raw
    sealed: bytes
    attachments: Sequence[NewAttachment] = ()
    thread_keys: Sequence[bytes] = ()
    header_key: bytes | None = None
    """What it would be known by if only its header had been taken."""
    muted: bool = False
    """It came beyond a limit: it is kept, and nothing comes of it."""
    altered: bool = False
    """It is not stored as it came: card numbers are masked."""


@dataclass(frozen=True, slots=True)
class Message:
    account_id: UUID
    message_id: UUID
    mailbox_id: UUID
    ticket_id: UUID
    direction: str
    kind: str
    received_at: datetime
    created_at: datetime
    size_bytes: int
    chunks: int
    raw_place: str
    muted: bool
    altered: bool
    merged_from_id: UUID | None
    """The ticket that it came to, where that was merged into this one."""
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Identities:
    """What messages may be known by."""

    keys: Collection[bytes]
    """As their `identity_key`."""
    header_keys: Collection[bytes] = ()
    """As their `header_key`: of messages of which only the header was read."""


@dataclass(frozen=True, slots=True)
class AttachmentRow:
    attachment_id: UUID
    position: int
    size_bytes: int
    sealed: bytes


_COLUMNS = [messages.c[name] for name in Message.__dataclass_fields__]
_READABLE = messages.join(
    mailboxes,
    and_(
        mailboxes.c.account_id == messages.c.account_id,
        mailboxes.c.mailbox_id == messages.c.mailbox_id,
    ),
)
# Asked for each message of a batch, and so built once: that costs more than to run it.
_RECENTLY_RECEIVED = (
    select(messages.c.received_at, messages.c.muted)
    .where(
        messages.c.account_id == bindparam("account"),
        messages.c.ticket_id == bindparam("ticket"),
        messages.c.direction == "in",
        messages.c.merged_from_id.is_(None),
    )
    .order_by(messages.c.message_id.desc())
    .limit(bindparam("most", type_=Integer))
)


def _among(table: Table, column: ColumnElement[Any]) -> Select[Any]:
    return select(column).where(
        table.c.account_id == bindparam("account"),
        table.c.mailbox_id == bindparam("mailbox"),
        column.in_(bindparam("keys", expanding=True)),
    )


_KNOWN = [
    (_among(table, table.c.identity_key), _among(table, table.c.header_key))
    for table in (messages, quarantine, forgotten_messages)
]


def known_identities(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    wanted: Identities,
) -> set[bytes]:
    """Return those of the keys that are a message or a quarantine row of the mailbox already, or of one that was
    deleted; a header key that is known as such comes back as `by_header` makes it."""
    found: set[bytes] = set()
    here = {"account": account_id, "mailbox": mailbox_id}
    for by_identity, by_their_header in _KNOWN:
        if wanted.keys:
            rows = conn.execute(by_identity, {**here, "keys": list(wanted.keys)})
            found.update(bytes(key) for (key,) in rows)
        if wanted.header_keys:
            rows = conn.execute(by_their_header, {**here, "keys": list(wanted.header_keys)})
            found.update(by_header(bytes(key)) for (key,) in rows)
    return found


def by_header(header_key: bytes) -> bytes:
    """Return a header key so that it is no identity: of two messages with one header, each whole, neither is the
    other."""
    return b"header\x00" + header_key


def records_by_identity(
    conn: Connection, account_id: UUID, mailbox_id: UUID, wanted: Identities
) -> list[tuple[bytes, UUID, bytes]]:
    """Return by which key it is known, id and sealed record of each wanted message of the mailbox."""
    here = messages.c.account_id == account_id, messages.c.mailbox_id == mailbox_id
    found: list[tuple[bytes, UUID, bytes]] = []
    if wanted.keys:
        query = select(messages.c.identity_key, messages.c.message_id, messages.c.sealed)
        rows = conn.execute(query.where(*here, messages.c.identity_key.in_(wanted.keys)))
        found += [(bytes(key), message_id, bytes(sealed)) for key, message_id, sealed in rows]
    if wanted.header_keys:
        query = select(messages.c.header_key, messages.c.message_id, messages.c.sealed)
        rows = conn.execute(query.where(*here, messages.c.header_key.in_(wanted.header_keys)))
        found += [(by_header(bytes(key)), message_id, bytes(sealed)) for key, message_id, sealed in rows]
    return found


def insert_messages(conn: Connection, account_id: UUID, new: Sequence[NewMessage]) -> None:
    """Write messages with all that hangs on them. Uniqueness of `identity_key` is the database's to keep."""
    if not new:
        return
    at = now(conn)
    conn.execute(_INSERT_MESSAGES, [_message_row(account_id, one, at) for one in new])
    insert_chunks(conn, account_id, [(one.message_id, one.mailbox_id, one.raw) for one in new])
    parts = [row for one in new for row in _part_rows(account_id, one.message_id, one.mailbox_id, one.attachments)]
    if parts:
        conn.execute(_INSERT_ATTACHMENTS, parts)
    known_by = [(one.mailbox_id, key, one.message_id) for one in new for key in dict.fromkeys(one.thread_keys)]
    insert_thread_keys(conn, account_id, known_by)


def insert_attachments(
    conn: Connection, account_id: UUID, message_id: UUID, mailbox_id: UUID, parts: Sequence[NewAttachment]
) -> None:
    """Write the attachments of a message that has none."""
    if parts:
        conn.execute(_INSERT_ATTACHMENTS, list(_part_rows(account_id, message_id, mailbox_id, parts)))


def insert_chunks(conn: Connection, account_id: UUID, raws: Sequence[tuple[UUID, UUID, Raw]]) -> None:
    """Write the chunks of raw messages, each with the id of its owner and its mailbox."""
    rows = [
        {
            "account_id": account_id,
            "owner_id": owner_id,
            "position": position,
            "mailbox_id": mailbox_id,
            "sealed": sealed,
        }
        for owner_id, mailbox_id, raw in raws
        for position, sealed in enumerate(raw.sealed)
    ]
    if rows:
        conn.execute(_INSERT_CHUNKS, rows)


def replace_record(conn: Connection, account_id: UUID, message_id: UUID, sealed: bytes) -> None:
    """Write a message's record anew. The caller holds the mailbox, or what another writes is lost."""
    same = messages.c.account_id == account_id, messages.c.message_id == message_id
    conn.execute(update(messages).where(*same).values(sealed=sealed))


def newest_received(
    conn: Connection, account_id: UUID, ticket_id: UUID, *, before: UUID | None, limit: int
) -> list[tuple[UUID, bytes]]:
    """Return id and sealed record of the newest `limit` received messages of a ticket, newest first: of all, or of
    those `before` one."""
    query = select(messages.c.message_id, messages.c.sealed).where(
        messages.c.account_id == account_id, messages.c.ticket_id == ticket_id, messages.c.direction == "in"
    )
    if before is not None:
        query = query.where(messages.c.message_id < before)
    rows = conn.execute(query.order_by(messages.c.message_id.desc()).limit(limit))
    return [(message_id, bytes(sealed)) for message_id, sealed in rows]


def recently_received(conn: Connection, account_id: UUID, ticket_id: UUID, limit: int) -> list[tuple[datetime, bool]]:
    """Return when the newest `limit` received messages of a ticket came in, newest first, and which are muted.

    Those that a merge brought are no part of it: they were counted where they came in.
    """
    rows = conn.execute(_RECENTLY_RECEIVED, {"account": account_id, "ticket": ticket_id, "most": limit})
    return [(received_at, muted) for received_at, muted in rows]


def get_message(conn: Connection, account_id: UUID, message_id: UUID) -> Message:
    """Raises NotFound, also while its mailbox is being forgotten."""
    row = conn.execute(_GET_MESSAGE, {"of_account": account_id, "of_message": message_id}).one_or_none()
    if row is None:
        raise NotFound(f"no message {message_id}")
    return Message(*row)


def list_chunks(conn: Connection, account_id: UUID, owner_ids: Sequence[UUID]) -> dict[UUID, list[bytes]]:
    """Return the sealed chunks of those raw messages that lie in rows, in their order."""
    found: dict[UUID, list[bytes]] = {}
    for owner_id, sealed in conn.execute(_LIST_CHUNKS, {"of_account": account_id, "of_owners": owner_ids}):
        found.setdefault(owner_id, []).append(bytes(sealed))
    return found


def list_messages(
    conn: Connection, account_id: UUID, ticket_id: UUID, *, after: Message | None = None, limit: int = 1000
) -> list[Message]:
    """Return up to `limit` of a ticket's messages, those behind the message `after`, in the order in which they came.

    What is older than the link of its mailbox was imported in whatever order, so its own date counts. What came
    later has the order of commits: server's clocks are not ours, and know whole seconds only.
    """
    place: dict[str, Any] = {"of_account": account_id, "of_ticket": ticket_id, "most": limit}
    if after is None:
        return [Message(*row) for row in conn.execute(_LIST_MESSAGES, place)]
    place |= {"after_at": after.received_at, "after_id": after.message_id}
    return [Message(*row) for row in conn.execute(_LIST_MESSAGES_AFTER, place)]


def list_attachments(
    conn: Connection, account_id: UUID, message_ids: Collection[UUID]
) -> Mapping[UUID, list[AttachmentRow]]:
    """Return the attachments of messages, by message, in their order."""
    rows = conn.execute(
        select(
            attachments.c.message_id,
            attachments.c.attachment_id,
            attachments.c.position,
            attachments.c.size_bytes,
            attachments.c.sealed,
        )
        .select_from(
            attachments.join(
                mailboxes,
                and_(
                    mailboxes.c.account_id == attachments.c.account_id,
                    mailboxes.c.mailbox_id == attachments.c.mailbox_id,
                ),
            )
        )
        .where(
            attachments.c.account_id == account_id,
            attachments.c.message_id.in_(message_ids),
            readable(account_id),
        )
        .order_by(attachments.c.message_id, attachments.c.position)
    )
    found: dict[UUID, list[AttachmentRow]] = {}
    for message_id, *row in rows:
        found.setdefault(message_id, []).append(AttachmentRow(*row))
    return found


def get_chunks(
    conn: Connection,
    account_id: UUID,
    owner_id: UUID,
    *,
    first: int = 0,
    last: int | None = None,
) -> list[bytes]:
    """Return the sealed chunks `first` to `last` (to the end where None) of a raw message that lies in rows."""
    query = _GET_CHUNKS if last is None else _GET_CHUNKS_TO
    place = {"of_account": account_id, "of_owner": owner_id, "first": first, "last": last}
    return [bytes(sealed) for (sealed,) in conn.execute(query, place)]


def owning_blobs(conn: Connection, owners: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """Return those of the accounts' rows, messages or in quarantine, whose bytes lie in the blob store."""
    found: set[UUID] = set()
    by_account: dict[UUID, list[UUID]] = {}
    for account_id, owner_id in owners:
        by_account.setdefault(account_id, []).append(owner_id)
    for account_id, owner_ids in by_account.items():
        for table, id_column in ((messages, messages.c.message_id), (quarantine, quarantine.c.quarantine_id)):
            mine = table.c.account_id == account_id, id_column.in_(owner_ids), table.c.raw_place == BLOB
            found.update(conn.execute(select(id_column).where(*mine)).scalars())
    return found


# Built once: building them takes several times as long as running them.
_INSERT_MESSAGES, _INSERT_ATTACHMENTS, _INSERT_CHUNKS = insert(messages), insert(attachments), insert(raw_chunks)
_SAME_MESSAGE = and_(messages.c.account_id == bindparam("of_account"), messages.c.message_id == bindparam("of_message"))
_GET_MESSAGE = select(*_COLUMNS).select_from(_READABLE).where(_SAME_MESSAGE, is_readable())
_LINKED_AT = mailboxes.c.created_at
_CAME_AT = case((messages.c.received_at < _LINKED_AT, messages.c.received_at), else_=_LINKED_AT)
_AFTER_AT = bindparam("after_at", type_=Instant)
_LIST_MESSAGES = (
    select(*_COLUMNS)
    .select_from(_READABLE)
    .where(
        messages.c.account_id == bindparam("of_account"), messages.c.ticket_id == bindparam("of_ticket"), is_readable()
    )
    .order_by(_CAME_AT, messages.c.message_id)
    .limit(bindparam("most", type_=Integer))
)
_LIST_MESSAGES_AFTER = _LIST_MESSAGES.where(
    tuple_(_CAME_AT, messages.c.message_id)
    > tuple_(case((_AFTER_AT < _LINKED_AT, _AFTER_AT), else_=_LINKED_AT), bindparam("after_id", type_=Id))
)
_GET_CHUNKS = (
    select(raw_chunks.c.sealed)
    .where(
        raw_chunks.c.account_id == bindparam("of_account"),
        raw_chunks.c.owner_id == bindparam("of_owner"),
        raw_chunks.c.position >= bindparam("first"),
    )
    .order_by(raw_chunks.c.position)
)
_LIST_CHUNKS = (
    select(raw_chunks.c.owner_id, raw_chunks.c.sealed)
    .where(
        raw_chunks.c.account_id == bindparam("of_account"),
        raw_chunks.c.owner_id.in_(bindparam("of_owners", expanding=True)),
    )
    .order_by(raw_chunks.c.owner_id, raw_chunks.c.position)
)
_GET_CHUNKS_TO = _GET_CHUNKS.where(raw_chunks.c.position <= bindparam("last"))


def _part_rows(
    account_id: UUID, message_id: UUID, mailbox_id: UUID, parts: Sequence[NewAttachment]
) -> Iterator[dict[str, Any]]:
    for position, part in enumerate(parts):
        yield {
            "account_id": account_id,
            "attachment_id": part.attachment_id,
            "mailbox_id": mailbox_id,
            "message_id": message_id,
            "position": position,
            "size_bytes": part.size_bytes,
            "sealed": part.sealed,
        }


def _message_row(account_id: UUID, one: NewMessage, at: datetime) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "message_id": one.message_id,
        "mailbox_id": one.mailbox_id,
        "ticket_id": one.ticket_id,
        "direction": one.direction,
        "kind": one.kind,
        "identity_key": one.identity_key,
        "header_key": one.header_key,
        "received_at": one.received_at,
        "created_at": at,
        "size_bytes": one.raw.size_bytes,
        "chunks": one.raw.chunks,
        "raw_place": one.raw.place,
        "muted": one.muted,
        "altered": one.altered,
        "sealed": one.sealed,
    }
