"""How much of this process one mail server may have at a time.

Commands block a thread of a bounded pool. A server that answers slowly would in the end have all of them, and new
mail on every other server would wait for it; so each server has places of its own, fewer than there are threads.
Logins are fewer still: thousands of mailboxes that come back after an outage must not knock all at once.
"""

from __future__ import annotations

import asyncio

from connectors.imap_access import ImapEndpoint


class HostPlaces:
    """The places of each server, by host and port. Use it from one event loop."""

    def __init__(self, threads_max: int = 32, logins_max: int = 16) -> None:
        self._threads_max = threads_max
        self._logins_max = logins_max
        self._threads: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._logins: dict[tuple[str, int], asyncio.Semaphore] = {}

    def threads(self, server: ImapEndpoint) -> asyncio.Semaphore:
        return self._threads.setdefault((server.host, server.port), asyncio.Semaphore(self._threads_max))

    def logins(self, server: ImapEndpoint) -> asyncio.Semaphore:
        return self._logins.setdefault((server.host, server.port), asyncio.Semaphore(self._logins_max))
