"""How a receiver does, as far as its last answers tell: whether to send freely, or to try one at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from config import Backoff
from ingestd.events.schedule import probe_delay

DOWN_AFTER = 3
"""So many failures without a success between: the receiver is down, not one event that it cannot digest."""


@dataclass(slots=True)
class Health:
    """Times are of the caller's clock, in seconds."""

    not_before: float = float("-inf")
    """Nothing is sent before: the receiver asked for time, or is down and was tried just now."""
    recovered: bool = False
    """It was down and is back, which is still to be written: what waits for another attempt need not wait."""
    _failures: int = 0
    _probes: int = 0
    _failed: set[int] = field(default_factory=set)
    """The events that it failed at. One alone may be the event's own fault."""

    @property
    def down(self) -> bool:
        return self._failures >= DOWN_AFTER

    def begin(self, *, failing: bool, now: float) -> None:
        """Take over what is stored of it: `failing`, its last delivery failed."""
        if not failing:
            self._reset()
        elif not self.down:
            self._failures, self.not_before = DOWN_AFTER, now

    def succeeded(self) -> bool:
        """Return whether it had been down."""
        was_down = self.down
        self.recovered = self.recovered or (was_down and len(self._failed) != 1)
        self._reset()
        return was_down

    def failed(
        self,
        sequence: int,
        now: float,
        probe_backoff: Backoff,
        *,
        probe: bool,
        retry_after: float | None,
        random: float,
    ) -> bool:
        """Return whether it has gone down by this failure; `probe`: it was down before the attempt began."""
        was_down = self.down
        self._failures += 1
        if len(self._failed) < DOWN_AFTER:
            self._failed.add(sequence)
        if probe:
            self._probes += 1
        if self.down and (probe or not was_down):
            pause = probe_delay(
                self._probes + 1, probe_backoff.initial_seconds, probe_backoff.max_seconds, random=random
            )
            self.not_before = now + pause
        if retry_after is not None:
            self.not_before = max(self.not_before, now + retry_after)
        return self.down and not was_down

    def _reset(self) -> None:
        self._failures = self._probes = 0
        self._failed.clear()
        self.not_before = float("-inf")
