"""A private PostgreSQL server for the tests, thrown away with them."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import children_of


def find_binaries() -> Path | None:
    """Return the folder with initdb, or None where PostgreSQL is not installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


FAST = ("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")
"""Only crash safety of PostgreSQL itself needs the contrary, and that is not ours to test."""


class PostgresServer:
    """A cluster in a temporary folder, on a free loopback port. `settings` are set on its command line, which no
    later statement overrides."""

    def __init__(self, binaries: Path, settings: Sequence[str] = FAST) -> None:
        self._binaries = binaries
        self._settings = settings
        # Otherwise each page of the template goes through the log and the buffers. Until 14 there was no other way.
        self._by_file = ["-S", "file_copy"] if int(binaries.parts[-2]) >= 15 else []
        self._folder = Path(tempfile.mkdtemp(prefix="ingestd-pg-"))
        self._data = self._folder / "data"
        self.port = 0
        self._running = False

    def start(self) -> None:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._folder.chmod(0o755)
        if not self._data.exists():
            self._run("initdb", "-D", str(self._data), "-U", "ingestd", "-A", "trust", "-E", "UTF8", "--locale=C")
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} "
            f"-c max_connections=200 -c timezone=UTC {' '.join(f'-c {one}' for one in self._settings)}"
        )
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")
        self._running = True

    def stop(self, *, immediate: bool = True) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate" if immediate else "fast", "stop")
        self._running = False

    def pause(self) -> None:
        """Have it answer nothing any more, while its connections stand; `resume` ends that."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in (self.pid, *children_of(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def pid(self) -> int:
        """The process that all others of the server are below."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def url_of(self, database: str) -> str:
        return f"postgresql://ingestd@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str | None = None) -> str:
        """Create an empty database, or a copy of one that nobody uses now, and return its address."""
        name = f"t{uuid.uuid4().hex[:12]}"
        copied = ["-T", template.rpartition("/")[2], *self._by_file] if template is not None else []
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "ingestd", *copied, name)
        return self.url_of(name)

    def remove(self) -> None:
        if self._running:
            self.stop()
        # Not waited for: the databases of a whole run are half a million files.
        os.posix_spawnp("rm", ["rm", "-rf", "--", str(self._folder)], os.environ, setsid=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        # No pipes: the server that pg_ctl starts would keep them open.
        quiet = subprocess.DEVNULL
        done = subprocess.run(command, cwd="/", stdin=quiet, stdout=quiet, stderr=quiet, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed with status {done.returncode}")
