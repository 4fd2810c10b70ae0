"""What a mailbox may send: budgets a minute and a day, and the connections that a server grants us.

A budget that is used up is neither an attempt nor a failure: the mailbox's replies wait until the moment at
which it has room again. What was sent is counted in the database; only while there is room for certain is it
not asked again for each reply.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from storage import mailboxes, sending
from storage.database import Database, now
from storage.leases import Held
from storage.sending import DAY, MINUTE, Sent


class Spent(enum.StrEnum):
    """Which budget has no room: the reason of a reply that waits for it."""

    MINUTE = "budget_minute"
    DAY = "budget_day"
    RECIPIENTS = "budget_recipients"


HangUp = Callable[[], Awaitable[None]]

BUDGET_REASONS: Final = tuple(one.value for one in Spent)


WORDS: Final[Mapping[Spent, str]] = MappingProxyType(
    {
        Spent.MINUTE: "It has sent as many messages within a minute as its provider allows "
        "(limits.messages_per_minute_max); the next one leaves within a minute.",
        Spent.DAY: "It has sent as many messages within 24 hours as its provider allows "
        "(limits.messages_per_day_max); the next one leaves when the oldest of them is a day old.",
        Spent.RECIPIENTS: "It has written to as many recipients within 24 hours as its provider allows "
        "(limits.recipients_per_day_max); the next reply leaves when there is room for its recipients.",
    }
)
"""What a person reads."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one mailbox may send."""

    messages_per_minute: int
    messages_per_day: int
    recipients_per_day: int


@dataclass(frozen=True, slots=True)
class Room:
    """What may still be sent without being counted anew."""

    messages: int = 0
    recipients: int = 0

    def has(self, recipients: int) -> bool:
        return self.messages > 0 and self.recipients >= recipients

    def less(self, recipients: int) -> Room:
        return Room(self.messages - 1, self.recipients - recipients)


@dataclass(frozen=True, slots=True)
class Postponed:
    """A budget is used up."""

    spent: Spent
    until: datetime
    replies: int
    """How many wait for it that did not wait before."""


def free_at(costs: Sequence[tuple[datetime, int]], cost: int, limit: int, window: timedelta) -> datetime | None:
    """Return when `cost` more fits into the window; None where it fits now.

    `costs` are those within the window, oldest first. What costs more than the limit by itself has to wait
    until the window is empty, or it would wait for ever.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    >>> free_at([(at, 1), (at + timedelta(seconds=10), 1)], 1, 2, timedelta(minutes=1)).isoformat()
    '2026-01-01T12:01:00+00:00'
    >>> free_at([(at, 1)], 1, 2, timedelta(minutes=1)) is None
    True
    """
    excess = sum(one for _, one in costs) + cost - limit
    if excess <= 0 or not costs:
        return None
    for at, one in costs:
        excess -= one
        if excess <= 0:
            return at + window
    return costs[-1][0] + window


def room_for(conn: Connection, account_id: UUID, held: Held, budget: Budget, recipients: int) -> Room | Postponed:
    """Return how much room the budget has, or that it is used up: then the mailbox's replies wait. Raises FenceLost."""
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    used = sending.usage(conn, account_id, held.mailbox_id)
    room = Room(
        min(budget.messages_per_minute - used.messages_minute, budget.messages_per_day - used.messages_day),
        budget.recipients_per_day - used.recipients_day,
    )
    if room.has(recipients):
        return room
    at = now(conn)
    found = _spent(sending.sent_since(conn, account_id, held.mailbox_id, at - DAY), at, budget, recipients)
    if found is None:
        return Room(1, recipients)
    spent, until = found
    return Postponed(spent, until, sending.hold_unsent(conn, account_id, held.mailbox_id, until, spent))


def _spent(sent: Sequence[Sent], at: datetime, budget: Budget, recipients: int) -> tuple[Spent, datetime] | None:
    """Return the budget that has room last, and when."""
    lately = [one for one in sent if one.at > at - MINUTE]
    free = {
        Spent.MINUTE: free_at([(one.at, 1) for one in lately], 1, budget.messages_per_minute, MINUTE),
        Spent.DAY: free_at([(one.at, 1) for one in sent], 1, budget.messages_per_day, DAY),
        Spent.RECIPIENTS: free_at(
            [(one.at, one.recipients) for one in sent], recipients, budget.recipients_per_day, DAY
        ),
    }
    found = [(until, spent) for spent, until in free.items() if until is not None]
    if not found:
        return None
    until, spent = max(found)
    return spent, until


class Connections:
    """How many connections this process has to one submission server, and which mailboxes have them.

    A mailbox keeps its connection between two runs, and its place with it; where another one needs a place,
    the connection that has been idle for the longest is closed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._busy: set[UUID] = set()
        self._idle: OrderedDict[UUID, HangUp] = OrderedDict()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self, mailbox_id: UUID) -> None:
        """Wait for a place; what has one keeps it."""
        if mailbox_id in self._busy:
            return
        again = False
        while mailbox_id not in self._idle and not self._idle and len(self._busy) >= self._limit:
            await self._turn(first=again)
            again = True
        hang_up = None
        if self._idle.pop(mailbox_id, None) is None and len(self._busy) + len(self._idle) >= self._limit:
            _, hang_up = self._idle.popitem(last=False)
        self._busy.add(mailbox_id)
        if hang_up is not None:
            await hang_up()

    def release(self, mailbox_id: UUID, hang_up: HangUp) -> None:
        """The mailbox sends nothing more for now; `hang_up` closes the connection that it keeps."""
        if mailbox_id in self._busy:
            self._busy.discard(mailbox_id)
            self._idle[mailbox_id] = hang_up
            self._next()

    def forget(self, mailbox_id: UUID) -> None:
        """The mailbox has no connection any more."""
        self._busy.discard(mailbox_id)
        self._idle.pop(mailbox_id, None)
        self._next()

    async def _turn(self, *, first: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        # Who was woken and found the place taken all the same was there before the others.
        self._waiting.insert(0 if first else len(self._waiting), turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()  # the place is another's
            raise

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class Allowance:
    """What one mailbox may send, and its place among the connections. Used by one task at a time."""

    def __init__(self, budget: Budget, connections: Connections) -> None:
        self._budget = budget
        self._connections = connections
        self._room = Room()

    async def ask(self, content: Database, held: Held, recipients: int) -> Postponed | None:
        """Take room for one message; where there is none, its mailbox's replies wait. Raises FenceLost.

        Nobody else sends for a mailbox that we hold, so what was found free stays free.
        """
        if not self._room.has(recipients):
            found = await content.transaction(held.account_id, room_for, held, self._budget, recipients)
            if isinstance(found, Postponed):
                return found
            self._room = found
        self._room = self._room.less(recipients)
        return None

    async def connect(self, held: Held) -> None:
        """Wait until the server grants this mailbox a connection."""
        await self._connections.acquire(held.mailbox_id)

    def rest(self, held: Held, hang_up: HangUp) -> None:
        """Nothing more is sent for now."""
        self._connections.release(held.mailbox_id, hang_up)

    def end(self, held: Held) -> None:
        """The connection is closed."""
        self._connections.forget(held.mailbox_id)
