"""The collector of garbage, and what it need not look at."""

from __future__ import annotations

import gc


def keep_what_was_loaded() -> None:
    """Spare the collector what is there now and stays for good: modules, tables, compiled patterns.

    Without it a full collection goes through all of them, and stops every task of a daemon for 0.1 s and more.
    """
    gc.collect()
    gc.freeze()
