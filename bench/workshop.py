"""What figures are measured in: a temporary folder, servers, and a seeded database that several figures share."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from bench.house import Installation, install, sqlite_installation
from bench.seed import Seeded, seed
from tests.servers.postgres import PostgresServer, find_binaries

T = TypeVar("T")
Engine = Literal["sqlite", "postgresql"]

MESSAGES = 1_000_000
"""In the large database."""
MAILBOXES = 1_000


class Unavailable(Exception):
    """This machine lacks what the figure needs: it is skipped. The text says what to install."""


@dataclass(frozen=True, slots=True)
class Large:
    """A database of a million messages, and how it came to be."""

    installation: Installation
    seeded: Seeded


class Workshop:
    """Makes what figures ask for and removes it at the end; use as a context.

    `messages` are those of the large database; fewer are good for trying only.
    """

    def __init__(self, messages: int = MESSAGES) -> None:
        self.messages = messages
        self.mailboxes = min(MAILBOXES, max(1, messages // 100))
        self._stack = contextlib.ExitStack()
        self._folder = Path()
        self._number = 0
        self._postgres: PostgresServer | None = None
        self._made: dict[str, Any] = {}
        self._progress: Callable[[str], None] = lambda _text: None

    def __enter__(self) -> Workshop:
        self._folder = Path(tempfile.mkdtemp(prefix="ingestd-bench-"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def on_progress(self, show: Callable[[str], None]) -> None:
        self._progress = show

    def say(self, text: str) -> None:
        """Tell a person how far the figure is."""
        self._progress(text)

    def folder(self) -> Path:
        """Return a new empty folder."""
        self._number += 1
        path = self._folder / str(self._number)
        path.mkdir()
        return path

    def installation(self, engine: Engine) -> Installation:
        """Return a new installation with empty databases."""
        if engine == "sqlite":
            return sqlite_installation(self.folder())
        server = self.postgres()
        return install(self.folder(), server.create_database(), server.create_database())

    @contextlib.contextmanager
    def temporary(self, engine: Engine) -> Iterator[Installation]:
        """As `installation`; its folder is removed behind its figure, as a full disk would fail the next one."""
        made = self.installation(engine)
        try:
            yield made
        finally:
            shutil.rmtree(made.folder, ignore_errors=True)

    def postgres(self) -> PostgresServer:
        """Return the PostgreSQL server of this call, which keeps what it commits as one in production does."""
        if self._postgres is None:
            binaries = find_binaries()
            if binaries is None:
                raise Unavailable("PostgreSQL is not installed: apt-get install postgresql")
            # The tests' server does not wait for the disk; figures of commits must. The size is as a server that is
            # meant for this much has it.
            server = PostgresServer(binaries, settings=("fsync=on", "max_wal_size=4GB"))
            server.start()
            self._stack.callback(server.remove)
            self._postgres = server
        return self._postgres

    async def large(self, engine: Engine) -> Large:
        """Return the large database; the first figure that asks for it waits until it is seeded."""

        async def make() -> Large:
            installation = self.installation(engine)
            done = await seed(
                installation,
                messages=self.messages,
                mailboxes=self.mailboxes,
                account_count=min(10, self.mailboxes),
                progress=lambda written: self.say(f"seeding {written:,} of {self.messages:,} messages"),
            )
            return Large(installation, done)

        return await self.once(f"large {engine}", make)

    async def once(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return what `make` returned when a figure of this call first asked for `name`."""
        if name not in self._made:
            self._made[name] = await make()
        made: T = self._made[name]
        return made
