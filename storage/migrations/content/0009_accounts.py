"""Accounts that are suspended or closed, the warnings before an erasure, and how long solved tickets are kept."""

import sqlalchemy as sa
from alembic import op

from storage.types import Instant

revision = "content_0009"
down_revision = "content_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null for an account that has never been anything but active.
    op.add_column("accounts", sa.Column("status_since", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("resumes_as", sa.Text(), nullable=True))
