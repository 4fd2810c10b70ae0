"""Whether this process may believe that its mailboxes are still its own.

The database decides who holds a mailbox, and a fence stops whoever lost it from writing
there. A mail cannot be fenced: once it has left, it has left. So a process that was
paused past its lease (a stopped container, a frozen machine) must notice by itself,
before the final dot, that another may have taken its replies over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID


class Lease:
    """The lease of one process, as far as its own clock can tell."""

    def __init__(self, worker_id: UUID, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.worker_id = worker_id
        self.seconds = seconds
        self._clock = clock
        self._renewed_at = float("-inf")

    def asking(self) -> float:
        """Return the moment to hand to `renewed`: taken before the database is asked, so that
        the lease never seems longer here than it is there."""
        return self._clock()

    def renewed(self, asked_at: float) -> None:
        self._renewed_at = asked_at

    def is_ours(self) -> bool:
        """Return False from the moment on at which another process may have taken over.

        >>> now = [0.0]
        >>> lease = Lease(UUID(int=1), 15, clock=lambda: now[0])
        >>> lease.is_ours()
        False
        >>> lease.renewed(lease.asking())
        >>> now[0] = 14.9
        >>> lease.is_ours()
        True
        >>> now[0] = 15
        >>> lease.is_ours()
        False
        """
        return self._clock() - self._renewed_at < self.seconds
