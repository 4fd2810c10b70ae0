"""Everything a crash or privacy test needs around the daemon: a provider, fresh stores, processes.

Stores are copies of a migrated one with an account in it; mailboxes are linked by the real
linking code, in this process, against the demo provider's authorization server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import asyncpg
import httpx2

from config import Settings, load
from ingestd.accounts import create_account
from ingestd.build.outside import Outside, new_linking
from ingestd.build.store import Store, open_store
from ingestd.demo.authserver import Client
from ingestd.demo.gmailprovider import GmailProvider
from ingestd.demo.graphprovider import GraphProvider
from ingestd.demo.local import LocalProvider
from ingestd.demo.provider import DemoProvider
from ingestd.linking.link import LinkRequest
from storage import accounts, schema
from tests.crash.points import RECORD, SIGNAL, SIGNAL_AT, STAGE, STATEMENTS, Point
from tests.secrecy import SECRECY
from tests.servers import warm
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3, StoredObject
from tests.servers.warm import WarmProcess

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 90.0
"""A daemon starts twice within it, and on a busy machine each start takes a quarter of a minute."""
CUSTOMER = "anna@example.org"
_PUBLIC_URL = "http://127.0.0.1:8025"
_CLIENT = Client("ingestd", "demo-secret", (f"{_PUBLIC_URL}/oauth/callback",))
_CONFIG = """\
storage:
  database: {content}
  keystore: {keystore}
  blobs_dir: {folder}/blobs
  {bucket}
  blob_bytes_min: 16384
  data_version_poll_seconds: 0.05
keys:
  master_key_file: {folder}/master.key
api: {{listen_port: 0, public_url: {public_url}}}
providers: {{local: {provider}}}
inbound:
  lease_seconds: 1
  heartbeat_seconds: 0.4
  poll_seconds: {poll_seconds}
  batch_messages_max: {batch_messages_max}
  backoff: {{initial_seconds: 0.1, max_seconds: 1}}
backfill: {{batch_messages_max: 1, backoff: {{initial_seconds: 0.1, max_seconds: 1}}}}
outbound:
  backoff: {{initial_seconds: 0.1, max_seconds: 1}}
linking:
  refresh_ahead_seconds: {refresh_ahead_seconds}
  attempts_max: {attempts_max}
  http_timeout_seconds: {http_timeout_seconds}
parser: {{processes: 1, seconds_max: {parser_seconds_max}}}
mailbox_defaults: {{after_import: "{after_import}", mirror: {{spam: junk}}}}
shutdown_seconds: 5
"""


async def until(condition: Callable[[], Awaitable[bool]], said: str, seconds: float = WAIT_SECONDS) -> None:
    """Poll until the condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {said}")
        await asyncio.sleep(0.03)


@dataclass(frozen=True)
class Tuning:
    """The settings that differ between tests."""

    poll_seconds: float = 30
    refresh_ahead_seconds: float = 60
    attempts_max: int = 2
    http_timeout_seconds: float = 5
    parser_seconds_max: float = 10
    after_import: str = "nothing"
    batch_messages_max: int = 50


@dataclass
class House:
    """One store with one linked mailbox."""

    engine: str
    folder: Path
    settings: Settings
    store: Store
    account_id: UUID
    mailbox_id: UUID
    address: str
    databases: tuple[str, ...] = ()
    """PostgreSQL: the names of its two databases."""

    @property
    def config(self) -> Path:
        return self.folder / "ingestd.yaml"


@dataclass
class World:
    """A provider, and templates of stores on one engine."""

    engine: str
    folder: Path
    provider: LocalProvider
    addresses: list[str]
    postgres: PostgresServer | None
    tuning: Tuning = field(default_factory=Tuning)
    way: str = "imap"
    """What leads to the mailboxes: imap, gmail or graph."""
    s3: S3 | None = None
    bucket: str = ""
    """Of `s3`, where blobs lie in one: each store's below its folder's name."""
    _template: str = ""

    @contextlib.asynccontextmanager
    async def house(self) -> AsyncIterator[House]:
        """Yield a fresh store with a mailbox that is linked and holds nothing yet."""
        address, name = self.addresses.pop(), uuid.uuid4().hex[:12]
        folder = self.folder / name
        databases = await self._copy(folder, name)
        _write_config(self, folder, name)
        settings = load(folder / "ingestd.yaml")
        try:
            async with open_store(settings) as store:
                account_id = (await store.content.read(None, accounts.list_accounts))[0].account_id
                mailbox_id = await link(store, account_id, address)
                yield House(self.engine, folder, settings, store, account_id, mailbox_id, address, databases)
        finally:
            await self._drop(databases)
            shutil.rmtree(folder, ignore_errors=True)

    async def make_template(self) -> None:
        """Make the store that all others are copied from: migrated, with one account."""
        self._template = f"t{uuid.uuid4().hex[:10]}"
        folder = self.folder / self._template
        (folder / "blobs").mkdir(parents=True)
        (folder / "keys").mkdir()
        (folder / "master.key").write_text("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n")
        (folder / "master.key").chmod(0o600)
        for database in self._names(self._template):
            await self._sql(f'CREATE DATABASE "{database}"')
        _write_config(self, folder, self._template)
        async with open_store(load(folder / "ingestd.yaml"), check=False) as store:
            await store.content.transaction(None, schema.upgrade, schema.CONTENT)
            await store.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
            await create_account(store.content, store.keys, "default")

    def urls(self, folder: Path, name: str) -> tuple[str, str]:
        if self.postgres is None:
            return f"sqlite:///{folder}/content.db", f"sqlite:///{folder}/keys/keys.db"
        server = f"postgresql://ingestd@127.0.0.1:{self.postgres.port}"
        content, keystore = self._names(name)
        return f"{server}/{content}", f"{server}/{keystore}"

    def objects(self, house: House) -> list[StoredObject]:
        """Return what a store has in the bucket."""
        return [] if self.s3 is None else self.s3.objects(self.bucket, _prefix(house.folder))

    def _names(self, name: str) -> tuple[str, ...]:
        return () if self.postgres is None else (f"c{name}", f"k{name}")

    async def _copy(self, folder: Path, name: str) -> tuple[str, ...]:
        shutil.copytree(self.folder / self._template, folder)
        for database, template in zip(self._names(name), self._names(self._template), strict=True):
            await self._sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self._names(name)

    async def _drop(self, databases: tuple[str, ...]) -> None:
        for database in databases:
            await self._sql(f'DROP DATABASE "{database}" WITH (FORCE)')

    async def _sql(self, statement: str) -> None:
        assert self.postgres is not None
        conn = await asyncpg.connect(f"postgresql://ingestd@127.0.0.1:{self.postgres.port}/postgres")
        try:
            await conn.execute(statement)
        finally:
            await conn.close()


@contextlib.asynccontextmanager
async def open_world(
    engine: str,
    folder: Path,
    postgres: PostgresServer | None,
    *,
    houses_max: int,
    way: str = "imap",
    name: str = "support",
    customers: Sequence[str] = (CUSTOMER,),
    files_sent_copy: bool = False,
    access_token_seconds: float = 3600,
    tuning: Tuning | None = None,
    s3: S3 | None = None,
) -> AsyncIterator[World]:
    addresses = [f"{name}{number}@example.com" for number in range(houses_max)]
    (folder / "provider").mkdir()
    provider = _make_provider(
        way,
        [*addresses, *customers],
        folder / "provider",
        files_sent_copy=files_sent_copy,
        access_token_seconds=access_token_seconds,
    )
    async with provider.running():
        world = World(engine, folder, provider, addresses, postgres, tuning or Tuning(), way, s3)
        if s3 is not None:
            world.bucket = s3.make_bucket()
        await world.make_template()
        yield world


def _make_provider(
    way: str, addresses: Sequence[str], directory: Path, *, files_sent_copy: bool, access_token_seconds: float
) -> LocalProvider:
    """Return the provider that a way leads to; only one with mail servers can leave it to us to file what is sent."""
    if way == "gmail":
        return GmailProvider(addresses, clients=(_CLIENT,), access_token_seconds=access_token_seconds)
    if way == "graph":
        return GraphProvider(addresses, clients=(_CLIENT,), access_token_seconds=access_token_seconds)
    return DemoProvider(
        addresses,
        clients=(_CLIENT,),
        files_sent_copy=files_sent_copy,
        access_token_seconds=access_token_seconds,
        directory=directory,
    )


def _provider_document(world: World) -> dict[str, Any]:
    document = world.provider.settings(_CLIENT)
    # Not verified: the daemon warns of it, in a transaction of its own.
    oauth = document["oauth"] | {"publisher_verified": False}
    return document | {"sent_wait_seconds": 0.001, "oauth": oauth}


def _prefix(folder: Path) -> str:
    return f"{folder.name}/"


def _write_config(world: World, folder: Path, name: str) -> None:
    content, keystore = world.urls(folder, name)
    text = _CONFIG.format(
        content=content,
        keystore=keystore,
        folder=folder,
        public_url=_PUBLIC_URL,
        provider=json.dumps(_provider_document(world)),
        bucket="" if world.s3 is None else f"bucket: {json.dumps(world.s3.settings(world.bucket, _prefix(folder)))}",
        **vars(world.tuning),
    )
    (folder / "ingestd.yaml").write_text(text)


async def link(store: Store, account_id: UUID, address: str, *, again: UUID | None = None) -> UUID:
    """Link `address` as its owner's browser would (or that mailbox `again`); return the mailbox."""
    outside = Outside(store.settings)
    try:
        linking = new_linking(store, outside)
        started = await linking.start(account_id, LinkRequest("local", again, start_from="everything"))
        state = parse_qs(urlsplit(started.address).query)["state"][0]
        consent = await linking.open(state, "the browser")
        async with httpx2.AsyncClient(trust_env=False) as browser:
            answer = await browser.get(f"{consent}&{urlencode({'login_hint': address})}")
        back = {name: one[0] for name, one in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        return await linking.complete(
            state=state, browser="the browser", code=back["code"], error=None, iss=back.get("iss")
        )
    finally:
        await outside.close()


class Process:
    """The real command line in a process of its own, behind the launcher."""

    def __init__(self, house: House, *arguments: str) -> None:
        self.house = house
        self.arguments: tuple[str, ...] = arguments or ("run",)
        self.at: Point | None = None
        """Where it sends itself `signal`."""
        self.signal = signal.SIGKILL
        self.record: Path | None = None
        """A file that it writes the points to that it passes."""
        self.statements: Path | None = None
        """A file that it writes the statements to that it runs."""
        self._process: WarmProcess | None = None
        self.log = house.folder / "log"

    async def start(self) -> None:
        env = {"PATH": os.environ["PATH"], "INGESTD_CONFIG": str(self.house.config), "LANG": "C.UTF-8"}
        env |= {"TMPDIR": str(self.house.folder / "tmp")}
        (self.house.folder / "tmp").mkdir(exist_ok=True)
        if self.at is not None:
            env |= {SIGNAL_AT: str(self.at), SIGNAL: str(int(self.signal))}
        if self.record is not None:
            env[RECORD] = str(self.record)
        if self.statements is not None:
            env[STATEMENTS] = str(self.statements)
        with self.log.open("ab") as log:
            self._begun = log.tell()
            if self.arguments[0] == "run":
                SECRECY.watch(log)
            self._process = warm.start("tests.crash.launcher:run", self.arguments, env=env, cwd=ROOT, out=log, err=log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def end(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for its end; return its status, negative for a signal."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None and self.returncode is None:
            self.send(signal.SIGKILL)
            await self._process.wait()

    async def is_up(self) -> bool:
        """Whether this life of a daemon has begun its work; a signal before that ends it as any other program."""
        return self.returncode is not None or b'"daemon.started"' in self.log.read_bytes()[self._begun :]

    def port(self) -> int | None:
        """Return where this life of it listens for HTTP; None as long as it does not."""
        lines = self.log.read_bytes()[self._begun :].splitlines(keepends=True)
        listening = [json.loads(line) for line in lines if b'"http.listening"' in line and line.endswith(b"\n")]
        return listening[-1]["port"] if listening else None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@dataclass
class Daemon:
    """The daemon of a house, which may be killed once and is then started again."""

    house: House
    at: Point | None = None
    record: Path | None = None
    statements: Path | None = None
    kills: int = 0
    timed: bool = False
    """The test itself kills it, at a moment of its own."""
    process: Process = field(init=False)

    async def start(self) -> None:
        self.process = Process(self.house)
        self.process.at = None if self.kills else self.at
        self.process.record = self.record
        self.process.statements = self.statements
        await self.process.start()

    async def keep(self) -> None:
        """Start it again if it was killed as planned; fail if it ended for any other reason."""
        status = self.process.returncode
        if status is None:
            return
        planned = (self.at is not None or self.timed) and self.kills == 0
        assert planned, f"the daemon ended with {status}: {self.process.tail()}"
        assert status == -signal.SIGKILL, f"the daemon ended with {status}: {self.process.tail()}"
        self.kills += 1
        await self.start()

    async def until(self, condition: Callable[[], Awaitable[bool]], said: str, seconds: float = WAIT_SECONDS) -> None:
        async def kept() -> bool:
            await self.keep()
            return await condition()

        try:
            await until(kept, said, seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from None

    def stage(self, name: str) -> None:
        """Mark in the record where in the story we are."""
        if self.record is not None:
            with self.record.open("a") as file:
                file.write(f"{STAGE}{name}\n")

    async def stop(self) -> None:
        """End it as an operator does; it may be killed in the middle of that, too."""
        await until(self.process.is_up, "the daemon is up", WAIT_SECONDS)
        self.process.send(signal.SIGTERM)
        status = await self.process.end()
        if status == -signal.SIGKILL and (self.at is not None or self.timed) and self.kills == 0:
            self.kills += 1
            return
        assert status == 0, f"the daemon ended with {status}: {self.process.tail()}"
