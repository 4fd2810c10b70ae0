"""What a mail costs on its way from bytes to what is stored, and what hostile mail costs everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

from bench.corpus import corpus
from bench.harness import RUNS, Figure, Run
from bench.hostile import hostile_mails
from bench.stdlib import transform_by_stdlib
from bench.timing import CpuStopwatch
from bench.workshop import Workshop
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.mail.transform import Transformed, transform
from ingestd.records import MessageRecord, chunk_place
from storage.sealing import DataKey, new_key
from storage.types import new_id

_MAILS = 300
_PROCESSES = 2
_TICK_SECONDS = 0.010
_TICKS_MIN = 500


async def transform_cpu_ms(_workshop: Workshop) -> AsyncIterator[Run]:
    """CPU time of the whole transform of a corpus mail: parse, text, sanitize, strip, hash, compress, seal.

    The yardstick is the same work with the standard library's `email`, `policy.default`, in the parser's place.
    One process, one core, mean of 300 mails.
    """
    raws = _raws()
    ours, theirs = _Sealing(), _Sealing()
    for _ in range(RUNS):
        yield Run(
            _milliseconds(raws, lambda raw: ours.keep(transform(raw))),
            _milliseconds(raws, lambda raw: theirs.keep(transform_by_stdlib(raw))),
        )


async def transform_vs_policy_default(_workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails that a core transforms and seals in a second, as `transform_cpu_ms`.

    The yardstick is the same work with the standard library's `email`, `policy.default`, in the parser's place:
    its headers, its parts, its decoding; all that is done with them is ours.
    """
    raws = _raws()
    ours, theirs = _Sealing(), _Sealing()
    for _ in range(RUNS):
        yield Run(
            1000 / _milliseconds(raws, lambda raw: ours.keep(transform(raw))),
            1000 / _milliseconds(raws, lambda raw: theirs.keep(transform_by_stdlib(raw))),
        )


async def hostile_ticker_p99_ms(_workshop: Workshop) -> AsyncIterator[Run]:
    """How late a task of the event loop runs that wants to run every 10 ms, 99th percentile, while two parser
    processes work on hostile mail without a pause.

    The yardstick is the same ticker with nothing to do beside it.
    """
    hostile = hostile_mails()
    async with ParserPool(processes=_PROCESSES, seconds_max=2.0) as pool:
        for _ in range(RUNS):
            idle = await _lateness()
            feeding = asyncio.create_task(_feed(pool, hostile))
            busy = await _lateness(until=feeding)
            await feeding
            yield Run(busy, idle)


class _Sealing:
    """Seals what the daemon seals: the record, and each chunk of the raw message."""

    def __init__(self) -> None:
        self._key = DataKey(new_id(), new_id(), new_key())

    def keep(self, done: Transformed) -> None:
        message_id = new_id()
        record = MessageRecord(mail=done.mail, raw_sha256=done.raw_sha256)
        self._key.seal_record(MessageRecord.place(message_id), record)
        self._seal_chunks(message_id, done.chunks)

    def _seal_chunks(self, message_id: UUID, chunks: Sequence[bytes]) -> None:
        for position, chunk in enumerate(chunks):
            self._key.seal(chunk_place(message_id, position, len(chunks)), chunk)


async def _feed(pool: ParserPool, mails: Sequence[bytes]) -> None:
    """Keep the processes busy until each mail was parsed, and the ticker has ticked often enough."""

    async def one(raw: bytes) -> None:
        with contextlib.suppress(ParserRejected):  # the limit did its work
            await pool.transform(raw)

    deadline = time.monotonic() + _TICKS_MIN * _TICK_SECONDS
    while time.monotonic() < deadline:
        await asyncio.gather(*map(one, mails))


async def _lateness(until: asyncio.Task[None] | None = None) -> float:
    """Return the 99th percentile of how late a tick came, in milliseconds: of enough ticks, and all of `until`."""
    late: list[float] = []
    while len(late) < _TICKS_MIN or (until is not None and not until.done()):
        due = time.perf_counter() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        late.append((time.perf_counter() - due) * 1000)
    return statistics.quantiles(late, n=100)[98]


def _raws() -> list[bytes]:
    return [mail.raw for mail in corpus(_MAILS)]


def _milliseconds(raws: Sequence[bytes], work: Callable[[bytes], None]) -> float:
    watch = CpuStopwatch()
    for raw in raws:
        work(raw)
    return watch.seconds() * 1000 / len(raws)


FIGURES = (
    Figure("transform_cpu_ms", "ms", "the same with policy.default as its parser", transform_cpu_ms),
    Figure(
        "transform_vs_policy_default",
        "messages/s",
        "the same with policy.default as its parser",
        transform_vs_policy_default,
    ),
    Figure("hostile_ticker_p99_ms", "ms", "the ticker with nothing beside it", hostile_ticker_p99_ms),
)
