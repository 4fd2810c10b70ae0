"""Several processes on one machine: a parent that starts them, passes signals on, and starts again what has died.

The parent holds nothing: no database, no mail, no event loop. It forks each process before anything of it runs, so
they share the memory of what was imported. What they say to systemd as processes of their own they say here to the
parent, over a socket each, and the parent speaks for all of them. A parent that dies closes those sockets, and its
processes drain as after a SIGTERM.

A process that ends by itself is started again after a pause, which grows while it ends again soon. One that ends
before all have been ready once ends everything, with its status: what keeps it from starting is the operator's.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from ingestd.telemetry.notify import Notifier

log = structlog.get_logger()

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_TICK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 1.0
_PAUSE_SECONDS_MAX: Final = 60.0
_LASTING_SECONDS: Final = 60.0
"""Who has lived so long ends by chance: the next pause is short again."""
_SILENT_SECONDS_MAX: Final = 30.0
"""A process whose event loop has given no sign of life for so long is killed and started again."""
_MESSAGE_BYTES: Final = 4096
EXIT_KILLED: Final = 1


class ToParent(Notifier):
    """The line of a process to its parent; on it goes what systemd would be told."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__(None)
        self._line = line
        self.watchdog_seconds = _SILENT_SECONDS_MAX / 3

    def _send(self, *assignments: str) -> None:
        with contextlib.suppress(OSError):  # the parent is gone: we are told by the line's end
            self._line.send("\n".join(assignments).encode(), socket.MSG_DONTWAIT)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the processes."""

    role: str
    """A word for the log."""
    run: Callable[[socket.socket], int]
    """What it does, given its line to the parent; returns its exit status. Runs in the process itself."""


@dataclass(slots=True)
class _Child:
    part: Part
    pid: int
    line: socket.socket
    started_at: float
    heard_at: float
    ready: bool = False
    killed: bool = False


class Parent:
    """Runs the parts until SIGTERM or SIGINT. Use it from the main thread of a process that has no other."""

    def __init__(self, parts: Sequence[Part], notifier: Notifier, *, stop_seconds: float) -> None:
        """`stop_seconds` is how long they may take to end once they are told to."""
        self._parts = parts
        self._notifier = notifier
        self._stop_seconds = stop_seconds
        self._selector = selectors.DefaultSelector()
        self._signalled, self._wake = socket.socketpair()
        self._children: dict[int, _Child] = {}
        self._due: list[tuple[float, Part]] = []
        """What is to be started again, and when."""
        self._pauses: dict[Part, float] = {}
        self._were_ready = False
        self._stopping_since: float | None = None
        self._status = 0
        self._said_at = 0.0

    def run(self) -> int:
        """Return the exit status: 0 where all ended well."""
        with self._signals():
            self._selector.register(self._signalled, selectors.EVENT_READ)
            for part in self._parts:
                self._start(part)
            while self._children or self._due:
                self._round()
        return self._status

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        for end in (self._signalled, self._wake):
            end.setblocking(False)
        old = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        old_fd = signal.set_wakeup_fd(self._wake.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)

    def _round(self) -> None:
        for key, _ in self._selector.select(_TICK_SECONDS):
            if key.fileobj is self._signalled:
                self._take_signals()
            else:
                self._hear(key.data)
        self._reap()
        now = time.monotonic()
        self._end_silent(now)
        for due in [one for one in self._due if one[0] <= now]:
            self._due.remove(due)
            self._start(due[1])
        watchdog = self._notifier.watchdog_seconds
        if watchdog is not None and now - self._said_at >= min(watchdog / 2, _TICK_SECONDS):
            self._said_at = now
            self._notifier.alive()

    # -- their lives -----------------------------------------------------------------------------

    def _start(self, part: Part) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that came in between would be told to us by the process, as its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become(part, ours, theirs, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        now = time.monotonic()
        child = self._children[pid] = _Child(part, pid, ours, now, now)
        self._selector.register(ours, selectors.EVENT_READ, child)
        log.info("process.started", role=part.role, pid=pid)
        if self._stopping_since is not None:
            os.kill(pid, signal.SIGTERM)

    def _become(
        self, part: Part, ours: socket.socket, theirs: socket.socket, mask: set[int | signal.Signals]
    ) -> NoReturn:
        status = EXIT_KILLED
        try:
            os.setpgid(0, 0)  # Ctrl-C is the parent's: a second signal would end us at once
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            # An end of another's line that is open here would keep it from seeing that the parent is gone.
            for line in (ours, self._signalled, self._wake, *(one.line for one in self._children.values())):
                line.close()
            self._selector.close()
            status = part.run(theirs)
        except BaseException:  # noqa: BLE001  (nothing of it may go on in the parent's loop)
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        del self._children[child.pid]
        self._hang_up(child)
        if self._stopping_since is not None:
            log.info("process.ended", role=child.part.role, pid=child.pid, exit_code=status)
            self._status = self._status or (EXIT_KILLED if status < 0 else status)
            return
        if not self._were_ready:
            log.error("process.ended", role=child.part.role, pid=child.pid, exit_code=status)
            self._status = EXIT_KILLED if status <= 0 else status
            self._stop()
            return
        lived = time.monotonic() - child.started_at
        pause = self._pauses.get(child.part, _PAUSE_SECONDS) if lived < _LASTING_SECONDS else _PAUSE_SECONDS
        self._pauses[child.part] = min(2 * pause, _PAUSE_SECONDS_MAX)
        self._due.append((time.monotonic() + pause, child.part))
        log.error("process.ended", role=child.part.role, pid=child.pid, exit_code=status, delay_seconds=pause)

    def _end_silent(self, now: float) -> None:
        for child in self._children.values():
            if self._stopping_since is None:
                is_late = child.ready and now - child.heard_at > _SILENT_SECONDS_MAX
            else:
                is_late = now - self._stopping_since > self._stop_seconds
            if is_late and not child.killed:
                log.error("process.silent", role=child.part.role, pid=child.pid)
                child.killed = True
                os.kill(child.pid, signal.SIGKILL)

    # -- what they say ---------------------------------------------------------------------------

    def _hear(self, child: _Child) -> None:
        try:
            said = child.line.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except OSError:
            return
        if not said:
            self._hang_up(child)
            return
        child.heard_at = time.monotonic()
        if said.startswith(b"READY=1") and not child.ready:
            child.ready = True
            self._tell_ready()

    def _hang_up(self, child: _Child) -> None:
        if child.line.fileno() >= 0:
            self._selector.unregister(child.line)
            child.line.close()

    def _tell_ready(self) -> None:
        if len(self._children) == len(self._parts) and all(one.ready for one in self._children.values()):
            self._were_ready = True
            self._notifier.ready(f"running in {len(self._children)} processes")

    # -- signals ---------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        for number in self._signalled.recv(_MESSAGE_BYTES):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP and self._stopping_since is None:
                self._reload()

    def _stop(self) -> None:
        """Told a second time, they end at once: each of them counts by itself."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._notifier.stopping("finishing what is under way")
        self._due.clear()
        self._pass_on(signal.SIGTERM)

    def _reload(self) -> None:
        self._notifier.reloading()
        for child in self._children.values():
            child.ready = False
        self._pass_on(signal.SIGHUP)

    def _pass_on(self, number: signal.Signals) -> None:
        for child in self._children.values():
            os.kill(child.pid, number)  # not reaped yet, so it is still ours
