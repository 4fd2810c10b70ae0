"""How the mailboxes' providers are made to tell of news: the subscriptions of Microsoft Graph."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0007"
down_revision = "content_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pushes",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("renew_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", name=op.f("pk_pushes")),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_pushes_mailboxes"),
        ),
        comment="the subscription by which a provider tells of news in a mailbox, and what was told and not looked at",
    )
    op.create_index(op.f("ix_pushes_due_at"), "pushes", ["due_at"])
