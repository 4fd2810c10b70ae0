"""`python -m tests.crash.sending_worker CONFIG`: a process that sends what is due, and is killed in the middle of it.

It reads one plan a line, and lives once for each: a fork, as it has all code loaded already, so that a life costs
a tenth of a second and not the start of a daemon. In each life it does what a daemon does with its outboxes: take
the mailboxes, call what was under way unknown, and run what is due.

    {"at": 7}         SIGKILL at the seventh point (before or after a commit) that it passes
    {"after": 0.08}   SIGKILL after so many seconds, wherever it is
    {"finish": 30}    no kill: do everything that is still to be done, within so many seconds
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from config import Backoff, Outbound
from connectors.base import AccessToken, AuthError, ConnectorError
from connectors.egress import EgressGuard
from connectors.imap_mailbox import ImapAccess, ImapEndpoint, SmtpEndpoint, smtp_sender
from connectors.tls import client_context
from ingestd.inbound.lease import Lease
from ingestd.keys import KeyRing
from ingestd.outbound import steps
from ingestd.outbound.budgets import Allowance, Budget, Connections
from ingestd.outbound.held import SenderTools
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.telemetry.metrics import Metrics
from storage import leases, schema
from storage.blobs import FolderBlobs
from storage.database import Database, now, open_database
from storage.leases import Held
from storage.outbox import ReplyStatus
from storage.tables import outbox as outbox_table
from storage.types import new_id
from tests.crash.launcher import Hooks
from tests.office import MASTER
from tests.outbound.test_sender import LONG_AGO

_SETTINGS = Outbound(attempts_max=100, backoff=Backoff(initial_seconds=0.001, max_seconds=0.002), sends_max=4)
_PLENTY = Budget(10**6, 10**6, 10**6)
_BUSY_SECONDS = 3.0
"""A life that had nothing to be killed in ends after this."""


@dataclass(frozen=True)
class MailboxPlace:
    mailbox_id: str
    address: str
    token: str
    files: bool
    """Whether its provider files a copy in Sent by itself."""


@dataclass(frozen=True)
class WorkerConfig:
    content: str
    keystore: str
    blobs: str
    imap_port: int
    smtp_port: int
    ca_file: str
    mailboxes: list[MailboxPlace] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> WorkerConfig:
        values = json.loads(path.read_text())
        return cls(**values | {"mailboxes": [MailboxPlace(**one) for one in values["mailboxes"]]})


class Countdown(Hooks):
    """Kills at the n-th point, whichever it is."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at
        self._counting = threading.Lock()

    def passes(self, database: str, name: str, phase: str) -> None:
        with self._counting:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _OneToken:
    def __init__(self, token: str) -> None:
        self._token = token

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        if rejected is not None:
            raise AuthError("the only token there is was refused")
        return AccessToken(self._token)


async def _why_refused() -> ConnectorError:
    return AuthError("refused")


async def live(config: WorkerConfig, plan: dict[str, Any]) -> None:
    """Send what is due, as long as there is anything, or until killed."""
    content = open_database(config.content, schema.METADATA[schema.CONTENT])
    keystore = open_database(config.keystore, schema.METADATA[schema.KEYSTORE])
    lease = Lease(new_id(), 3600.0)
    lease.renewed(lease.asking())
    await content.transaction(None, leases.register, lease.worker_id)
    # Whoever was before us is dead: nobody else works on this store.
    await content.transaction(None, leases.claim, lease.worker_id, 0.0, 10)
    held = await content.read(None, leases.list_held, lease.worker_id)
    for one in held:
        await content.transaction(one.account_id, steps.recover, one)
    tools = SenderTools(
        content=content,
        blobs=FolderBlobs(Path(config.blobs)),
        metrics=Metrics(version="0", python_version="3"),
        settings=_SETTINGS,
        lease=lease,
        sends=asyncio.Semaphore(_SETTINGS.sends_max),
    )
    keys, connections = KeyRing(keystore, MASTER), Connections(4)
    with ThreadPoolExecutor(4) as executor:
        outboxes = [await _outbox(config, one, keys, tools, connections, executor) for one in held]
        if "finish" in plan:
            async with asyncio.timeout(plan["finish"]):
                await _finish(content, outboxes)
        else:
            await _run(outboxes, time.monotonic() + _BUSY_SECONDS)
        for box in outboxes:
            await box.close()
    await content.close()
    await keystore.close()


async def _outbox(
    config: WorkerConfig,
    held: Held,
    keys: KeyRing,
    tools: SenderTools,
    connections: Connections,
    executor: ThreadPoolExecutor,
) -> MailboxOutbox:
    place = next(one for one in config.mailboxes if one.mailbox_id == str(held.mailbox_id))
    guard = EgressGuard([])
    for port in (config.imap_port, config.smtp_port):
        guard.permit("localhost", port)
    sender = smtp_sender(
        ImapAccess(
            login=place.address,
            imap=ImapEndpoint("localhost", config.imap_port),
            smtp=SmtpEndpoint("localhost", config.smtp_port),
        ),
        _OneToken(place.token),
        ssl_context=client_context(Path(config.ca_file)),
        guard=guard,
        executor=executor,
    )
    key = await keys.mailbox(held.account_id, held.mailbox_id)
    policy = SentPolicy("auto", 20.0 if place.files else 0.0)
    return MailboxOutbox(held, key, sender, policy, tools, _why_refused, Allowance(_PLENTY, connections))


async def _run(outboxes: Sequence[MailboxOutbox], deadline: float) -> None:
    while time.monotonic() < deadline:
        await asyncio.gather(*(one.run_due() for one in outboxes))
        await asyncio.sleep(0.02)


async def _finish(content: Database, outboxes: Sequence[MailboxOutbox]) -> None:
    """Send and file what waits, then look once more for what is unknown. Raises TimeoutError."""
    while await content.transaction(None, _hurry):
        await asyncio.gather(*(one.run_due() for one in outboxes))
    # What is not found is put off, so that each is looked for, however many there are.
    await content.transaction(None, _ask_again)
    while await content.read(None, _count_due):
        await asyncio.gather(*(one.run_due() for one in outboxes))


_KNOWN = and_(outbox_table.c.status != ReplyStatus.UNKNOWN, outbox_table.c.due_at.is_not(None))


def _hurry(conn: Connection) -> int:
    """Let no step wait for its time but those of unknown outcome; return how many there are."""
    return conn.execute(update(outbox_table).where(_KNOWN).values(due_at=LONG_AGO)).rowcount


def _ask_again(conn: Connection) -> None:
    unknown = and_(outbox_table.c.status == ReplyStatus.UNKNOWN, outbox_table.c.due_at.is_not(None))
    conn.execute(update(outbox_table).where(unknown).values(due_at=LONG_AGO))


def _count_due(conn: Connection) -> int:
    due = select(func.count()).select_from(outbox_table).where(outbox_table.c.due_at <= now(conn))
    return int(conn.execute(due).scalar_one())


def _life(config: WorkerConfig, plan: dict[str, Any]) -> None:
    if "at" in plan:
        Countdown(plan["at"]).install()
    asyncio.run(live(config, plan))


def main() -> None:
    config = WorkerConfig.read(Path(sys.argv[1]))
    for line in sys.stdin:
        plan = json.loads(line)
        pid = os.fork()
        if pid == 0:
            # What a life logs, and perhaps half a line of it, must not run into what we answer.
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            try:
                _life(config, plan)
            except Exception:  # noqa: BLE001  (a fork must not return into this loop)
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if "after" in plan:
            time.sleep(plan["after"])
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
