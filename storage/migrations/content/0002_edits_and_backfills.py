"""Edits in the mailbox, backfills, replays of the quarantine, folders, and when a failing mailbox is tried again."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0002"
down_revision = "content_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column("grants", sa.Column("renewing_until", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("retry_at", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("send_trouble", sa.Text(), nullable=True))
    op.add_column("mailboxes", sa.Column("send_reason", sa.Text(), nullable=True))
    op.add_column("mailboxes", sa.Column("send_since", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("send_retry_at", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("folders_sealed", sa.LargeBinary(), nullable=True))
    op.add_column("mailboxes", sa.Column("folders_missing", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("mailboxes", sa.Column("folders_missing_since", Instant(), nullable=True))
    op.add_column("messages", sa.Column("header_key", sa.LargeBinary(), nullable=True))
    op.create_index(
        op.f("ix_messages_account_id_mailbox_id_header_key"), "messages", ["account_id", "mailbox_id", "header_key"]
    )
    op.add_column("quarantine", sa.Column("header_key", sa.LargeBinary(), nullable=True))
    op.add_column("quarantine", sa.Column("status", sa.Text(), nullable=False, server_default="held"))
    op.add_column("quarantine", sa.Column("replays", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("quarantine", sa.Column("replayed_at", Instant(), nullable=True))
    op.create_table(
        "edits",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("edit_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "edit_id", name=op.f("pk_edits")),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["messages.account_id", "messages.message_id"],
            name=op.f("fk_edits_messages"),
        ),
        comment="what is still to be done in the mailbox itself; a row goes when it is done",
    )
    op.create_index(op.f("ix_edits_account_id_mailbox_id_due_at"), "edits", ["account_id", "mailbox_id", "due_at"])
    op.create_index(op.f("ix_edits_account_id_message_id"), "edits", ["account_id", "message_id"])
    op.create_table(
        "backfills",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("since", Instant(), nullable=True),
        sa.Column("before", Instant(), nullable=False),
        sa.Column("newest_first", sa.Boolean(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("reading_seconds", sa.Double(), nullable=False),
        sa.Column("cursor_sequence", sa.BigInteger(), nullable=False),
        sa.Column("cursor_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("began_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("retry_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", name=op.f("pk_backfills")),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_backfills_mailboxes"),
        ),
        comment="the reading of the mail that was there before a mailbox was linked, and how far it has come",
    )
    op.create_table(
        "reference_keys",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("reference_key", sa.LargeBinary(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account_id", "mailbox_id", "reference_key", "message_id", name=op.f("pk_reference_keys")
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["messages.account_id", "messages.message_id"],
            name=op.f("fk_reference_keys_messages"),
        ),
        comment="during a backfill: Message-IDs that messages name as their ancestors, for ancestors that come later",
    )
    op.create_index(op.f("ix_reference_keys_account_id_message_id"), "reference_keys", ["account_id", "message_id"])
