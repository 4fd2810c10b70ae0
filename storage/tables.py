"""The tables of the content database.

`account_id` is in every table that holds an account's data and leads every key.
Columns named `sealed` hold one sealed, versioned record (see `storage.records`);
`*_key` columns hold keyed hashes. Everything else is plain, so that it can be
filtered and sorted by: ids, times, sizes, statuses and counts, nothing personal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from storage.types import Id, Instant

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

store_meta = Table(
    "store_meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="facts about this database: its id, its epoch, the key store's ledger position it knows",
)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", Id, primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("heartbeat_at", Instant, nullable=False),
    # 0: it takes no more, and gives back what it still holds; so what it holds may be more.
    Column("mailboxes_max", Integer, nullable=False, server_default="5000"),
    comment="the leases: one row a worker process, alive while its heartbeat is young",
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("status", Text, nullable=False),
    Column("status_since", Instant),
    Column("held_since", Instant),
    Column("solved_days", Integer),
    Column("location", Text),
    Column("mask_cards", Boolean, nullable=False, server_default=false()),
    Column("created_at", Instant, nullable=False),
    Column("next_ticket_number", BigInteger, nullable=False),
    Column("next_event_sequence", BigInteger, nullable=False),
    Column("events_gone_to", BigInteger, nullable=False, server_default="0"),
    Column("sealed", LargeBinary, nullable=False),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("trouble", Text),
    Column("reason", Text),
    Column("state_since", Instant, nullable=False),
    Column("resumes_as", Text),
    Column("retry_at", Instant),
    Column("send_trouble", Text),
    Column("send_reason", Text),
    Column("send_since", Instant),
    Column("send_retry_at", Instant),
    Column("fence", BigInteger, nullable=False),
    Column("worker_id", Id),
    Column("cursor_sequence", BigInteger, nullable=False),
    Column("cursor_sealed", LargeBinary),
    Column("folders_sealed", LargeBinary),
    Column("folders_missing", Integer, nullable=False, server_default="0"),
    Column("folders_missing_since", Instant),
    Column("start_from", Text, nullable=False),
    Column("start_days", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("read_at", Instant),
    Column("read_way", Text),
    Column("sent_found", Integer, nullable=False),
    Column("sent_appended", Integer, nullable=False),
    Column("sent_rewritten", Integer, nullable=False, server_default="0"),
    Column("audited_at", Instant),
    Column("unaccounted", Integer, nullable=False, server_default="0"),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    UniqueConstraint("mailbox_id"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    Index(None, "worker_id", "state"),
    Index(None, "account_id", "state"),
)

grants = Table(
    "grants",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("refreshed_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("renewing_until", Instant),
    Column("scopes", Text),
    Column("refresh_ends_at", Instant),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    comment="the OAuth tokens of a mailbox",
)

access_warnings = Table(
    "access_warnings",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("risk", Text, nullable=False),
    Column("since", Instant, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id", "risk"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    comment="what will end the access to a mailbox, and was told; gone once it is cured",
)

pushes = Table(
    "pushes",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("told", Text),
    Column("due_at", Instant, nullable=False),
    Column("renew_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("failures", Integer, nullable=False),
    Column("sealed", LargeBinary),
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    Index(None, "due_at"),
    comment="the subscription by which a provider tells of news in a mailbox, and what was told and not looked at",
)

link_flows = Table(
    "link_flows",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("flow_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("provider", Text, nullable=False),
    Column("relink", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("state_hash", LargeBinary, nullable=False),
    Column("browser_hash", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "flow_id"),
    UniqueConstraint("state_hash"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    comment="authorization requests under way, each with a one-use state",
)

tickets = Table(
    "tickets",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("ticket_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("requester_key", LargeBinary, nullable=False),
    Column("suspected_ticket_id", Id),
    Column("follows_ticket_id", Id),
    Column("merged_into_id", Id),
    Column("closed_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "ticket_id"),
    UniqueConstraint("account_id", "number"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    Index(None, "account_id", "mailbox_id", "requester_key", "number"),
    Index(None, "account_id", "follows_ticket_id"),
    Index(None, "account_id", "merged_into_id"),
    # What `ticket_lists` walks. Each ends with the mailbox, so that the rows of one that is being forgotten are
    # passed over without reading them.
    Index(None, "account_id", "status", "number", "mailbox_id"),
    Index(None, "account_id", "status", "updated_at", "number", "mailbox_id"),
    Index(None, "account_id", "mailbox_id", "status", "number"),
    Index(None, "account_id", "mailbox_id", "status", "updated_at", "number"),
    # PostgreSQL would cut the name that it had otherwise.
    Index("ix_tickets_requester_updated_at", "account_id", "mailbox_id", "requester_key", "updated_at", "number"),
    Index(None, "account_id", "created_at", "number"),
)

participants = Table(
    "participants",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("ticket_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("address_key", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "ticket_id", "address_key"),
    ForeignKeyConstraint(
        ["account_id", "ticket_id"],
        ["tickets.account_id", "tickets.ticket_id"],
        deferrable=True,
        initially="DEFERRED",
    ),
    Index(None, "account_id", "mailbox_id"),
    comment="who has standing on a ticket: its requester and those an agent wrote to",
)

messages = Table(
    "messages",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("ticket_id", Id, nullable=False),
    Column("direction", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("identity_key", LargeBinary, nullable=False),
    Column("header_key", LargeBinary),
    Column("received_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("raw_place", Text, nullable=False),
    Column("muted", Boolean, nullable=False, server_default=false()),
    Column("altered", Boolean, nullable=False, server_default=false()),
    Column("merged_from_id", Id),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "message_id"),
    UniqueConstraint("account_id", "mailbox_id", "identity_key"),
    ForeignKeyConstraint(
        ["account_id", "ticket_id"],
        ["tickets.account_id", "tickets.ticket_id"],
        # A ticket's number is drawn last in its transaction, after its messages were written.
        deferrable=True,
        initially="DEFERRED",
    ),
    Index(None, "account_id", "ticket_id", "message_id"),
    Index(None, "account_id", "mailbox_id", "header_key"),
)

thread_keys = Table(
    "thread_keys",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("thread_key", LargeBinary, nullable=False),
    Column("message_id", Id, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id", "thread_key", "message_id"),
    ForeignKeyConstraint(["account_id", "message_id"], ["messages.account_id", "messages.message_id"]),
    Index(None, "account_id", "message_id"),
    comment="the Message-IDs a message is known by in its mailbox, as keyed hashes",
)

attachments = Table(
    "attachments",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("attachment_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "attachment_id"),
    UniqueConstraint("account_id", "message_id", "position"),
    ForeignKeyConstraint(["account_id", "message_id"], ["messages.account_id", "messages.message_id"]),
    Index(None, "account_id", "mailbox_id"),
)

raw_chunks = Table(
    "raw_chunks",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "owner_id", "position"),
    Index(None, "account_id", "mailbox_id"),
    comment="raw messages, compressed and sealed in independent chunks; owner is a message or a quarantine row",
)

_HELD = text("status = 'held'")

quarantine = Table(
    "quarantine",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("quarantine_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("identity_key", LargeBinary, nullable=False),
    Column("header_key", LargeBinary),
    Column("status", Text, nullable=False, server_default="held"),
    Column("reason", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("raw_place", Text, nullable=False),
    Column("replays", Integer, nullable=False, server_default="0"),
    Column("replayed_at", Instant),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "quarantine_id"),
    UniqueConstraint("account_id", "mailbox_id", "identity_key"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    Index(None, "account_id", "mailbox_id", "header_key"),
    Index("ix_quarantine_held", "account_id", "quarantine_id", sqlite_where=_HELD, postgresql_where=_HELD),
    comment="messages that could not be understood, with their bytes",
)

_OPEN = text("due_at IS NOT NULL OR status = 'unknown'")
"""A reply with which something is still to happen; `outbox.OPEN` says the same, word for word."""

outbox = Table(
    "outbox",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_since", Instant, nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant),
    Column("send_at", Instant),
    Column("sent_at", Instant),
    Column("sent_copy", Text, nullable=False),
    Column("sent_copy_attempts", Integer, nullable=False),
    Column("automatic", Boolean, nullable=False, server_default=false()),
    Column("epoch", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "message_id"),
    ForeignKeyConstraint(["account_id", "message_id"], ["messages.account_id", "messages.message_id"]),
    Index(None, "account_id", "mailbox_id", "due_at"),
    # What the lists of the API are filtered and sorted by.
    Index(None, "account_id", "status", "message_id"),
    # Of all accounts, and of the few alone that are not over.
    Index("ix_outbox_open", "status", sqlite_where=_OPEN, postgresql_where=_OPEN),
    comment="replies and where each stands",
)

attempts = Table(
    "attempts",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("number", Integer, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("worker_id", Id, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("outcome", Text),
    Column("stage", Text),
    Column("code", Integer),
    Column("enhanced_code", Text),
    PrimaryKeyConstraint("account_id", "message_id", "number"),
    ForeignKeyConstraint(["account_id", "message_id"], ["outbox.account_id", "outbox.message_id"]),
    Index(None, "account_id", "mailbox_id", "started_at"),
    comment="every attempt to send a reply: when, by whom, the server's answer",
)

reply_recipients = Table(
    "reply_recipients",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("address_key", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_since", Instant, nullable=False),
    Column("code", Integer),
    Column("enhanced_code", Text),
    PrimaryKeyConstraint("account_id", "message_id", "position"),
    ForeignKeyConstraint(["account_id", "message_id"], ["outbox.account_id", "outbox.message_id"]),
    Index(None, "account_id", "mailbox_id", "address_key", "status_since"),
    comment="each recipient of a reply, by its place in the sealed list, and where the reply stands for it",
)

edits = Table(
    "edits",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("edit_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("kind", Text, nullable=False),
    Column("cause", Text, nullable=False, server_default="import"),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "edit_id"),
    ForeignKeyConstraint(["account_id", "message_id"], ["messages.account_id", "messages.message_id"]),
    Index(None, "account_id", "mailbox_id", "due_at"),
    Index(None, "account_id", "message_id"),
    comment="what is still to be done in the mailbox itself; a row goes when it is done",
)

backfills = Table(
    "backfills",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("status", Text, nullable=False),
    Column("since", Instant),
    Column("before", Instant, nullable=False),
    Column("newest_first", Boolean, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("total", BigInteger),
    Column("reading_seconds", Double, nullable=False),
    Column("cursor_sequence", BigInteger, nullable=False),
    Column("cursor_sealed", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("began_at", Instant),
    Column("ended_at", Instant),
    Column("trouble", Text),
    Column("retry_at", Instant),
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    comment="the reading of the mail that was there before a mailbox was linked, and how far it has come",
)

reference_keys = Table(
    "reference_keys",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("reference_key", LargeBinary, nullable=False),
    Column("message_id", Id, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id", "reference_key", "message_id"),
    ForeignKeyConstraint(["account_id", "message_id"], ["messages.account_id", "messages.message_id"]),
    Index(None, "account_id", "message_id"),
    comment="during a backfill: Message-IDs that messages name as their ancestors, for ancestors that come later",
)

events = Table(
    "events",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("mailbox_id", Id),
    Column("ticket_id", Id),
    Column("message_id", Id),
    Column("detail", Text),
    PrimaryKeyConstraint("account_id", "sequence"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    Index(None, "account_id", "mailbox_id"),
    Index(None, "account_id", "at"),
    comment="what happened, in the order of commits; ids only, never content",
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("request_key", LargeBinary, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("account_id", "request_key"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    Index(None, "account_id", "mailbox_id"),
    Index(None, "created_at"),
    comment="requests already answered, as hashes, for 24 h",
)

requests = Table(
    "requests",
    metadata,
    Column("account_id", Id),
    Column("request_key", LargeBinary, primary_key=True),
    Column("mailbox_id", Id),
    Column("request_hash", LargeBinary, nullable=False),
    Column("resource", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    Index(None, "account_id", "mailbox_id"),
    Index(None, "created_at"),
    comment="writes that the API has done already, as hashes, for 24 h; those of replies are in `idempotency`; "
    "without an account they are the operator's",
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", Id, primary_key=True),
    Column("account_id", Id),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("label", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("used_at", Instant),
    Column("revoked_at", Instant),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    Index(None, "account_id"),
    comment="what opens the API, as hashes; without an account it is the operator's",
)

uploads = Table(
    "uploads",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("upload_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "upload_id"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    Index(None, "account_id", "mailbox_id"),
    Index(None, "expires_at"),
    comment="files that wait for the reply they belong to, for 24 h",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("webhook_id", Id, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("status_since", Instant, nullable=False),
    Column("failing_since", Instant),
    Column("types", Text, nullable=False),
    Column("content", Boolean, nullable=False),
    Column("cursor_sequence", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("worker_id", Id),
    Column("held_until", Instant),
    Column("created_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "webhook_id"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    Index(None, "worker_id"),
    comment="where events are delivered to; address and secrets are sealed under the account's key",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("webhook_id", Id, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("mailbox_id", Id),
    Column("ticket_id", Id),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant),
    Column("attempted_at", Instant),
    Column("code", Integer),
    Column("reason", Text),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("account_id", "webhook_id", "sequence"),
    ForeignKeyConstraint(["account_id", "webhook_id"], ["webhooks.account_id", "webhooks.webhook_id"]),
    Index(None, "account_id", "webhook_id", "status", "sequence"),
    Index(None, "account_id", "mailbox_id"),
    comment="each event that a webhook is told, and how that went",
)

_UNFINISHED = text("step <> 'done'")

erasures = Table(
    "erasures",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("step", Text, nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("step_at", Instant, nullable=False),
    Column("counts", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    # The account's own row, when it is being closed, has its id as `mailbox_id`.
    Index("ix_erasures_unfinished", "requested_at", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),
    Index(None, "step_at"),
    comment="how far a disconnect has come; what stays is a tombstone without personal data",
)

forgotten_messages = Table(
    "forgotten_messages",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("identity_key", LargeBinary, nullable=False),
    Column("header_key", LargeBinary),
    PrimaryKeyConstraint("account_id", "mailbox_id", "identity_key"),
    ForeignKeyConstraint(["account_id", "mailbox_id"], ["mailboxes.account_id", "mailboxes.mailbox_id"]),
    Index(None, "account_id", "mailbox_id", "header_key"),
    comment="messages that were deleted and are not taken in again, as the keyed hashes they would be known by",
)

erasure_warnings = Table(
    "erasure_warnings",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("days", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("account_id", "days"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    comment="of which days before its erasure a suspended account was told; gone once it is resumed or held",
)

person_erasures = Table(
    "person_erasures",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("erasure_id", Id, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("step", Text, nullable=False),
    Column("address_key", LargeBinary, nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("step_at", Instant, nullable=False),
    Column("until_id", Id, nullable=False),
    Column("after_id", Id),
    Column("checked", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    Column("sealed", LargeBinary),
    PrimaryKeyConstraint("account_id", "erasure_id"),
    ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
    comment="how far the erasure of a person has come; what stays of a finished one is a keyed hash of the address",
)

MAILBOX_TABLES = (
    # In the order in which rows can be deleted without breaking a reference.
    attempts,
    reply_recipients,
    outbox,
    edits,
    backfills,
    idempotency,
    requests,
    uploads,
    deliveries,
    thread_keys,
    reference_keys,
    attachments,
    raw_chunks,
    quarantine,
    forgotten_messages,
    participants,
    messages,
    tickets,
    link_flows,
    events,
    access_warnings,
    pushes,
    grants,
)
"""Every table with rows of a mailbox, but for `mailboxes` itself and `erasures`."""

ACCOUNT_TABLES = (
    # In such an order, too.
    deliveries,
    webhooks,
    tokens,
    uploads,
    link_flows,
    idempotency,
    requests,
    events,
    erasure_warnings,
    person_erasures,
)
"""Every table with rows of an account that are of none of its mailboxes, but for `accounts` itself and `erasures`."""
