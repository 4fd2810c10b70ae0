"""How fast mail is parsed."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable, Sequence

from bench.corpus import corpus
from bench.harness import RUNS, Figure, Run
from bench.timing import CpuStopwatch, Stopwatch
from bench.workshop import Workshop
from ingestd.inbound.parser import ParserPool
from ingestd.mail.transform import transform

_MAILS = 300
_PROCESSES = 2
_IN_FLIGHT = 50  # a batch, as the reader hands it over


async def parse(_workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails that one core parses in a second: `ingestd.mail.transform`, which reads headers, text, HTML
    and quotes, compresses the raw message and hashes it.

    The yardstick parses the same mails by the standard library's `email` with `policy.default` and decodes every
    part. CPU time of the process, both.
    """
    raws = _raws()
    for _ in range(RUNS):
        yield Run(_rate(raws, transform), _rate(raws, _parse_by_stdlib))


async def parse_pool(_workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails a second through two parser processes, fifty in flight.

    The yardstick is `transform` in this process, one after the other, without any process between: at most as
    many times slower as there are processes. Wall time, both.
    """
    raws = _raws()
    async with ParserPool(processes=_PROCESSES) as pool:
        slots = asyncio.Semaphore(_IN_FLIGHT)

        async def one(raw: bytes) -> None:
            async with slots:
                await pool.transform(raw)

        for _ in range(RUNS):
            watch = Stopwatch()
            await asyncio.gather(*map(one, raws))
            value = len(raws) / watch.seconds()
            watch = Stopwatch()
            for raw in raws:
                transform(raw)
            yield Run(value, len(raws) / watch.seconds())


def _raws() -> list[bytes]:
    return [mail.raw for mail in corpus(_MAILS)]


def _rate(raws: Sequence[bytes], work: Callable[[bytes], object]) -> float:
    watch = CpuStopwatch()
    for raw in raws:
        work(raw)
    return len(raws) / watch.seconds()


def _parse_by_stdlib(raw: bytes) -> None:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    for name in ("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References"):
        str(message[name])
    for part in message.walk():
        if not part.is_multipart():
            part.get_content()


FIGURES = (
    Figure("parse", "messages/s", "the standard library's email package", parse),
    Figure("parse_pool", "messages/s", "parsing in this process", parse_pool),
)
