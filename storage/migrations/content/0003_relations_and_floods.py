"""Follow-ups of tickets that were closed long ago, and messages beyond a limit."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0003"
down_revision = "content_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column("tickets", sa.Column("follows_ticket_id", Id(), nullable=True))
    op.add_column("tickets", sa.Column("closed_at", Instant(), nullable=True))
    op.add_column("messages", sa.Column("muted", sa.Boolean(), nullable=False, server_default=sa.false()))
    # When it was closed is not known; its last change was not before.
    op.execute("UPDATE tickets SET closed_at = updated_at WHERE status = 'closed'")
    op.create_index(
        op.f("ix_tickets_account_id_mailbox_id_requester_key_number"),
        "tickets",
        ["account_id", "mailbox_id", "requester_key", "number"],
    )
    op.create_index(op.f("ix_tickets_account_id_follows_ticket_id"), "tickets", ["account_id", "follows_ticket_id"])
