"""How many mailboxes a process can take, so that the processes can divide them."""

import sqlalchemy as sa
from alembic import op

revision = "content_0013"
down_revision = "content_0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The default is for processes of the release before, which do not say it.
    op.add_column("workers", sa.Column("mailboxes_max", sa.Integer(), nullable=False, server_default="5000"))
