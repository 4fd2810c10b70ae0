"""Accounts that are pinned to a location."""

import sqlalchemy as sa
from alembic import op

revision = "content_0011"
down_revision = "content_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("location", sa.Text(), nullable=True))
