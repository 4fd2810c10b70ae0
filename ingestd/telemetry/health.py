"""Health: is the process alive (restart it if not), and is it ready (send it no requests if not)?

Live means that the event loop turns. Ready means that every named check was good
when last looked at, and was looked at lately. Both answer in fixed words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ingestd.telemetry.fields import is_word

CHECKS_MAX: Final = 32
OK: Final = "ok"
STALE: Final = "stale"
MISSING: Final = "missing"
STALLED: Final = "stalled"
STOPPING: Final = "stopping"


@dataclass(frozen=True, slots=True)
class _Check:
    good: bool
    word: str
    at: float


class Health:
    """What the daemon knows of its own health.

    `required` names the checks without which it is not ready (database, keystore,
    lease …). A check is stale, and so not good, `stale_seconds` after it was last set.
    The loop counts as stalled when its last tick is `stalled_seconds` old.
    """

    def __init__(
        self,
        required: Iterable[str] = (),
        *,
        tick_seconds: float = 1.0,
        stalled_seconds: float = 10.0,
        stale_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._stalled_seconds = stalled_seconds
        self._stale_seconds = stale_seconds
        self._checks: dict[str, _Check | None] = {}
        self._stopping = False
        self._ticked_at = clock()
        for name in required:
            self._admit(name)
            self._checks[name] = None

    async def run(self) -> None:
        """Tick until cancelled. The daemon runs this as one of its tasks."""
        while True:
            self.tick()
            await asyncio.sleep(self._tick_seconds)

    def tick(self) -> None:
        self._ticked_at = self._clock()

    def set(self, name: str, *, good: bool, word: str | None = None) -> None:
        """Record a check. `word` says what is wrong, such as `unavailable`; "failing" by default.

        Raises ValueError for a name or word that is none, and for more than CHECKS_MAX names.
        """
        self._admit(name)
        said = word or (OK if good else "failing")
        if not is_word(said):
            raise ValueError("the state of a health check must be a fixed word")
        self._checks[name] = _Check(good, said, self._clock())

    def stopping(self) -> None:
        """Not ready from now on: the daemon finishes what it holds and takes nothing new."""
        self._stopping = True

    def livez(self) -> tuple[bool, Mapping[str, str]]:
        live = self._clock() - self._ticked_at <= self._stalled_seconds
        return live, {"loop": OK if live else STALLED}

    def checks(self) -> Mapping[str, bool]:
        """Return which checks are good, as /readyz judges them."""
        return {name: self._judge(check)[0] for name, check in self._checks.items()}

    def readyz(self) -> tuple[bool, Mapping[str, str]]:
        answers = {name: self._judge(check) for name, check in self._checks.items()}
        if self._stopping:
            answers["daemon"] = (False, STOPPING)
        return all(good for good, _ in answers.values()), {name: word for name, (_, word) in answers.items()}

    def _judge(self, check: _Check | None) -> tuple[bool, str]:
        if check is None:
            return False, MISSING
        # A bad check stays bad, and keeps saying why.
        if check.good and self._clock() - check.at > self._stale_seconds:
            return False, STALE
        return check.good, check.word

    def _admit(self, name: str) -> None:
        if not is_word(name):
            raise ValueError("the name of a health check must be a fixed word")
        if name not in self._checks and len(self._checks) >= CHECKS_MAX:
            raise ValueError(f"more than {CHECKS_MAX} health checks")
