"""How much memory large mails take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from bench.figures.filling import AS_DEFAULT, family, installed, taken
from bench.harness import Figure, Run
from bench.mailhost import MailHost, running_mailhost
from bench.mime import CRLF, attachment, multipart, text_part
from bench.workshop import Workshop
from tests.story.house import House

_MB = 1_000_000
_LARGE, _MANY = 100 * _MB, 25 * _MB
_OF_MANY = 50
_MAILBOXES = 11
_LOOK_SECONDS = 0.02
_AS_DEFAULT_BUT_LARGE = AS_DEFAULT | {"inbound": {**AS_DEFAULT["inbound"], "message_bytes_max": 128 * 1024 * 1024}}
_RUNS = 2


async def peak_large_mb(workshop: Workshop) -> AsyncIterator[Run]:
    """Megabytes of memory that the daemon and its processes take above what they hold idle, at most, while one mail of
    100 MB and 50 of 25 MB come in, over eleven mailboxes; on SQLite, with default settings, but `message_bytes_max`.

    The proportional set size is looked at every 20 ms. The yardstick is the largest of the mails.
    """
    with running_mailhost(_MAILBOXES) as place:
        for run in range(_RUNS):
            async with installed(workshop, place, "sqlite", _AS_DEFAULT_BUT_LARGE) as house:
                await house.daemon.start()
                await asyncio.sleep(2)
                idle = held_bytes(house.daemon.pid)
                enough = asyncio.Event()
                looking = asyncio.create_task(_peak(house, enough))
                workshop.say("delivering large mails")
                await asyncio.to_thread(_deliver, place, run)
                await taken(house, _OF_MANY + 1)
                enough.set()
                yield Run((await looking - idle) / _MB, _LARGE / _MB)


async def _peak(house: House, enough: asyncio.Event) -> int:
    """Return the most bytes that were held until there is enough."""
    most = 0
    while not enough.is_set():
        most = max(most, await asyncio.to_thread(held_bytes, house.daemon.pid))
        await asyncio.sleep(_LOOK_SECONDS)
    return most


def held_bytes(pid: int) -> int:
    """Return the bytes of memory that a process and those below it hold; what several share counts once."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _deliver(place: MailHost, run: int) -> None:
    first, *others = place.users
    place.put(first, [_mail(_LARGE, f"{run}-large")])
    each = _OF_MANY // len(others)
    for number, address in enumerate(others):
        place.put(address, (_mail(_MANY, f"{run}-{number}-{at}") for at in range(each)))


def _mail(size_bytes: int, name: str) -> bytes:
    headers = [
        "From: customer@example.net",
        "To: support@example.com",
        f"Message-ID: <{name}@example.net>",
        "Subject: a large file",
        "MIME-Version: 1.0",
    ]
    parts = [
        text_part("plain", "See the file.\r\n", "utf-8", "7bit"),
        attachment("file.bin", "application/octet-stream", Random(name).randbytes(size_bytes * 57 // 78)),  # noqa: S311
    ]
    return "".join(f"{line}{CRLF}" for line in headers).encode() + multipart("mixed", "mark", parts)


FIGURES = (Figure("peak_large_mb", "MB", "the largest mail", peak_large_mb),)
