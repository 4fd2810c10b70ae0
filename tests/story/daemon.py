"""The real daemon as a child process, and the real command line beside it; every wait has a limit."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import httpx2

from tests.secrecy import SECRECY
from tests.servers import warm
from tests.servers.process import children_of
from tests.servers.warm import WarmProcess

INGESTD: Final = (str(Path(sys.executable).parent / "ingestd"),)
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 40.0
CLI_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class DaemonDied(AssertionError):
    """The daemon ended where it should have run; the text is the end of its log."""


class DaemonProcess:
    """`ingestd run` on a configuration file, to be started, stopped and killed any number of times.

    Use it as an async context manager: at its end nothing that it started is left.
    """

    def __init__(
        self,
        config: Path,
        *,
        env: Mapping[str, str] | None = None,
        preexec: Callable[[], None] | None = None,
        name: str = "daemon",
        program: Sequence[str] = (),
        role: str | None = None,
    ) -> None:
        """`env` comes on top of a scrubbed environment; `preexec` runs in the child before `ingestd` (limits).

        `program` is what runs `ingestd`; without one, and without `preexec`, it is forked from a process that has
        imported it (`tests.servers.warm`).
        """
        self.config = config
        self.program = tuple(program)
        self.role = role
        self.log_file = config.parent / f"{name}.log"
        self.env = {"PATH": os.environ.get("PATH", ""), "HOME": str(config.parent), "LANG": "C.UTF-8", **(env or {})}
        self.preexec = preexec
        self._process: asyncio.subprocess.Process | WarmProcess | None = None
        self._commands: set[asyncio.subprocess.Process] = set()
        self._children: set[int] = set()

    async def __aenter__(self) -> DaemonProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- its life --------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, *, ready: bool = True, seconds: float = START_SECONDS) -> None:
        """Start it; with `ready`, wait until it works. Raises DaemonDied, TimeoutError."""
        assert not self.running, "the daemon runs already"
        at = len(self.log_text())
        with open(self.log_file, "ab") as log:
            SECRECY.watch(log)
            self._process = await self._begin(log)
        if ready:
            await self.wait_log("daemon.started", after=at, seconds=seconds)
            await self.wait_log("http.listening", after=at, seconds=seconds)

    async def _begin(self, log: IO[bytes]) -> asyncio.subprocess.Process | WarmProcess:
        role = ("--role", self.role) if self.role is not None else ()
        arguments, cwd = ("--config", str(self.config), "run", *role), self.config.parent
        if not self.program and self.preexec is None:
            return warm.start(warm.INGESTD, arguments, env=self.env, cwd=cwd, out=log, err=log)
        return await asyncio.create_subprocess_exec(
            *(self.program or INGESTD),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self.env,
            cwd=cwd,
            preexec_fn=self._in_child,
            start_new_session=True,
        )

    def _in_child(self) -> None:
        # A test run that is killed itself has no end at which to close anything.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.preexec is not None:
            self.preexec()

    async def wait_ready(self, port: int, *, seconds: float = START_SECONDS) -> None:
        """Wait until /readyz answers 200."""
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:

            async def is_ready() -> bool:
                try:
                    return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
                except httpx2.HTTPError:
                    return False

            deadline = time.monotonic() + seconds
            while not await is_ready():
                self.check_alive()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready within {seconds} s; its log ends:\n{self.log_text()[-3000:]}")
                await asyncio.sleep(_POLL_SECONDS)

    async def wait_exit(self, *, seconds: float = STOP_SECONDS) -> int:
        """Wait until it ends by itself; return its status (negative for a signal)."""
        assert self._process is not None, "the daemon was not started"
        self._children |= children_of(self.pid)
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def stop(self, *, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and wait; return the status."""
        self.signal(signal.SIGTERM)
        return await self.wait_exit(seconds=seconds)

    async def kill(self) -> None:
        """SIGKILL, as a crash of the machine would; returns when the process is gone."""
        if self.running:
            self._children |= children_of(self.pid)
            self.signal(signal.SIGKILL)
            await self.wait_exit()

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    async def close(self) -> None:
        """End everything that was started, by force."""
        await self.kill()
        for command in tuple(self._commands):
            with contextlib.suppress(ProcessLookupError):
                command.kill()
            await command.wait()
        for pid in self._children:  # parser processes end with their pipe; this is for those that hang
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._children.clear()

    def check_alive(self) -> None:
        """Raises DaemonDied."""
        if self._process is None or self._process.returncode is not None:
            status = self._process.returncode if self._process else None
            raise DaemonDied(f"the daemon ended with {status}; its log ends:\n{self.log_text()[-3000:]}")

    # -- its log ---------------------------------------------------------------------------------

    def log_text(self) -> str:
        """Return all that it wrote, over all its lives."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def logs(self, event: str | None = None, *, after: int = 0) -> list[dict[str, Any]]:
        """Return the log's entries (those of one event), from the character `after` of `log_text` on."""
        found = []
        for line in self.log_text()[after:].splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and event in {None, entry.get("event")}:
                    found.append(entry)
        return found

    async def wait_log(
        self, event: str, *, after: int = 0, count: int = 1, seconds: float = START_SECONDS
    ) -> list[dict[str, Any]]:
        """Wait until the log has `count` entries of an event behind the character `after`; return them."""
        deadline = time.monotonic() + seconds
        while len(found := self.logs(event, after=after)) < count:
            self.check_alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {event} within {seconds} s; its log ends:\n{self.log_text()[-3000:]}")
            await asyncio.sleep(_POLL_SECONDS)
        return found

    # -- the command line ------------------------------------------------------------------------

    async def run_cli(self, *arguments: object, seconds: float = CLI_SECONDS) -> Finished:
        """Run a command on the same configuration to its end."""
        if not self.program:
            status, out, err = await warm.run(
                warm.INGESTD,
                ["--config", str(self.config), *map(str, arguments)],
                env=self.env,
                cwd=self.config.parent,
                seconds=seconds,
            )
            return Finished(status, out, err)
        async with self.command(*arguments) as process:
            async with asyncio.timeout(seconds):
                printed, complained = await process.communicate()
            assert process.returncode is not None
            return Finished(process.returncode, printed.decode(), complained.decode())

    async def cli(self, *arguments: object, seconds: float = CLI_SECONDS) -> Any:
        """Run a command with --json, which must succeed; return what it printed."""
        done = await self.run_cli(*arguments, "--json", seconds=seconds)
        assert done.status == 0, f"ingestd {arguments[:2]} ended with {done.status}: {done.err[-2000:]}"
        return done.json()

    @contextlib.asynccontextmanager
    async def command(self, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a command, its output piped; it is killed where it still runs at the end."""
        process = await asyncio.create_subprocess_exec(
            *(self.program or INGESTD),
            "--config",
            self.config,
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.env,
            cwd=self.config.parent,
        )
        self._commands.add(process)
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                # Reads the pipes to their end, so that no transport is left open.
                await process.communicate()
            self._commands.discard(process)


def threads_of(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
