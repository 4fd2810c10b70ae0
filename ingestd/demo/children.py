"""The `ingestd` commands that the demo runs as anybody would: as programs of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingestd.demo.telling import NotHeldError

COMMAND_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: its exit status and all that it printed."""

    status: int
    output: str


class Ingestd:
    """Runs `ingestd` on one configuration."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self._program = _find_program()

    async def run(self, *arguments: object) -> Ran:
        """Run a command to its end, whatever its exit status. Raises NotHeldError where it does not end."""
        async with self.started(*arguments) as child:
            try:
                async with asyncio.timeout(COMMAND_SECONDS_MAX):
                    output, _ = await child.communicate()
            except TimeoutError:
                claim = f"`ingestd {arguments[0]}` comes to an end"
                raise NotHeldError(claim, expected=f"within {COMMAND_SECONDS_MAX:g} s", found="it still runs") from None
        return Ran(child.returncode or 0, output.decode("utf-8", "replace"))

    async def output(self, *arguments: object) -> str:
        """Run a command that must succeed; return what it printed. Raises NotHeldError."""
        ran = await self.run(*arguments)
        if ran.status != 0:
            claim = f"`ingestd {' '.join(map(str, arguments))}` succeeds"
            raise NotHeldError(claim, expected="exit status 0", found=f"{ran.status}: {ran.output.strip()}")
        return ran.output

    @contextlib.asynccontextmanager
    async def started(self, *arguments: object) -> AsyncIterator[Process]:
        """Start a command whose output is read by the caller; end it with the block."""
        child = await asyncio.create_subprocess_exec(
            self._program,
            *map(str, arguments),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=self._environment(),
        )
        try:
            yield child
        finally:
            await _end(child)

    @contextlib.asynccontextmanager
    async def daemon(self, log: Path) -> AsyncIterator[Process]:
        """Run the daemon until the block ends; its standard error is added to `log`."""
        with log.open("ab") as stream:
            child = await asyncio.create_subprocess_exec(
                self._program, "run", stdin=DEVNULL, stdout=stream, stderr=stream, env=self._environment()
            )
        try:
            yield child
        finally:
            await _end(child)

    def _environment(self) -> Mapping[str, str]:
        # What they print is read as UTF-8, whatever the terminal's encoding is.
        return {**os.environ, "INGESTD_CONFIG": str(self.config), "PYTHONIOENCODING": "utf-8"}


async def stop(child: Process) -> int:
    """Ask a child to stop as a service manager does; return its exit status. Kills it where it does not."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            return await child.wait()
    except TimeoutError:
        child.kill()
        return await child.wait()


async def _end(child: Process) -> None:
    # Also while the demo itself is being cancelled: no child outlives it.
    await asyncio.shield(stop(child))


def _find_program() -> str:
    """Return the console script that belongs to this installation."""
    beside = Path(sysconfig.get_path("scripts")) / "ingestd"
    if beside.exists():
        return str(beside)
    started_as = Path(sys.argv[0])
    if started_as.name == "ingestd" and started_as.exists():
        return str(started_as.resolve())
    found = shutil.which("ingestd")
    if found is None:
        raise NotHeldError("`ingestd` is installed", expected="a console script", found="none on the PATH")
    return found
