"""Runs `ingestd` in processes that are forked from one that has imported it: a command then takes a tenth of a second.

What runs is what the console script runs, each time in a process of its own with its own arguments, environment, folder
and streams, and it can be killed as any other. Only the importing, which would be most of the time, is done once
for each process of the tests. That the script itself starts is for `tests/cli/test_shell.py` and the stories' daemons.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

INGESTD: Final = "ingestd.cli:main"
_REQUEST_BYTES_MAX: Final = 128 * 1024
_FDS: Final = 4
_POLL_SECONDS: Final = 0.01
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


@dataclass
class WarmProcess:
    """One that was started; `pid` is its own."""

    pid: int
    _told: int
    """Where its end is told."""
    _status: int | None = None

    @property
    def returncode(self) -> int | None:
        """Its status, negative for a signal; None while it runs."""
        if self._status is None:
            with contextlib.suppress(BlockingIOError):
                text = os.read(self._told, 32)
                assert text, "what starts the commands of the tests is gone"
                os.close(self._told)
                self._status = int(text)
        return self._status

    async def wait(self) -> int:
        """Wait for its end; return its status."""
        while (status := self.returncode) is None:
            await asyncio.sleep(_POLL_SECONDS)
        return status

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def start(
    function: str, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, out: IO[bytes], err: IO[bytes]
) -> WarmProcess:
    """Call a `module:function` as a console script does, in a new process with these streams and an empty stdin."""
    told, tell = os.pipe()
    request = json.dumps([function, list(arguments), dict(env), str(cwd)]).encode()
    assert len(request) < _REQUEST_BYTES_MAX
    with open(os.devnull, "rb") as nothing:
        socket.send_fds(_server(), [request], [nothing.fileno(), out.fileno(), err.fileno(), tell])
    os.close(tell)
    pid = int(os.read(told, 32))
    os.set_blocking(told, False)
    return WarmProcess(pid, told)


async def run(
    function: str, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, seconds: float
) -> tuple[int, str, str]:
    """Run it to its end; return its status and what it wrote to both streams. Raises TimeoutError."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(function, arguments, env=env, cwd=cwd, out=out, err=err)
        try:
            async with asyncio.timeout(seconds):
                status = await process.wait()
        finally:
            process.kill()
            await process.wait()
        out.seek(0)
        err.seek(0)
        return status, out.read().decode(), err.read().decode()


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
    )
    theirs.close()

    def close() -> None:
        ours.close()
        process.wait(timeout=20)

    atexit.register(close)
    return ours


# -- in the server ---------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> None:
    for package in ("ingestd", "storage", "connectors", "config"):
        for one in pkgutil.walk_packages([package], f"{package}."):
            if not one.name.endswith("__main__"):
                importlib.import_module(one.name)
    for name in ("tests.crash.launcher", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.asyncpg"):
        importlib.import_module(name)
    gc.freeze()
    children: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is requests:
                    request, fds, _, _ = socket.recv_fds(requests, _REQUEST_BYTES_MAX, _FDS)
                    if not request:
                        return  # the tests are over; the children have PR_SET_PDEATHSIG
                    pid, tell = _fork(request, fds, [requests.fileno()])
                    pidfd = os.pidfd_open(pid)
                    children[pidfd] = pid, tell
                    selector.register(pidfd, selectors.EVENT_READ)
                else:
                    selector.unregister(key.fd)
                    pid, tell = children.pop(key.fd)
                    _, status = os.waitpid(pid, 0)
                    os.close(key.fd)
                    with contextlib.suppress(BrokenPipeError):
                        os.write(tell, str(os.waitstatus_to_exitcode(status)).encode())
                    os.close(tell)


def _fork(request: bytes, fds: Sequence[int], ours: Sequence[int]) -> tuple[int, int]:
    """Return the new process and where to tell its end; its id is told there at once."""
    *streams, tell = fds
    pid = os.fork()
    if pid == 0:
        try:
            function, arguments, env, cwd = json.loads(request)
            _begin(function, arguments, env, cwd, streams)
        except BaseException:  # noqa: BLE001  (nothing of it may go on in the server's own loop)
            traceback.print_exc()
        os._exit(70)
    for one in streams:
        os.close(one)
    os.write(tell, str(pid).encode())
    return pid, tell


def _begin(function: str, arguments: list[str], env: dict[str, str], cwd: str, streams: Sequence[int]) -> NoReturn:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    for place, one in enumerate(streams):
        os.dup2(one, place)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    # As the interpreter does at its start; they last until the end of the process.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["ingestd", *arguments]
    sys.modules["__main__"].__package__ = None  # by which click would name the program
    module, _, name = function.partition(":")
    status: Any = 0
    try:
        getattr(importlib.import_module(module), name)()
    except SystemExit as end:
        status = end.code or 0
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    # What the interpreter does at its end, but for taking down the server's own frames.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
