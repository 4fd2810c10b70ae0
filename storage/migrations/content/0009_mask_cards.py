"""Accounts whose mail comes in with its card numbers masked, and the messages that are not stored as they came."""

import sqlalchemy as sa
from alembic import op

revision = "content_0009"
down_revision = "content_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("mask_cards", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("messages", sa.Column("altered", sa.Boolean(), nullable=False, server_default=sa.false()))
