"""Tells systemd how the service is: ready, reloading, stopping, alive (sd_notify(3)).

One datagram a message to the socket that `$NOTIFY_SOCKET` names; without it, nothing is
sent. A message that cannot be sent is lost: systemd then acts as if we had not spoken,
which is right, and no reason to end the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

_MICROSECONDS: Final = 1_000_000
STATUS_CHARACTERS_MAX: Final = 200


class Notifier:
    """The line to whoever started us. `watchdog_seconds` is None where nobody waits for signs of life.

    A `status` is the line that `systemctl status` shows: fixed words and numbers, as in a log.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = _socket_address(address)
        self.watchdog_seconds = watchdog_seconds if self._address is not None else None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, pid: int | None = None) -> Notifier:
        """Read `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID` (sd_watchdog_enabled(3))."""
        meant_for = environ.get("WATCHDOG_PID", "")
        is_ours = not meant_for or meant_for == str(os.getpid() if pid is None else pid)
        microseconds = environ.get("WATCHDOG_USEC", "")
        watched = is_ours and microseconds.isdecimal() and int(microseconds) > 0
        return cls(environ.get("NOTIFY_SOCKET"), int(microseconds) / _MICROSECONDS if watched else None)

    def ready(self, status: str) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        # Type=notify-reload (systemd 253) tells by the time to which of its signals this belongs.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    async def keep_alive(self, is_live: Callable[[], bool]) -> None:
        """Give a sign of life twice in each watchdog time, as long as `is_live` says so, until cancelled.

        It comes from the event loop, so a loop that is stalled gives none, and systemd ends the process.
        """
        while self.watchdog_seconds is not None:
            if is_live():
                self.alive()
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # a full queue must not stall the loop
            sock.sendto("\n".join(assignments).encode(), self._address)


def _socket_address(text: str | None) -> str | None:
    """Return the address for AF_UNIX: a path, or in place of "@" the NUL of an abstract one; None for others.

    >>> _socket_address("@systemd"), _socket_address("/run/notify"), _socket_address("vsock:2:1")
    ('\\x00systemd', '/run/notify', None)
    """
    if not text or text[0] not in "/@":
        return None
    return "\0" + text[1:] if text[0] == "@" else text


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:STATUS_CHARACTERS_MAX]
