"""The erasure of a person's data within an account."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0010"
down_revision = "content_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "person_erasures",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("erasure_id", Id(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("address_key", sa.LargeBinary(), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("step_at", Instant(), nullable=False),
        sa.Column("until_id", Id(), nullable=False),
        sa.Column("after_id", Id(), nullable=True),
        sa.Column("checked", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "erasure_id", name=op.f("pk_person_erasures")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_person_erasures_accounts")),
        comment="how far the erasure of a person has come; what stays of a finished one is a keyed hash of the address",
    )
