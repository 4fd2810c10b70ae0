"""Thousands of mailboxes on a light server, and real daemons that work on them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import yaml
from sqlalchemy import Connection

from bench.house import Installation, add_account, mailbox_of, mailbox_record, opened
from bench.sse_server import raise_open_files
from bench.workshop import Engine, Workshop
from connectors.tls import client_context
from ingestd.build.store import Store
from ingestd.demo.certificates import Certificates
from ingestd.records import GrantRecord, MailboxRecord
from storage import grants, mailboxes
from storage.sealing import DataKey
from storage.types import new_id
from tests.servers.certs import certificates_in
from tests.story.settings import merged, provider_document

_INGESTD: Final = str(Path(sys.executable).parent / "ingestd")
_NULL: Final = asyncio.subprocess.DEVNULL
PROVIDER: Final = "local"
OTHER: Final = "other"
_SECONDS_MAX: Final = 240.0
_TOKEN_DAYS: Final = 30
_LOOK_SECONDS: Final = 0.2
_LINKED_AT_ONCE: Final = 500


class MailServer:
    """`bench.imap_server`, and the line to it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, certificates: Certificates) -> None:
        self._process = process
        self.port = port
        self.certificates = certificates
        self._asking = asyncio.Lock()

    def deliver(self, user: str, number: int, pad: int = 0, *, file: Path | None = None) -> None:
        """Deliver a small mail, one of `pad` bytes more, or one that goes on behind its headers as the file does."""
        self._write({"deliver": user, "from": number, "pad": pad, "file": "" if file is None else str(file)})

    def fill(self, user: str, count: int) -> None:
        """Put so many old mails into a mailbox that is empty yet."""
        self._write({"fill": user, "count": count})

    async def idle(self) -> int:
        """Return how many connections are in IDLE."""
        return int((await self._ask({"count": True}))["idle"])

    async def connections(self) -> int:
        return int((await self._ask({"count": True}))["connections"])

    async def delivered(self, file: Path) -> dict[str, list[float]]:
        """Return when each mail of each user was delivered (time.time), in the order of their UIDs; by way of `file`,
        as they may be many."""
        await self._ask({"delivered": str(file)})
        found: dict[str, list[float]] = json.loads(await asyncio.to_thread(file.read_bytes))
        return found

    async def _ask(self, document: Mapping[str, Any]) -> Any:
        async with self._asking:
            self._write(document)
            assert self._process.stdout is not None
            return json.loads(await self._process.stdout.readline())

    def _write(self, document: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Fleet:
    workshop: Workshop
    installation: Installation
    store: Store
    account_id: UUID
    server: MailServer
    other: MailServer
    """Of the provider OTHER: what it has to do does not hold up the first one."""

    async def link(self, users: Sequence[str], *, provider: str = PROVIDER) -> list[UUID]:
        """Link mailboxes, with tokens that last longer than any figure."""
        found: list[UUID] = []
        for at in range(0, len(users), _LINKED_AT_ONCE):
            some = users[at : at + _LINKED_AT_ONCE]
            keys = [await self.store.keys.create_mailbox_key(self.account_id, new_id()) for _ in some]
            await self.store.content.transaction(self.account_id, _link, provider, list(zip(keys, some, strict=True)))
            found += map(mailbox_of, keys)
        return found

    @contextlib.asynccontextmanager
    async def daemon(self, *arguments: str, port: int = 0, name: str = "daemon") -> AsyncIterator[Daemon]:
        """Run `ingestd run`; it is killed at the end where it still runs."""
        config = self.installation.folder / f"{name}.yaml"
        document = yaml.safe_load(self.installation.config.read_text())
        config.write_text(yaml.safe_dump(merged(document, {"api": {"listen_port": port}})))
        with open(self.installation.folder / f"{name}.log", "ab") as log:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                _INGESTD,
                "--config",
                config,
                "run",
                *arguments,
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
            )
        try:
            yield Daemon(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def all_idle(self, count: int) -> None:
        """Wait until so many connections are in IDLE. Raises TimeoutError."""
        deadline = time.monotonic() + _SECONDS_MAX
        while (idle := await self.server.idle()) < count:
            self.workshop.say(f"{idle} of {count} mailboxes wait")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{idle} of {count} mailboxes are in IDLE")
            await asyncio.sleep(_LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class Daemon:
    process: asyncio.subprocess.Process

    def memory_bytes(self) -> int:
        """Return its resident memory, without that of its parsers."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


def user(number: int) -> str:
    return f"support{number}@example.com"


@contextlib.asynccontextmanager
async def fleet(
    workshop: Workshop, engine: Engine, *, other_seconds: float = 0.0, **sections: Any
) -> AsyncIterator[Fleet]:
    """Yield an installation without mailboxes, beside running servers; `sections` are of its configuration.

    The other server answers each command after `other_seconds`.
    """
    raise_open_files()
    with workshop.temporary(engine) as installation:
        certificates = certificates_in(installation.folder / "certificates")
        async with _server(certificates) as server, _server(certificates, other_seconds) as other:
            providers = {PROVIDER: _provider(server), OTHER: _provider(other)}
            document = yaml.safe_load(installation.config.read_text()) | {"providers": providers}
            installation.config.write_text(yaml.safe_dump(merged(document, sections)))
            async with opened(installation) as store:
                yield Fleet(workshop, installation, store, await add_account(store), server, other)


def _provider(server: MailServer) -> dict[str, Any]:
    return provider_document(
        imap_port=server.port,
        smtp_port=server.port,
        ca_file=server.certificates.ca_file,
        issuer="https://127.0.0.1:1",
        client_id="bench",
        client_secret="bench",  # noqa: S106  (nobody asks for it)
    )


@contextlib.asynccontextmanager
async def _server(certificates: Certificates, seconds: float = 0.0) -> AsyncIterator[MailServer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.imap_server", str(certificates.cert_file), str(certificates.key_file), str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield MailServer(process, json.loads(await process.stdout.readline())["port"], certificates)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _link(conn: Connection, account_id: UUID, provider: str, wanted: Sequence[tuple[DataKey, str]]) -> None:
    ends = datetime.now(UTC) + timedelta(days=_TOKEN_DAYS)
    grant = GrantRecord("token", "refresh", ())
    for number, (key, address) in enumerate(wanted):
        mailbox_id = mailbox_of(key)
        record = mailbox_record(number)
        record = type(record)(address, address, record.issuer, address)
        mailboxes.insert_mailbox(
            conn,
            account_id,
            mailbox_id,
            provider=provider,
            start_from="now",
            start_days=0,
            sealed=key.seal_record(MailboxRecord.place(mailbox_id), record),
        )
        grants.put_grant(conn, account_id, mailbox_id, ends, key.seal_record(GrantRecord.place(mailbox_id), grant))


class Listener:
    """A bare connection in IDLE: when the server itself tells of a mail."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def heard(self) -> float:
        """Return when the next EXISTS came (time.monotonic)."""
        while b"EXISTS" not in await self._reader.readline():
            pass
        return time.monotonic()

    def close(self) -> None:
        self._writer.transport.abort()


async def listen(server: MailServer, address: str) -> Listener:
    """Select the INBOX of a user, and wait in IDLE."""
    context: ssl.SSLContext = client_context(server.certificates.ca_file)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="127.0.0.1")
    response = base64.b64encode(f"user={address}\x01auth=Bearer token\x01\x01".encode())
    writer.write(b"1 AUTHENTICATE XOAUTH2 " + response + b"\r\n2 SELECT INBOX\r\n3 IDLE\r\n")
    while not (await reader.readline()).startswith(b"+"):
        pass
    return Listener(reader, writer)
