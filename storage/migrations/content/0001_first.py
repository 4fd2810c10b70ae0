"""The first schema."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "accounts",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("next_ticket_number", sa.BigInteger(), nullable=False),
        sa.Column("next_event_sequence", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "raw_chunks",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("owner_id", Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "owner_id", "position", name=op.f("pk_raw_chunks")),
        comment="raw messages, compressed and sealed in independent chunks; owner is a message or a quarantine row",
    )
    op.create_index(
        op.f("ix_raw_chunks_account_id_mailbox_id"),
        "raw_chunks",
        ["account_id", "mailbox_id"],
        unique=False,
    )
    op.create_table(
        "store_meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_store_meta")),
        comment="facts about this database: its id, its epoch, the key store's ledger position it knows",
    )
    op.create_table(
        "workers",
        sa.Column("worker_id", Id(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_workers")),
        comment="the leases: one row a worker process, alive while its heartbeat is young",
    )
    op.create_table(
        "erasures",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("step_at", Instant(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_erasures_accounts")),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", name=op.f("pk_erasures")),
        comment="how far a disconnect has come; what stays is a tombstone without personal data",
    )
    op.create_table(
        "events",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=True),
        sa.Column("ticket_id", Id(), nullable=True),
        sa.Column("message_id", Id(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_events_accounts")),
        sa.PrimaryKeyConstraint("account_id", "sequence", name=op.f("pk_events")),
        comment="what happened, in the order of commits; ids only, never content",
    )
    op.create_index(
        op.f("ix_events_account_id_mailbox_id"),
        "events",
        ["account_id", "mailbox_id"],
        unique=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("request_key", sa.LargeBinary(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.account_id"],
            name=op.f("fk_idempotency_accounts"),
        ),
        sa.PrimaryKeyConstraint("account_id", "request_key", name=op.f("pk_idempotency")),
        comment="requests already answered, as hashes, for 24 h",
    )
    op.create_index(
        op.f("ix_idempotency_account_id_mailbox_id"),
        "idempotency",
        ["account_id", "mailbox_id"],
        unique=False,
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], unique=False)
    op.create_table(
        "link_flows",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("flow_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("relink", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_link_flows_accounts")),
        sa.PrimaryKeyConstraint("account_id", "flow_id", name=op.f("pk_link_flows")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_link_flows_state_hash")),
        comment="authorization requests under way, each with a one-use state",
    )
    op.create_table(
        "mailboxes",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state_since", Instant(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", Id(), nullable=True),
        sa.Column("cursor_sequence", sa.BigInteger(), nullable=False),
        sa.Column("cursor_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("start_from", sa.Text(), nullable=False),
        sa.Column("start_days", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("read_at", Instant(), nullable=True),
        sa.Column("sent_found", sa.Integer(), nullable=False),
        sa.Column("sent_appended", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_mailboxes_accounts")),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", name=op.f("pk_mailboxes")),
        sa.UniqueConstraint("mailbox_id", name=op.f("uq_mailboxes_mailbox_id")),
    )
    op.create_index(op.f("ix_mailboxes_worker_id"), "mailboxes", ["worker_id"], unique=False)
    op.create_table(
        "grants",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("refreshed_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_grants_mailboxes"),
        ),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", name=op.f("pk_grants")),
        comment="the OAuth tokens of a mailbox",
    )
    op.create_table(
        "quarantine",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("quarantine_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("identity_key", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("raw_place", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_quarantine_mailboxes"),
        ),
        sa.PrimaryKeyConstraint("account_id", "quarantine_id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint(
            "account_id",
            "mailbox_id",
            "identity_key",
            name=op.f("uq_quarantine_account_id_mailbox_id_identity_key"),
        ),
        comment="messages that could not be understood, with their bytes",
    )
    op.create_table(
        "tickets",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("ticket_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("requester_key", sa.LargeBinary(), nullable=False),
        sa.Column("suspected_ticket_id", Id(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_tickets_mailboxes"),
        ),
        sa.PrimaryKeyConstraint("account_id", "ticket_id", name=op.f("pk_tickets")),
        sa.UniqueConstraint("account_id", "number", name=op.f("uq_tickets_account_id_number")),
    )
    op.create_index(
        op.f("ix_tickets_account_id_mailbox_id_number"),
        "tickets",
        ["account_id", "mailbox_id", "number"],
        unique=False,
    )
    op.create_table(
        "messages",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("ticket_id", Id(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("identity_key", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("raw_place", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "ticket_id"],
            ["tickets.account_id", "tickets.ticket_id"],
            name=op.f("fk_messages_tickets"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("account_id", "message_id", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "account_id",
            "mailbox_id",
            "identity_key",
            name=op.f("uq_messages_account_id_mailbox_id_identity_key"),
        ),
    )
    op.create_index(
        op.f("ix_messages_account_id_ticket_id_message_id"),
        "messages",
        ["account_id", "ticket_id", "message_id"],
        unique=False,
    )
    op.create_table(
        "participants",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("ticket_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("address_key", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "ticket_id"],
            ["tickets.account_id", "tickets.ticket_id"],
            name=op.f("fk_participants_tickets"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("account_id", "ticket_id", "address_key", name=op.f("pk_participants")),
        comment="who has standing on a ticket: its requester and those an agent wrote to",
    )
    op.create_index(
        op.f("ix_participants_account_id_mailbox_id"),
        "participants",
        ["account_id", "mailbox_id"],
        unique=False,
    )
    op.create_table(
        "attachments",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("attachment_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["messages.account_id", "messages.message_id"],
            name=op.f("fk_attachments_messages"),
        ),
        sa.PrimaryKeyConstraint("account_id", "attachment_id", name=op.f("pk_attachments")),
        sa.UniqueConstraint(
            "account_id",
            "message_id",
            "position",
            name=op.f("uq_attachments_account_id_message_id_position"),
        ),
    )
    op.create_index(
        op.f("ix_attachments_account_id_mailbox_id"),
        "attachments",
        ["account_id", "mailbox_id"],
        unique=False,
    )
    op.create_table(
        "outbox",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_since", Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.Column("sent_copy", sa.Text(), nullable=False),
        sa.Column("sent_copy_attempts", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["messages.account_id", "messages.message_id"],
            name=op.f("fk_outbox_messages"),
        ),
        sa.PrimaryKeyConstraint("account_id", "message_id", name=op.f("pk_outbox")),
        comment="replies and where each stands",
    )
    op.create_index(
        op.f("ix_outbox_account_id_mailbox_id_due_at"),
        "outbox",
        ["account_id", "mailbox_id", "due_at"],
        unique=False,
    )
    op.create_table(
        "thread_keys",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("thread_key", sa.LargeBinary(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["messages.account_id", "messages.message_id"],
            name=op.f("fk_thread_keys_messages"),
        ),
        sa.PrimaryKeyConstraint(
            "account_id",
            "mailbox_id",
            "thread_key",
            "message_id",
            name=op.f("pk_thread_keys"),
        ),
        comment="the Message-IDs a message is known by in its mailbox, as keyed hashes",
    )
    op.create_index(
        op.f("ix_thread_keys_account_id_message_id"),
        "thread_keys",
        ["account_id", "message_id"],
        unique=False,
    )
    op.create_table(
        "attempts",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("worker_id", Id(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["outbox.account_id", "outbox.message_id"],
            name=op.f("fk_attempts_outbox"),
        ),
        sa.PrimaryKeyConstraint("account_id", "message_id", "number", name=op.f("pk_attempts")),
        comment="every attempt to send a reply: when, by whom, the server's answer",
    )
    op.create_index(
        op.f("ix_attempts_account_id_mailbox_id"),
        "attempts",
        ["account_id", "mailbox_id"],
        unique=False,
    )
