"""Processes whose clock is wrong (libfaketime)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def wrong_clock(seconds: float) -> Mapping[str, str] | None:
    """Return the environment in which a process has the time of day in so many seconds, and the right pace of time;
    None where libfaketime is not installed."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        return None
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
