"""The tables of the key store, a database of its own that is never backed up together with the content."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from storage.types import Id, Instant

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

keystore_meta = Table(
    "keystore_meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

wrapped_keys = Table(
    "wrapped_keys",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("master_key_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "owner_id"),
    comment="the data keys, wrapped by the master key; owner is a mailbox, or the account itself",
)

ledger = Table(
    "ledger",
    metadata,
    Column("sequence", BigInteger, nullable=False),
    Column("account_id", Id, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("entry", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("sequence", name="pk_ledger"),
    comment="the erasure ledger: a chain of hashes, without personal data",
)

revocations = Table(
    "revocations",
    metadata,
    Column("account_id", Id, nullable=False),
    Column("mailbox_id", Id, nullable=False),
    Column("provider", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    comment="refresh tokens kept for at most 24 h, only to revoke the grants of disconnected mailboxes",
)
