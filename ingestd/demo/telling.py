"""How the demo tells its story: numbered headings, what it ran, and evidence that held or did not."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TextIO, TypeVar

T = TypeVar("T")

POLL_SECONDS: Final = 0.1

_BOLD, _DIM, _GREEN, _RED, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


class NotHeldError(Exception):
    """The demo found something else than was promised. Nothing after it makes sense."""

    def __init__(self, claim: str, *, expected: object, found: object) -> None:
        super().__init__(claim)
        self.claim = claim
        self.expected = expected
        self.found = found


class Teller:
    """Writes the story; in colours where a person watches."""

    def __init__(self, out: TextIO) -> None:
        if isinstance(out, io.TextIOWrapper):
            # A terminal that cannot show Japanese must not end the demo.
            out.reconfigure(errors="replace")
        self._out = out
        self._coloured = out.isatty()
        self._steps = 0
        self._began = time.monotonic()
        self.held = 0
        """How many claims have held so far."""

    @property
    def seconds(self) -> float:
        """How long the story has lasted."""
        return time.monotonic() - self._began

    def step(self, title: str) -> None:
        self._steps += 1
        self._say(f"\n{self._painted(f'{self._steps}. {title}', _BOLD)}")

    def note(self, text: str) -> None:
        self._say(f"  {text}")

    def ran(self, arguments: Iterable[object], output: str = "") -> None:
        """Show a command that was run, and what it printed."""
        self._say(self._painted(f"  $ ingestd {' '.join(map(_quoted, arguments))}", _DIM))
        for line in output.strip("\n").splitlines():
            self._say(self._painted(f"  │ {line}".rstrip(), _DIM))

    def check(
        self, claim: str, held: bool, *, expected: object = "that it holds", found: object = "it does not"
    ) -> None:
        """State a claim with its evidence. Raises NotHeldError where it does not hold."""
        if not held:
            raise NotHeldError(claim, expected=expected, found=found)
        self.held += 1
        self._say(f"  {self._painted('✓', _GREEN)} {claim}")

    def same(self, claim: str, found: object, expected: object) -> None:
        """State that two values are equal. Raises NotHeldError where they are not."""
        self.check(claim, found == expected, expected=expected, found=found)

    def end(self, text: str) -> None:
        self._say(f"\n{self._painted(text, _BOLD)}")

    def broken(self, error: NotHeldError) -> None:
        self._say(f"  {self._painted('✗', _RED)} {error.claim}")
        self._say(f"    expected: {error.expected}")
        self._say(f"    found:    {error.found}")

    def _painted(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


async def until(what: str, look: Callable[[], Awaitable[T | None]], *, seconds_max: float) -> T:
    """Return what `look` finds, once it finds something. Raises NotHeldError after `seconds_max`."""
    end = time.monotonic() + seconds_max
    while True:
        found = await look()
        if found is not None:
            return found
        if time.monotonic() >= end:
            raise NotHeldError(what, expected=f"it happens within {seconds_max:g} s", found="it did not")
        await asyncio.sleep(POLL_SECONDS)


def counts(found: Mapping[str, int]) -> str:
    """Return counts for people to read.

    >>> counts({"events": 2, "erasures": 1})
    'erasures 1, events 2'
    """
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items())) or "none"


def _quoted(argument: object) -> str:
    text = str(argument).replace("\n", "\\n")
    return f'"{text}"' if not text or any(one in text for one in " &;?!\\") else text
