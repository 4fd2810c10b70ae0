"""Accounts that are suspended or closed, the warnings before an erasure, and how long solved tickets are kept."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0008"
down_revision = "content_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null for an account that has never been anything but active.
    op.add_column("accounts", sa.Column("status_since", Instant(), nullable=True))
    op.add_column("accounts", sa.Column("held_since", Instant(), nullable=True))
    op.add_column("accounts", sa.Column("solved_days", sa.Integer(), nullable=True))
    op.add_column("mailboxes", sa.Column("resumes_as", sa.Text(), nullable=True))
    op.create_table(
        "erasure_warnings",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "days", name=op.f("pk_erasure_warnings")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_erasure_warnings_accounts")),
        comment="of which days before its erasure a suspended account was told; gone once it is resumed or held",
    )
    op.create_table(
        "forgotten_messages",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("identity_key", sa.LargeBinary(), nullable=False),
        sa.Column("header_key", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", "identity_key", name=op.f("pk_forgotten_messages")),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_forgotten_messages_mailboxes"),
        ),
        comment="messages that were deleted and are not taken in again, as the keyed hashes they would be known by",
    )
    op.create_index(
        op.f("ix_forgotten_messages_account_id_mailbox_id_header_key"),
        "forgotten_messages",
        ["account_id", "mailbox_id", "header_key"],
    )
