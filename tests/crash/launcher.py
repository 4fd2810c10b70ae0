"""`python -m tests.crash.launcher …`: the real command line, with a signal to itself at a chosen commit.

The hooks of `Database` are the only thing that is patched, and what has no commit: to put a blob and to delete those
of a mailbox, and what an export writes and answers. The signal is SIGKILL unless the environment names another:
nothing of the process runs after it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from ingestd.cli import main
from ingestd.desk import MessageView
from ingestd.privacy.export import Export, Walk
from storage import keystore_tables
from storage.blobs import FolderBlobs
from storage.bucket import BucketBlobs
from storage.database import Database
from tests import statements
from tests.crash.points import RECORD, SIGNAL, SIGNAL_AT, STATEMENTS, Point


class Hooks:
    """Counts the points that this process passes."""

    def __init__(self) -> None:
        record = os.environ.get(RECORD)
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if record else -1
        chosen = os.environ.get(SIGNAL_AT)
        self._chosen = Point.parse(chosen) if chosen else None
        self._signal = int(os.environ.get(SIGNAL, signal.SIGKILL))
        self._passed: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def passes(self, database: str, name: str, phase: str) -> None:
        with self._lock:
            key = (database, name.strip("_"), phase)
            self._passed[key] += 1
            point = Point(*key, self._passed[key])
            if self._record >= 0:
                os.write(self._record, f"{point}\n".encode())
        if point == self._chosen:
            os.kill(os.getpid(), self._signal)

    def _passing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return what a blob store does, with its points."""

        def hooked(*args: Any) -> Any:
            self.passes("blobs", name, "committing")
            done = call(*args)
            self.passes("blobs", name, "committed")
            return done

        return hooked

    def install(self) -> None:
        def name_of(database: Database) -> str:
            return "keystore" if database.metadata is keystore_tables.metadata else "content"

        def committing(database: Database, name: str) -> None:
            self.passes(name_of(database), name, "committing")

        def committed(database: Database, name: str) -> None:
            self.passes(name_of(database), name, "committed")

        settle, ticket = Export._settle, Export._ticket

        def settle_export(export: Export) -> None:
            self.passes("export", "settle", "committing")
            settle(export)
            self.passes("export", "settle", "committed")

        async def export_ticket(export: Export, *args: Any) -> None:
            await ticket(export, *args)
            self.passes("export", "ticket", "committing")

        messages = Walk.messages

        async def walk_messages(walk: Walk, number: int) -> AsyncIterator[MessageView]:
            async for one in messages(walk, number):
                yield one
                self.passes("export", "message", "committed")

        for target, attribute, function in (
            (Database, "committing", committing),
            (Database, "committed", committed),
            *(
                (store, name, self._passing(name, getattr(store, name)))
                for store in (FolderBlobs, BucketBlobs)
                for name in ("put", "delete_mailbox")
            ),
            (Export, "_settle", settle_export),
            (Export, "_ticket", export_ticket),
            (Walk, "messages", walk_messages),
        ):
            setattr(target, attribute, function)


def run() -> None:
    Hooks().install()
    if path := os.environ.get(STATEMENTS):
        statements.write_to(Path(path))
    main()


if __name__ == "__main__":
    run()
