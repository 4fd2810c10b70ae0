"""An installation to measure on: a folder with configuration, master key, databases and blobs, in which the
commands work as well, and the accounts and mailboxes in it, made by the product's own functions."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection

from config import Settings, load
from connectors.base import RawMessage
from ingestd.build.store import Store, open_store
from ingestd.garbage import keep_what_was_loaded
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.lease import Lease
from ingestd.records import AccountRecord, MailboxRecord
from storage import accounts, leases, mailboxes, schema
from storage.leases import Held
from storage.sealing import DataKey, new_key
from storage.types import new_id

LEASE_SECONDS = 600.0
"""Longer than any figure takes: nobody renews it."""
_CONFIG = """\
storage:
  database: {database}
  keystore: {keystore}
  blobs_dir: blobs
keys:
  master_key_file: master.key
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the databases are, and the folder of everything else."""

    folder: Path
    database: str
    keystore: str

    @property
    def config(self) -> Path:
        return self.folder / "ingestd.yaml"

    @property
    def is_sqlite(self) -> bool:
        return self.database.startswith("sqlite")

    def settings(self) -> Settings:
        return load(self.config)


def sqlite_installation(folder: Path) -> Installation:
    return install(folder, f"sqlite:///{folder}/content.db", f"sqlite:///{folder}/keys.db")


def install(folder: Path, database: str, keystore: str) -> Installation:
    """Make the folder of a new installation; the databases are still to be migrated."""
    (folder / "blobs").mkdir(parents=True)
    key_file = folder / "master.key"
    key_file.touch(0o600)
    key_file.write_text(base64.b64encode(new_key()).decode())
    (folder / "ingestd.yaml").write_text(_CONFIG.format(database=database, keystore=keystore))
    return Installation(folder, database, keystore)


@contextlib.asynccontextmanager
async def opened(installation: Installation) -> AsyncIterator[Store]:
    """Open the store, with the newest schema."""
    async with open_store(installation.settings(), check=False) as store:
        await store.content.transaction(None, schema.upgrade, schema.CONTENT)
        await store.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
        keep_what_was_loaded()  # as the daemon does
        yield store


async def add_account(store: Store) -> UUID:
    account_id = new_id()
    key = await store.keys.create_account_key(account_id)
    sealed = key.seal_record(AccountRecord.place(account_id), AccountRecord("Example"))
    await store.content.transaction(account_id, accounts.insert_account, sealed)
    return account_id


async def add_mailboxes(store: Store, account_id: UUID, count: int) -> list[UUID]:
    """Link `count` mailboxes, each with a key of its own, in the order of their ids."""
    keys = [await store.keys.create_mailbox_key(account_id, new_id()) for _ in range(count)]
    await store.content.transaction(account_id, _insert_mailboxes, keys)
    return [mailbox_of(key) for key in keys]


def mailbox_record(number: int = 1) -> MailboxRecord:
    address = f"support{number}@example.com"
    return MailboxRecord(address=address, subject=str(number), issuer="https://login.example.com", login=address)


def mailbox_of(key: DataKey) -> UUID:
    assert key.mailbox_id is not None
    return key.mailbox_id


def _insert_mailboxes(conn: Connection, account_id: UUID, keys: list[DataKey]) -> None:
    for number, key in enumerate(keys, 1):
        mailbox_id = mailbox_of(key)
        mailboxes.insert_mailbox(
            conn,
            account_id,
            mailbox_id,
            provider="example",
            start_from="now",
            start_days=0,
            sealed=key.seal_record(MailboxRecord.place(mailbox_id), mailbox_record(number)),
        )


@dataclass(frozen=True, slots=True)
class Worker:
    """What a daemon's process knows of the mailboxes that it holds."""

    lease: Lease
    held: list[Held]
    contexts: list[MailboxContext]
    """In the order of `held`."""


async def claim_all(store: Store) -> Worker:
    """Hold every mailbox of the store, as a worker process does."""
    worker_id = new_id()
    await store.content.transaction(None, leases.register, worker_id)
    lease = Lease(worker_id, LEASE_SECONDS)
    lease.renewed(lease.asking())
    held = await store.content.transaction(None, leases.claim, worker_id, LEASE_SECONDS, 10_000)
    return Worker(lease, held, [await _context(store, one) for one in held])


async def _context(store: Store, held: Held) -> MailboxContext:
    mailbox = await store.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
    key = await store.keys.mailbox(held.account_id, held.mailbox_id)
    return MailboxContext(
        account_id=held.account_id,
        mailbox_id=held.mailbox_id,
        key=key,
        record=key.open_record(MailboxRecord.place(held.mailbox_id), mailbox.sealed, MailboxRecord),
        contact_forms=frozenset(),
        authserv_ids=frozenset({"mx.example.com"}),
    )


def fetched(raw: bytes, number: int, at: datetime) -> RawMessage:
    """Return a mail as a connector hands it over."""
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return RawMessage(f"1:{number}:INBOX", "INBOX", len(raw), at, raw, header)
