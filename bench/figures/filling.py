"""From a mailbox at a server to committed tickets: the daemon as it is run, beside others that read mail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from bench.corpus import corpus
from bench.harness import Figure, Run
from bench.peers.mbsync import mbsync
from bench.provider import user
from bench.timing import Stopwatch
from bench.workshop import Engine, Unavailable, Workshop
from ingestd.demo.authserver import AuthServer, Client
from storage.tables import messages
from tests.servers.certs import Certificates, certificates_in
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import CLIENT_ID, CLIENT_SECRET, introspection_url
from tests.servers.postfix import Postfix
from tests.servers.process import ServerMissingError, children_of, private_folder
from tests.stores import StoreUrls
from tests.story.house import Servers, open_house, until

_MAILS = 3_000
_RUNS = 3
_PEER_MAILS = 300
_PEER = Path(__file__).parent.parent / "peers" / "django_helpdesk.py"
_PEER_LOCK = Path(__file__).parent.parent.parent / "requirements-peers.lock"
_PASSWORD = "not-a-secret"  # noqa: S105
_SECONDS_MAX = 600.0
_AS_DEFAULT: Mapping[str, Any] = {
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
class _Place:
    """A Dovecot whose mailboxes open by a password, too, and who may log in by OAuth."""

    servers: Servers
    certificates: Certificates
    users: Sequence[str]

    @property
    def dovecot(self) -> Dovecot:
        return self.servers.dovecot

    def fill(self, mails: int) -> None:
        """Let each mailbox hold its share of the corpus, and nothing else; delivered just now, and indexed."""
        for number, address in enumerate(self.users):
            self._index(address)
            folder = self.dovecot.home / "mail" / address
            for old in (*folder.glob("new/*"), *folder.glob("cur/*")):
                old.unlink()
            owner, at = (folder / "cur").stat(), int(time.time())
            share = mails // len(self.users)
            for mail in corpus(share, first=number * share):
                file = folder / "new" / f"{at}.M{mail.index:06}P1.bench"
                file.write_bytes(mail.raw.replace(b"\r\n", b"\n"))
                os.chown(file, owner.st_uid, owner.st_gid)
            self._index(address)

    def _index(self, address: str) -> None:
        self.dovecot.doveadm("mailbox", "status", "-u", address, "messages", "INBOX")


@dataclass(frozen=True, slots=True)
class _Took:
    seconds: float
    cpu_seconds: float
    """User and system, of the daemon and its processes."""


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
    with _running(1) as place:
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
    with _running(1) as place:
        for _ in range(_RUNS):
            took = await _take(workshop, place, "sqlite", 1, _MAILS)
            place.fill(_PEER_MAILS)
            yield Run(_MAILS / took.seconds, await asyncio.to_thread(_peer_rate, python, workshop, place))


async def _against_mbsync(workshop: Workshop, engine: Engine, workers: int) -> AsyncIterator[Run]:
    with _running(workers) as place:
        for _ in range(_RUNS):
            took = await _take(workshop, place, engine, workers, _MAILS)
            yield Run(_MAILS / took.seconds, _MAILS / await asyncio.to_thread(_mbsync, workshop, place))


def _mbsync(workshop: Workshop, place: _Place) -> float:
    return mbsync(
        workshop.folder(),
        port=place.dovecot.port_tls,
        users=place.users,
        password=_PASSWORD,
        ca_file=place.certificates.ca_file,
        mails=_MAILS,
    )


async def _take(workshop: Workshop, place: _Place, engine: Engine, workers: int, mails: int) -> _Took:
    """Have a new installation take the mails that come in while its daemon is stopped."""
    with workshop.temporary(engine) as installation:
        urls = StoreUrls(installation.database, installation.keystore, installation.folder / "blobs")
        sections = _AS_DEFAULT if workers == 1 else {**_AS_DEFAULT, "workers": workers}
        async with open_house(installation.folder, urls, place.servers, **sections) as house:
            place.fill(0)
            await house.daemon.start()
            for address in place.users:
                await house.linked(address)
            await house.daemon.stop()
            workshop.say(f"delivering {mails} mails")
            place.fill(mails)
            await house.daemon.start()
            watch = Stopwatch()

            async def done() -> bool:
                return await house.read(_count) >= mails

            await until(done, f"{mails} mails", _SECONDS_MAX)
            seconds, cpu_seconds = watch.seconds(), _cpu_seconds(house.daemon.pid)
            await house.daemon.stop()
            return _Took(seconds, cpu_seconds)


def _count(conn: Connection, _account_id: object) -> int:
    return conn.execute(select(func.count()).select_from(messages)).scalar_one()


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of those below it that live."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for one in (pid, *children_of(pid)):
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:13])) / ticks
    return total


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _running(mailboxes: int) -> Iterator[_Place]:
    users = [user(number) for number in range(1, mailboxes + 1)]
    try:
        with contextlib.ExitStack() as stack:
            folder = private_folder("bench-certs")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            certificates = certificates_in(folder)
            auth = AuthServer(users, [Client(CLIENT_ID, CLIENT_SECRET, ())])
            auth.start()
            stack.callback(auth.stop)
            dovecot = Dovecot(certificates, introspection_url(auth), password=_PASSWORD)
            postfix = Postfix(certificates, dovecot, users)
            for server in (dovecot, postfix):
                stack.callback(server.destroy)
                server.start()
            yield _Place(Servers(dovecot, postfix, auth, certificates), certificates, users)
    except ServerMissingError as error:
        raise Unavailable(f"{error}; `make servers` installs it") from error


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


def _peer_rate(python: Path, workshop: Workshop, place: _Place) -> float:
    arguments = [str(workshop.folder()), str(place.dovecot.port_tls), place.users[0], _PASSWORD]
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
