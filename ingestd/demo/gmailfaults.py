"""What the demo's Gmail can be made to do wrong, and how it counts quota units. No I/O.

The costs are Google's (Gmail API, "Usage limits", per-method quota units).
"""

from __future__ import annotations

import enum
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

UNITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "getProfile": 1,
        "history.list": 2,
        "labels.create": 5,
        "labels.list": 1,
        "messages.attachments.get": 5,
        "messages.batchDelete": 50,
        "messages.batchModify": 50,
        "messages.delete": 10,
        "messages.get": 5,
        "messages.import": 25,
        "messages.insert": 25,
        "messages.list": 5,
        "messages.modify": 5,
        "messages.send": 100,
        "messages.trash": 5,
        "messages.untrash": 5,
        "stop": 50,
        "watch": 100,
    }
)
WINDOW_SECONDS: Final = 60.0


class Loss(enum.StrEnum):
    """How a connection ends in the middle of a call."""

    BEFORE = "before"
    """Nothing was done."""
    AFTER = "after"
    """It was done; the answer is lost."""
    HANG = "hang"
    """It was done; no answer comes, and the connection stays."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is no success; `reason` as Google names it, e.g. userRateLimitExceeded."""

    status: int = 503
    reason: str = "backendError"
    retry_after: float | None = None
    message: str = "said the server"


@dataclass
class Faults:
    """What is to go wrong: by method name (`UNITS`), each as often as it was asked for. "batch" is the batch itself."""

    history_twice: bool = False
    """Every record of the history is told twice."""
    history_shuffled: bool = False
    """Records are told in another order."""
    rewrites_message_ids: bool = True
    """A mail that is sent gets another Message-ID."""
    wait: Fault = field(default_factory=lambda: Fault(429, "rateLimitExceeded", 1))
    """What is said where the quota is used up."""

    def __post_init__(self) -> None:
        self._waiting: defaultdict[str, deque[Fault | Loss]] = defaultdict(deque)
        self._lock = threading.Lock()

    def next(self, method: str, what: Fault | Loss, *, times: int = 1) -> None:
        """Let the next calls of a method fail."""
        with self._lock:
            self._waiting[method].extend([what] * times)

    def take(self, method: str) -> Fault | Loss | None:
        with self._lock:
            waiting = self._waiting[method]
            return waiting.popleft() if waiting else None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()
        self.history_twice = self.history_shuffled = False
        self.rewrites_message_ids = True


class Quota:
    """Units of one user: at most so many in any minute."""

    def __init__(self, units_per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.units_per_minute = units_per_minute
        self.used = 0
        """In all."""
        self.refused = 0
        """Calls that were told to wait."""
        self.highest = 0
        """The most units of any minute."""
        self._clock = clock
        self._spent: deque[tuple[float, int]] = deque()
        self._within = 0

    def spend(self, units: int) -> bool:
        """Return whether these may still be used, and count them."""
        now = self._clock()
        while self._spent and self._spent[0][0] <= now - WINDOW_SECONDS:
            self._within -= self._spent.popleft()[1]
        if self.units_per_minute is not None and self._within + units > self.units_per_minute:
            self.refused += 1
            return False
        self._spent.append((now, units))
        self._within += units
        self.used += units
        self.highest = max(self.highest, self._within)
        return True
