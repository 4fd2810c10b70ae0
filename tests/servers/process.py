"""What the test servers share: ports, folders, and waiting for a condition with a limit."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class ServerMissingError(Exception):
    """A server program is not installed, or this user cannot run it."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def free_ports(count: int) -> int:
    """Return the first of `count` ports in a row that are free."""
    for _ in range(100):
        first = free_port()
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise OSError(f"no {count} free ports in a row")


def private_folder(name: str) -> Path:
    """Make a folder with a short path (unix sockets take 107 bytes) that the server's own users can enter."""
    path = Path(tempfile.mkdtemp(prefix=f"ingestd-{name}-"))
    path.chmod(0o755)
    return path


def run(*command: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> bytes:
    """Run to the end; the output of a failure is in the exception's text."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=30, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:4]}: {done.returncode} {done.stderr[-2000:]!r}")
    return done.stdout


def run_daemon(*command: str) -> None:
    """Run a program that leaves a daemon behind; no pipes, for the daemon would keep them open."""
    quiet = subprocess.DEVNULL
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=said, timeout=30, cwd="/", check=False)
        if done.returncode:
            said.seek(0)
            raise RuntimeError(f"{command[:4]}: {done.returncode} {said.read(2000)!r}")


def wait_until(condition: Callable[[], bool], seconds: float = 10.0, said: str = "condition") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{said} did not come true in {seconds} s")
        time.sleep(0.02)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def children_of(pid: int) -> set[int]:
    """Return the processes that a process started and that still run."""
    found = set()
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            found |= {int(one) for one in path.read_text().split()}
    return found


def require_root(name: str) -> None:
    if os.geteuid() != 0:
        raise ServerMissingError(f"{name} needs root: it gives its processes users of their own")


def require_programs(names: Sequence[str]) -> None:
    for name in names:
        if not any(Path(folder, name).is_file() for folder in ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/lib")):
            raise ServerMissingError(f"{name} is not installed")
