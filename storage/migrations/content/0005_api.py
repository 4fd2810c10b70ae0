"""What the HTTP API needs: tokens, requests done already, uploads, webhooks and their deliveries; merged tickets."""

import sqlalchemy as sa
from alembic import op

from storage.types import Id, Instant

revision = "content_0005"
down_revision = "content_0004"
branch_labels = None
depends_on = None

_LISTED = (
    ["account_id", "merged_into_id"],
    ["account_id", "status", "number", "mailbox_id"],
    ["account_id", "status", "updated_at", "number", "mailbox_id"],
    ["account_id", "mailbox_id", "status", "number"],
    ["account_id", "mailbox_id", "status", "updated_at", "number"],
    ["account_id", "created_at", "number"],
)


def upgrade() -> None:

    op.add_column("accounts", sa.Column("events_gone_to", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("tickets", sa.Column("merged_into_id", Id(), nullable=True))
    op.add_column("messages", sa.Column("merged_from_id", Id(), nullable=True))
    for columns in _LISTED:
        op.create_index(op.f("ix_tickets_" + "_".join(columns)), "tickets", columns)
    requester = ["account_id", "mailbox_id", "requester_key", "updated_at", "number"]
    op.create_index(op.f("ix_tickets_requester_updated_at"), "tickets", requester)
    # The lists go by status as well.
    op.drop_index(op.f("ix_tickets_account_id_mailbox_id_number"), "tickets")
    op.create_index(op.f("ix_events_account_id_at"), "events", ["account_id", "at"])
    listed = ["account_id", "status", "message_id"]
    op.create_index(op.f("ix_outbox_account_id_status_message_id"), "outbox", listed)
    _create_requests()
    _create_tokens()
    _create_uploads()
    _create_webhooks()
    _create_deliveries()


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("account_id", Id(), nullable=True),
        sa.Column("request_key", sa.LargeBinary(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=True),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("request_key", name=op.f("pk_requests")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_requests_accounts")),
        comment="writes that the API has done already, as hashes, for 24 h; those of replies are in `idempotency`; "
        "without an account they are the operator's",
    )
    op.create_index(op.f("ix_requests_account_id_mailbox_id"), "requests", ["account_id", "mailbox_id"])
    op.create_index(op.f("ix_requests_created_at"), "requests", ["created_at"])


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("token_id", Id(), nullable=False),
        sa.Column("account_id", Id(), nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("used_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_tokens_accounts")),
        comment="what opens the API, as hashes; without an account it is the operator's",
    )
    op.create_index(op.f("ix_tokens_account_id"), "tokens", ["account_id"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("upload_id", Id(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "upload_id", name=op.f("pk_uploads")),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailboxes.account_id", "mailboxes.mailbox_id"],
            name=op.f("fk_uploads_mailboxes"),
        ),
        comment="files that wait for the reply they belong to, for 24 h",
    )
    op.create_index(op.f("ix_uploads_account_id_mailbox_id"), "uploads", ["account_id", "mailbox_id"])
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"])


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("webhook_id", Id(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("status_since", Instant(), nullable=False),
        sa.Column("failing_since", Instant(), nullable=True),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("content", sa.Boolean(), nullable=False),
        sa.Column("cursor_sequence", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", Id(), nullable=True),
        sa.Column("held_until", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "webhook_id", name=op.f("pk_webhooks")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_webhooks_accounts")),
        comment="where events are delivered to; address and secrets are sealed under the account's key",
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("webhook_id", Id(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("mailbox_id", Id(), nullable=True),
        sa.Column("ticket_id", Id(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("attempted_at", Instant(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "webhook_id", "sequence", name=op.f("pk_deliveries")),
        sa.ForeignKeyConstraint(
            ["account_id", "webhook_id"],
            ["webhooks.account_id", "webhooks.webhook_id"],
            name=op.f("fk_deliveries_webhooks"),
        ),
        comment="each event that a webhook is told, and how that went",
    )
    op.create_index(
        op.f("ix_deliveries_account_id_webhook_id_status_sequence"),
        "deliveries",
        ["account_id", "webhook_id", "status", "sequence"],
    )
    op.create_index(op.f("ix_deliveries_account_id_mailbox_id"), "deliveries", ["account_id", "mailbox_id"])
