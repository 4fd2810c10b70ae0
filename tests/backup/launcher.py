"""`python -m tests.backup.launcher …`: the real command line, which kills itself at the n-th step that changes a disk.

Steps are every fsync and every rename, before they happen, and the database's commits, before and after.
Without `BACKUP_KILL_AT` it runs to its end and appends each step to the file `BACKUP_STEPS`.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingestd.cli import main
from storage.database import Database

KILL_AT = "BACKUP_KILL_AT"
STEPS = "BACKUP_STEPS"


def install() -> None:
    kill_at = int(os.environ.get(KILL_AT, "0"))
    numbers, lock = itertools.count(1), threading.Lock()

    def passes(name: str) -> None:
        with lock:
            number = next(numbers)
            if STEPS in os.environ:
                with Path(os.environ[STEPS]).open("a") as steps:
                    steps.write(f"{name}\n")
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)

        def announced(*args: Any, **kwargs: Any) -> Any:
            passes(name)
            return real(*args, **kwargs)

        setattr(module, name, announced)

    before(os, "fsync")
    before(os, "rename")
    before(Database, "committing")
    before(Database, "committed")


def run() -> None:
    install()
    main()


if __name__ == "__main__":
    run()
