"""What a mailbox's grant allows and how long, by which way it is read, and the warnings of what will end its access."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0006"
down_revision = "content_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null until the next refresh: what an older grant allows lies sealed.
    op.add_column("grants", sa.Column("scopes", sa.Text(), nullable=True))
    op.add_column("grants", sa.Column("refresh_ends_at", Instant(), nullable=True))
    # Null, too, for what was read before: then there was IMAP alone.
    op.add_column("mailboxes", sa.Column("read_way", sa.Text(), nullable=True))
    op.create_table(
        "access_warnings",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("risk", sa.Text(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", "risk", name=op.f("pk_access_warnings")),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_access_warnings_mailboxes"),
        ),
        comment="what will end the access to a mailbox, and was told; gone once it is cured",
    )
