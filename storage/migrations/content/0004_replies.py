"""Where a reply stands for each of its recipients, what is counted to keep within limits, why a mailbox is edited."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0004"
down_revision = "content_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column("outbox", sa.Column("automatic", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("outbox", sa.Column("send_at", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("sent_rewritten", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("edits", sa.Column("cause", sa.Text(), nullable=False, server_default="import"))
    op.create_table(
        "reply_recipients",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("message_id", Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("address_key", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_since", Instant(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "message_id", "position", name=op.f("pk_reply_recipients")),
        sa.ForeignKeyConstraint(
            ["account_id", "message_id"],
            ["outbox.account_id", "outbox.message_id"],
            name=op.f("fk_reply_recipients_outbox"),
        ),
        comment="each recipient of a reply, by its place in the sealed list, and where the reply stands for it",
    )
    op.create_index(
        op.f("ix_reply_recipients_account_id_mailbox_id_address_key_status_since"),
        "reply_recipients",
        ["account_id", "mailbox_id", "address_key", "status_since"],
    )
    # How many went out in the last minute or day is asked before each attempt.
    op.drop_index(op.f("ix_attempts_account_id_mailbox_id"), "attempts")
    op.create_index(
        op.f("ix_attempts_account_id_mailbox_id_started_at"), "attempts", ["account_id", "mailbox_id", "started_at"]
    )
