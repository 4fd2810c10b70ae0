"""Measuring time."""

from __future__ import annotations

import time


class Stopwatch:
    """Wall time since it was made or restarted, in seconds."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._started


class CpuStopwatch:
    """CPU time of this process: what other work does to the machine is not in it."""

    def __init__(self) -> None:
        self._started = time.process_time()

    def seconds(self) -> float:
        return time.process_time() - self._started
