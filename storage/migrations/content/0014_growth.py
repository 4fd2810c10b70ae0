"""Indexes for what is looked at every few seconds, however much the database holds."""

import sqlalchemy as sa
from alembic import op

revision = "content_0014"
down_revision = "content_0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_mailboxes_worker_id", table_name="mailboxes")
    op.create_index("ix_mailboxes_worker_id_state", "mailboxes", ["worker_id", "state"])
    op.create_index("ix_mailboxes_account_id_state", "mailboxes", ["account_id", "state"])
    op.create_index("ix_webhooks_worker_id", "webhooks", ["worker_id"])
    op.create_index(
        "ix_quarantine_account_id_mailbox_id_header_key", "quarantine", ["account_id", "mailbox_id", "header_key"]
    )
    op.create_index("ix_erasures_step_at", "erasures", ["step_at"])
    for name, table, columns, condition in (
        ("ix_outbox_open", "outbox", ["status"], "due_at IS NOT NULL OR status = 'unknown'"),
        ("ix_quarantine_held", "quarantine", ["account_id", "quarantine_id"], "status = 'held'"),
        ("ix_erasures_unfinished", "erasures", ["requested_at"], "step <> 'done'"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
