"""The first schema."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "keystore_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "keystore_meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_keystore_meta")),
    )
    op.create_table(
        "ledger",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("owner_id", Id(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_ledger"),
        comment="the erasure ledger: a chain of hashes, without personal data",
    )
    op.create_table(
        "revocations",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", name=op.f("pk_revocations")),
        comment="refresh tokens kept for at most 24 h, only to revoke the grants of disconnected mailboxes",
    )
    op.create_table(
        "wrapped_keys",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("owner_id", Id(), nullable=False),
        sa.Column("master_key_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "owner_id", name=op.f("pk_wrapped_keys")),
        comment="the data keys, wrapped by the master key; owner is a mailbox, or the account itself",
    )
