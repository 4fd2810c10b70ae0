"""The collector of garbage, and what it need not look at."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1024 * 1024


def keep_what_was_loaded() -> None:
    """Spare the collector what is there now and stays for good: modules, tables, compiled patterns.

    Without it a full collection goes through all of them, and stops every task of a daemon for 0.1 s and more.
    """
    gc.collect()
    gc.freeze()


def return_large_blocks() -> None:
    """Have the C library give large blocks back to the system as soon as they are free (mallopt(3)).

    Else glibc keeps, after the first large mail, room for the next ones in its heap, where it is never given back.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
