"""When a mailbox was last compared with its server, and how many messages there were not accounted for."""

import sqlalchemy as sa
from alembic import op

from storage.types import Instant

revision = "content_0012"
down_revision = "content_0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mailboxes", sa.Column("audited_at", Instant(), nullable=True))
    op.add_column("mailboxes", sa.Column("unaccounted", sa.Integer(), nullable=False, server_default="0"))
