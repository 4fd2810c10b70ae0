"""How much of this process one mail server may have at a time.

Commands block a thread of a bounded pool. A server that answers slowly would in the end have all of them, and new
mail on every other server would wait for it; so a server has at most as many places as the settings say, and at most
as many as are left free. By the second rule several slow ones leave some, too: each takes half of what those before it
left, in the end all have the same, and who comes with few wishes finds a place at once.

Logins are fewer still: thousands of mailboxes that come back after an outage must not knock all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque

from connectors.imap_access import ImapEndpoint


class ServerThreads:
    """The places of one server."""

    def __init__(self, all_places: HostPlaces) -> None:
        self._all = all_places
        self.taken = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Wait for a place. Who has one must `release` it."""
        place = asyncio.get_running_loop().create_future()
        self.waiting.append(place)
        self._all.deal(self)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                with contextlib.suppress(ValueError):  # it was its turn just then
                    self.waiting.remove(place)
            else:
                self.release()
            raise

    def release(self) -> None:
        self.taken -= 1
        self._all.given_back()

    def locked(self) -> bool:
        """Whether who asks now must wait."""
        return bool(self.waiting) or not self._all.may(self)


class HostPlaces:
    """The places of each server, by host and port. Use it from one event loop."""

    def __init__(self, threads_max: int = 32, logins_max: int = 16, threads: int = 64) -> None:
        """`threads` are those of the pool, `threads_max` those that one server has at most."""
        self._threads_max = threads_max
        self._logins_max = logins_max
        self._free = threads
        self._threads: dict[tuple[str, int], ServerThreads] = {}
        self._turns: OrderedDict[ServerThreads, None] = OrderedDict()
        """Servers for which somebody waits, whose turn it is first."""
        self._logins: dict[tuple[str, int], asyncio.Semaphore] = {}

    def threads(self, server: ImapEndpoint) -> ServerThreads:
        return self._threads.setdefault((server.host, server.port), ServerThreads(self))

    def logins(self, server: ImapEndpoint) -> asyncio.Semaphore:
        return self._logins.setdefault((server.host, server.port), asyncio.Semaphore(self._logins_max))

    def may(self, server: ServerThreads) -> bool:
        return server.taken < min(self._threads_max, self._free)

    def given_back(self) -> None:
        self._free += 1
        for server in list(self._turns):
            self.deal(server)

    def deal(self, server: ServerThreads) -> None:
        """Let those in that wait for a server, as far as there are places."""
        while server.waiting:
            if server.waiting[0].done():  # cancelled while it waited
                server.waiting.popleft()
            elif self.may(server):
                server.taken += 1
                self._free -= 1
                server.waiting.popleft().set_result(None)
                if server in self._turns:
                    self._turns.move_to_end(server)
            else:
                self._turns.setdefault(server)
                return
        self._turns.pop(server, None)
