"""Names to addresses, in threads of their own.

The system's resolver blocks for as long as a name server keeps it waiting, and nothing can stop it. In the event loop's
own few threads, the mailboxes of one domain whose name servers are silent would soon have all of them, and what else
those are for, as writing a large mail to the disk, would wait.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Found = tuple[Any, ...]
"""A row of `socket.getaddrinfo`."""


class LookUps:
    """Use it from one event loop."""

    def __init__(self, threads: int = 16) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="resolve")
        self._running: dict[tuple[str, int], asyncio.Future[list[Found]]] = {}

    async def ask(self, name: str, port: int) -> list[Found]:
        """Return what the resolver says. Who asks what is being asked already gets that answer, so that a name never
        has more than one thread. Raises OSError and UnicodeError."""
        running = self._running.get((name, port))
        if running is None:
            ask = functools.partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
            running = asyncio.get_running_loop().run_in_executor(self._executor, ask)
            self._running[name, port] = running
            running.add_done_callback(lambda done: self._forget(name, port, done))
        return await asyncio.shield(running)

    def _forget(self, name: str, port: int, done: asyncio.Future[list[Found]]) -> None:
        del self._running[name, port]
        if not done.cancelled():
            done.exception()  # looked at, as whoever asked may have given up
