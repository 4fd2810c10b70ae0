"""From a mailbox at a server to committed tickets: the daemon as it is run, beside others that read mail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from bench.harness import Figure, Run
from bench.mailhost import PASSWORD, MailHost, running_mailhost
from bench.peers.mbsync import mbsync
from bench.timing import Stopwatch
from bench.workshop import Engine, Unavailable, Workshop
from storage.tables import messages
from tests.servers.process import children_of
from tests.stores import StoreUrls
from tests.story.house import House, open_house, until

_MAILS = 10_000
_RUNS = 3
_PEER_MAILS = 1_000
_PEER = Path(__file__).parent.parent / "peers" / "django_helpdesk.py"
_PEER_LOCK = Path(__file__).parent.parent.parent / "requirements-peers.lock"
_SECONDS_MAX = 600.0
AS_DEFAULT: dict[str, Any] = {
    "inbound": {
        "lease_seconds": 15.0,
        "heartbeat_seconds": 5.0,
        "poll_seconds": 300.0,
        "read_timeout_seconds": 60.0,
        "backoff": {"initial_seconds": 5.0, "max_seconds": 900.0},
    },
    "parser": {"processes": 2},
    "storage": {"data_version_poll_seconds": 0.2},
}
"""What the stories shorten: this is measured with the defaults."""


@dataclass(frozen=True, slots=True)
class _Took:
    seconds: float
    cpu_seconds: float
    """User and system, of the daemon and its processes, those included that were replaced."""


async def ingest_sqlite_vs_mbsync(workshop: Workshop) -> AsyncIterator[Run]:
    """Mails a second from a mailbox at a Dovecot on this machine, over TLS, to committed tickets on SQLite: 10,000 of
    the corpus that have just come in, one daemon with default settings, from its being ready to the last commit.

    The yardstick is mbsync 1.4, which writes the same mailbox to files, synced to the disk as it does by default.
    """
    async for run in _against_mbsync(workshop, "sqlite", 1):
        yield run


async def ingest_postgresql_vs_mbsync(workshop: Workshop) -> AsyncIterator[Run]:
    """As ingest_sqlite_vs_mbsync, on a PostgreSQL of the same machine with fsync on: two worker processes, the mails in
    two mailboxes, as one mailbox is one process's."""
    async for run in _against_mbsync(workshop, "postgresql", 2):
        yield run


async def ingest_cpu_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds of CPU time a mail that ingest_sqlite_vs_mbsync's daemon takes, with its parser processes and its
    start, without the servers.

    The yardstick is mbsync's.
    """
    with running_mailhost(1) as place:
        for _ in range(_RUNS):
            took = await _take(workshop, place, "sqlite", 1, _MAILS)
            began = _children_cpu()
            await asyncio.to_thread(_mbsync, workshop, place)
            yield Run(took.cpu_seconds / _MAILS * 1000, (_children_cpu() - began) / _MAILS * 1000)


async def ingest_vs_django_helpdesk(workshop: Workshop) -> AsyncIterator[Run]:
    """Mails a second as in ingest_sqlite_vs_mbsync.

    The yardstick is django-helpdesk's `get_email` on a mailbox at the same server with the first 1,000 of the mails, on
    SQLite, from PyPI in an environment of its own; what it stored is counted, what it cannot take is not.
    """
    python = await asyncio.to_thread(_peer, workshop)
    with running_mailhost(1) as place:
        for _ in range(_RUNS):
            took = await _take(workshop, place, "sqlite", 1, _MAILS)
            place.fill(_PEER_MAILS)
            yield Run(_MAILS / took.seconds, await asyncio.to_thread(_peer_rate, python, workshop, place))


async def _against_mbsync(workshop: Workshop, engine: Engine, workers: int) -> AsyncIterator[Run]:
    with running_mailhost(workers) as place:
        for _ in range(_RUNS):
            took = await _take(workshop, place, engine, workers, _MAILS)
            yield Run(_MAILS / took.seconds, _MAILS / await asyncio.to_thread(_mbsync, workshop, place))


def _mbsync(workshop: Workshop, place: MailHost) -> float:
    return mbsync(
        workshop.folder(),
        port=place.dovecot.port_tls,
        users=place.users,
        password=PASSWORD,
        ca_file=place.certificates.ca_file,
        mails=_MAILS,
    )


async def _take(workshop: Workshop, place: MailHost, engine: Engine, workers: int, mails: int) -> _Took:
    """Have a new installation take the mails that come in while its daemon is stopped."""
    async with installed(workshop, place, engine, AS_DEFAULT | ({"workers": workers} if workers > 1 else {})) as house:
        workshop.say(f"delivering {mails} mails")
        place.fill(mails)
        await house.daemon.start()
        watch = Stopwatch()
        await taken(house, mails)
        return _Took(watch.seconds(), _cpu_seconds(house.daemon.pid))


@contextlib.asynccontextmanager
async def installed(
    workshop: Workshop, place: MailHost, engine: Engine, sections: Mapping[str, Any]
) -> AsyncIterator[House]:
    """Give a new installation that every mailbox of the host is linked with, empty; its daemon is stopped."""
    with workshop.temporary(engine) as installation:
        urls = StoreUrls(installation.database, installation.keystore, installation.folder / "blobs")
        async with open_house(installation.folder, urls, place.servers, **sections) as house:
            place.fill(0)
            await house.daemon.start()
            # Of several processes any may be the first to say so; the one for the API is beside the workers.
            await house.daemon.wait_log("http.listening", count=1 + sections.get("workers", 0))
            for address in place.users:
                await house.linked(address)
            await house.daemon.stop()
            yield house
            await house.daemon.stop()


async def taken(house: House, mails: int) -> None:
    """Wait until so many mails were taken in."""

    async def done() -> bool:
        return await house.read(_count) >= mails

    await until(done, f"{mails} mails", _SECONDS_MAX)


def _count(conn: Connection, _account_id: object) -> int:
    return conn.execute(select(func.count()).select_from(messages)).scalar_one()


def family(pid: int) -> list[int]:
    """Return a process and all that are below it."""
    return [pid, *(one for child in children_of(pid) for one in family(child))]


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of those below it, also of those that have ended and been waited for."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / ticks
    return total


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peer(workshop: Workshop) -> Path:
    """Make the environment that django-helpdesk runs in; return its Python."""
    folder = workshop.folder()
    workshop.say("installing django-helpdesk")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(_PEER_LOCK)]
    if subprocess.run(install, check=False, capture_output=True).returncode:  # noqa: S603
        raise Unavailable("django-helpdesk cannot be installed from PyPI")
    return python


def _peer_rate(python: Path, workshop: Workshop, place: MailHost) -> float:
    arguments = [str(workshop.folder()), str(place.dovecot.port_tls), place.users[0], PASSWORD]
    command = [str(python), str(_PEER), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS_MAX)  # noqa: S603
    said = json.loads(done.stdout)
    if said["messages"] < _PEER_MAILS // 2:
        raise RuntimeError(f"django-helpdesk stored {said['messages']} of {_PEER_MAILS} mails")
    return float(said["messages"] / said["seconds"])


_MBSYNC = "mbsync, which writes the same mailbox to files"
FIGURES = (
    Figure("ingest_sqlite_vs_mbsync", "messages/s", _MBSYNC, ingest_sqlite_vs_mbsync),
    Figure("ingest_postgresql_vs_mbsync", "messages/s", _MBSYNC, ingest_postgresql_vs_mbsync),
    Figure("ingest_vs_django_helpdesk", "messages/s", "its get_email on the same mailbox", ingest_vs_django_helpdesk),
    Figure("ingest_cpu_ms", "ms", "mbsync", ingest_cpu_ms),
)
