"""How long a command takes to start."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bench.harness import Figure, Run
from bench.house import add_account, opened
from bench.timing import Stopwatch
from bench.workshop import Workshop

_RUNS = 9
_PROGRAM = str(Path(sys.executable).parent / "ingestd")


async def start_version(_workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds of `ingestd --version`, from start to exit.

    The yardstick is a Python that does nothing.
    """
    async for run in _starts("--version"):
        yield run


async def start_command(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds of `ingestd mailbox list` on an empty SQLite store, from start to exit.

    The yardstick is a Python that does nothing.
    """
    with workshop.temporary("sqlite") as installation:
        async with opened(installation) as store:
            await add_account(store)
        async for run in _starts("--config", str(installation.config), "mailbox", "list"):
            yield run


async def _starts(*arguments: str) -> AsyncIterator[Run]:
    await _milliseconds(_PROGRAM, *arguments)  # once before, so that its files are in memory
    for _ in range(_RUNS):
        yield Run(await _milliseconds(_PROGRAM, *arguments), await _milliseconds(sys.executable, "-c", "pass"))


async def _milliseconds(*command: str) -> float:
    watch = Stopwatch()
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    status = await process.wait()
    if status:
        raise RuntimeError(f"{command[0]} ended with status {status}")
    return watch.seconds() * 1000


FIGURES = (
    Figure("start_version", "ms", "python -c pass", start_version),
    Figure("start_command", "ms", "python -c pass", start_command),
)
