"""When a delivery is tried again. Pure: randomness is an argument."""

from __future__ import annotations

from collections.abc import Sequence


def retry_delay(
    attempts: int, pauses: Sequence[float], *, jitter: float, random: float, retry_after: float | None = None
) -> float | None:
    """Return the seconds until the next attempt after so many failed ones; None where it is given up.

    `random` is in 0..1, and `jitter` the share of a pause that it adds: nothing comes earlier than it should.
    A receiver that asks for more time (`retry_after`, bounded by the caller) gets it.

    >>> [retry_delay(n, [5, 300], jitter=0.2, random=0.5) for n in (1, 2, 3)]
    [5.5, 330.0, None]
    >>> retry_delay(1, [5], jitter=0, random=0, retry_after=60)
    60
    """
    if attempts > len(pauses):
        return None
    pause = pauses[attempts - 1] * (1 + jitter * random)
    return pause if retry_after is None else max(pause, retry_after)


def probe_delay(failures: int, initial: float, most: float, *, random: float) -> float:
    """Return the seconds until the next single attempt at a receiver that so many in a row failed at.

    >>> [probe_delay(n, 5, 300, random=0) for n in (1, 2, 3, 10)]
    [5.0, 10.0, 20.0, 300]
    """
    return min(most, initial * 2.0 ** min(failures - 1, 30) * (1 + random * 0.2))
