"""Bulk seeding: a database of many messages, as if a daemon had taken them in, in minutes.

Accounts, keys and mailboxes are made by the product's own functions. Tickets, messages, raw bytes and
events are then written mailbox by mailbox by a few processes, past the storage functions: on SQLite by bare
`executemany`, on PostgreSQL by COPY. What is written is the real thing: sealed records under each mailbox's
key, keyed hashes, counters, events; `ingestd verify` finds it clean and the commands can read it.

Rows of one mailbox lie together, or in parts between those of the others, as a daemon leaves them that reads many
mailboxes at once.

Not in it: replies, attachments, quarantined mail, grants and cursors. Half of the tickets have one message,
the others two or four. All messages are of 1 KB.

    python -m bench.seed FOLDER --messages 1000000      seeds an installation to try commands on
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.synchronize import Lock
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

from bench.house import Installation, add_account, add_mailboxes, opened, sqlite_installation
from bench.seed_mails import SeedMail, SeedMails, message_id
from ingestd.build.store import Store
from ingestd.inbound.identity import address_key, identity_of, thread_key
from ingestd.keys import KeyRing
from ingestd.mail.addresses import normalize
from ingestd.mail.blobs import compress_chunks
from ingestd.mail.types import Kind
from ingestd.records import MessageRecord, TicketRecord, chunk_place
from storage import accounts, keystore, schema
from storage.database import open_database
from storage.keystore import WrappedKey
from storage.messages import ROWS
from storage.sealing import DataKey, MasterKey
from storage.types import Id, Instant, new_id

_CONVERSATION_SIZES = (1, 2, 1, 4)
_COPY_SECONDS_MAX = 600.0

COLUMNS: Mapping[str, Sequence[str]] = {
    "tickets": (
        "account_id",
        "ticket_id",
        "mailbox_id",
        "number",
        "status",
        "requester_key",
        "created_at",
        "updated_at",
        "sealed",
    ),
    "participants": ("account_id", "ticket_id", "mailbox_id", "address_key"),
    "messages": (
        "account_id",
        "message_id",
        "mailbox_id",
        "ticket_id",
        "direction",
        "kind",
        "identity_key",
        "received_at",
        "created_at",
        "size_bytes",
        "chunks",
        "raw_place",
        "sealed",
    ),
    "thread_keys": ("account_id", "mailbox_id", "thread_key", "message_id"),
    "raw_chunks": ("account_id", "owner_id", "position", "mailbox_id", "sealed"),
    "events": ("account_id", "sequence", "type", "at", "mailbox_id", "ticket_id", "message_id", "detail"),
}
"""What is written of each table; all other columns have a default or may be empty."""

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Seeded:
    accounts: Sequence[UUID]
    messages: int
    tickets: int
    seconds: float
    """From empty databases to the last commit."""
    part_seconds: Sequence[float]
    """How long each mailbox, or part of one, took its process."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A mailbox to be filled, or a part of one."""

    key: WrappedKey
    messages: int
    first_mail: int
    """The number of its first mail, over the whole database."""
    first_ticket: int
    first_event: int


async def seed(
    installation: Installation,
    *,
    messages: int,
    mailboxes: int,
    account_count: int = 10,
    part: int | None = None,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _messages: None,
) -> Seeded:
    """Fill the empty databases of an installation. `progress` is told the messages written so far.

    With `part`, so many messages of each mailbox in turn are a transaction; otherwise each mailbox is one.

    PostgreSQL needs a superuser: references are not checked while rows are copied in.
    """
    if not 1 <= account_count <= mailboxes <= messages:
        raise ValueError("seeding needs an account or more, a mailbox for each, and a message for each mailbox")
    started = time.perf_counter()
    async with opened(installation) as store:
        owners = [await add_account(store) for _ in range(account_count)]
        jobs = await _plan(store, owners, messages, mailboxes, part or messages)
    part_seconds = await _run(installation, jobs, processes or os.cpu_count() or 1, progress)
    if not installation.is_sqlite:
        await _analyze(installation.database)
    return Seeded(
        accounts=owners,
        messages=messages,
        tickets=sum(len(list(_conversations(job.messages))) for job in jobs),
        seconds=time.perf_counter() - started,
        part_seconds=part_seconds,
    )


async def _plan(store: Store, owners: Sequence[UUID], messages: int, mailboxes: int, part: int) -> list[_Job]:
    """Make the mailboxes, and draw the numbers of all that will be in them; return the jobs in their order."""
    planned: list[list[_Job]] = []
    first_mail = 0
    shares = iter(_shares(messages, mailboxes))
    for owner, count in zip(owners, _shares(mailboxes, len(owners)), strict=True):
        for mailbox_id in await add_mailboxes(store, owner, count):
            share = next(shares)
            sizes = [min(part, share - at) for at in range(0, share, part)]
            tickets = [len(list(_conversations(size))) for size in sizes]
            number, sequence = await store.content.transaction(
                owner, accounts.draw_numbers, tickets=sum(tickets), events=sum(tickets) + share
            )
            key = await store.keystore.read(owner, keystore.get_key, mailbox_id)
            jobs = []
            for size, opened_here in zip(sizes, tickets, strict=True):
                jobs.append(_Job(key, size, first_mail, number, sequence))
                first_mail += size
                number += opened_here
                sequence += opened_here + size
            planned.append(jobs)
    return [job for turn in itertools.zip_longest(*planned) for job in turn if job is not None]


def _shares(total: int, parts: int) -> list[int]:
    """Split a number as evenly as it goes.

    >>> _shares(10, 4)
    [3, 3, 2, 2]
    """
    return [total // parts + (index < total % parts) for index in range(parts)]


def _conversations(messages: int) -> Iterator[int]:
    """Yield the sizes of conversations that have so many messages together.

    >>> list(_conversations(10))
    [1, 2, 1, 4, 1, 1]
    """
    for size in itertools.cycle(_CONVERSATION_SIZES):
        if messages <= 0:
            return
        yield min(size, messages)
        messages -= size


async def _run(
    installation: Installation, jobs: Sequence[_Job], processes: int, progress: Callable[[int], None]
) -> list[float]:
    context = multiprocessing.get_context("spawn")
    loop, seconds, written = asyncio.get_running_loop(), [], 0
    begin = (installation, context.Lock())
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin_process, initargs=begin) as pool:
        try:
            for future in asyncio.as_completed([loop.run_in_executor(pool, _fill, job) for job in jobs]):
                messages, taken = await future
                seconds.append(taken)
                written += messages
                progress(written)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # or it would fill all other mailboxes first
            raise
    return seconds


async def _analyze(url: str) -> None:
    """PostgreSQL plans by statistics, which a bulk load has outrun; a real database has them."""
    import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

    conn = await asyncpg.connect(url)
    try:
        await conn.execute("ANALYZE", timeout=_COPY_SECONDS_MAX)
    finally:
        await conn.close()


# -- in each process ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Process:
    """What a seeding process keeps from one mailbox to the next."""

    keys: KeyRing
    mails: SeedMails
    write: Callable[[Rows], None]
    id_: Callable[[UUID], Any]
    instant: Callable[[datetime], Any]


_processes: list[_Process] = []
"""This process's own, made by `_begin_process`: a pool hands nothing to its jobs but their arguments."""


def _begin_process(installation: Installation, lock: Lock) -> None:
    settings = installation.settings()
    store = open_database(installation.keystore, schema.METADATA[schema.KEYSTORE])  # its keys come with the jobs
    ids, instants = Id(), Instant()
    dialect = sqlite.dialect() if installation.is_sqlite else postgresql.dialect()  # type: ignore[no-untyped-call]
    _processes.append(
        _Process(
            keys=KeyRing(store, MasterKey(settings.keys.master_key_bytes())),
            mails=SeedMails(),
            write=_SqliteWriter(installation, lock) if installation.is_sqlite else _PostgresWriter(installation),
            id_=lambda value: ids.process_bind_param(value, dialect),
            instant=lambda value: instants.process_bind_param(value, dialect),
        )
    )


def _fill(job: _Job) -> tuple[int, float]:
    """Make a job's rows and write them in one transaction; return its messages, and the seconds taken."""
    process = _processes[-1]
    started = time.perf_counter()
    mailbox = _Mailbox(process, job)
    mailbox.fill()
    process.write(mailbox.rows)
    return job.messages, time.perf_counter() - started


class _Mailbox:
    """The rows of a job, in the form in which the database takes them."""

    def __init__(self, process: _Process, job: _Job) -> None:
        self._process = process
        self._job = job
        self._key: DataKey = process.keys.unwrap(job.key, job.key.owner_id)
        self._account = process.id_(job.key.account_id)
        self._mailbox = process.id_(job.key.owner_id)
        self._sequence = job.first_event
        self.rows: Rows = {table: [] for table in COLUMNS}

    def fill(self) -> None:
        number = self._job.first_mail
        for index, size in enumerate(_conversations(self._job.messages)):
            mails = self._mails(number, size)
            self._ticket(self._job.first_ticket + index, mails)
            number += size

    def _mails(self, first: int, size: int) -> list[SeedMail]:
        ids = [message_id(number) for number in range(first, first + size)]
        return [self._process.mails.make(first + at, first, ids[:at]) for at in range(size)]

    def _ticket(self, number: int, mails: Sequence[SeedMail]) -> None:
        key, process, ticket_id = self._key, self._process, new_id()
        stored_id = process.id_(ticket_id)
        opened_at, changed_at = process.instant(mails[0].received_at), process.instant(mails[-1].received_at)
        requester = mails[0].mail.from_[0]
        requester_key = address_key(key, normalize(requester.addr))
        record = TicketRecord(mails[0].mail.subject, requester)
        sealed = key.seal_record(TicketRecord.place(ticket_id), record)
        self.rows["tickets"].append(
            (
                self._account,
                stored_id,
                self._mailbox,
                number,
                "open",
                requester_key,
                opened_at,
                changed_at,
                sealed,
            )
        )
        self.rows["participants"].append((self._account, stored_id, self._mailbox, requester_key))
        self._event("ticket.created", opened_at, stored_id)
        for one in mails:
            self._message(stored_id, one)

    def _message(self, ticket_id: Any, one: SeedMail) -> None:
        key, row_id = self._key, new_id()
        stored_id, at = self._process.id_(row_id), self._process.instant(one.received_at)
        record = MessageRecord(one.mail, one.raw_sha256, locator="1:1:INBOX", folder="INBOX")
        chunks = compress_chunks(one.raw)
        self.rows["messages"].append(
            (
                self._account,
                stored_id,
                self._mailbox,
                ticket_id,
                "in",
                Kind.CUSTOMER.value,
                identity_of(key, one.mail, one.raw_sha256),
                at,
                at,
                len(one.raw),
                len(chunks),
                ROWS,
                key.seal_record(MessageRecord.place(row_id), record),
            )
        )
        for position, chunk in enumerate(chunks):
            sealed = key.seal(chunk_place(row_id, position, len(chunks)), chunk)
            self.rows["raw_chunks"].append((self._account, stored_id, position, self._mailbox, sealed))
        self.rows["thread_keys"].append((self._account, self._mailbox, thread_key(key, one.mail.message_id), stored_id))
        self._event("message.received", at, ticket_id, stored_id, Kind.CUSTOMER.value)

    def _event(self, kind: str, at: Any, ticket_id: Any, message: Any = None, detail: str | None = None) -> None:
        self.rows["events"].append((self._account, self._sequence, kind, at, self._mailbox, ticket_id, message, detail))
        self._sequence += 1


class _SqliteWriter:
    """Writes without waiting for the disk: who loses power while seeding seeds again."""

    def __init__(self, installation: Installation, lock: Lock) -> None:
        self._lock = lock
        """SQLite has one writer at a time, and would make the other poll."""
        self._conn = sqlite3.connect(str(make_url(installation.database).database), isolation_level=None)
        for pragma in ("synchronous=OFF", "cache_size=-262144", "wal_autocheckpoint=20000", "temp_store=MEMORY"):
            self._conn.execute(f"PRAGMA {pragma}")

    def __call__(self, rows: Rows) -> None:
        with self._lock:
            self._conn.execute("BEGIN IMMEDIATE")
            for table, columns in COLUMNS.items():
                marks = ", ".join("?" * len(columns))
                statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  (names of ours)
                self._conn.executemany(statement, rows[table])
            self._conn.execute("COMMIT")


class _PostgresWriter:
    """Copies rows in, each mailbox in a transaction."""

    def __init__(self, installation: Installation) -> None:
        import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

        # `replica` leaves the checks of references out, which would cost as much as the rows.
        options = {"session_replication_role": "replica", "synchronous_commit": "off"}
        self._loop = asyncio.new_event_loop()
        connect = asyncpg.connect(installation.database, server_settings=options)
        self._conn = self._loop.run_until_complete(connect)

    def __call__(self, rows: Rows) -> None:
        self._loop.run_until_complete(self._copy(rows))

    async def _copy(self, rows: Rows) -> None:
        async with self._conn.transaction():
            for table, columns in COLUMNS.items():
                await self._conn.copy_records_to_table(
                    table, records=rows[table], columns=columns, timeout=_COPY_SECONDS_MAX
                )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--messages", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--mailboxes", default=1_000, show_default=True, type=click.IntRange(1))
@click.option("--accounts", "account_count", default=10, show_default=True, type=click.IntRange(1))
def main(folder: Path, messages: int, mailboxes: int, account_count: int) -> None:
    """Make a new installation in FOLDER, on SQLite, and seed it."""
    if folder.exists():
        raise click.UsageError(f"{folder} is there already")
    installation = sqlite_installation(folder.resolve())
    with click.progressbar(length=messages, label="messages", file=sys.stderr) as bar:
        done = asyncio.run(
            seed(
                installation,
                messages=messages,
                mailboxes=mailboxes,
                account_count=account_count,
                progress=lambda written: bar.update(written - bar.pos),
            )
        )
    click.echo(f"{done.messages} messages, {done.tickets} tickets, {done.seconds:.1f} s\n{installation.config}")


if __name__ == "__main__":
    main()
