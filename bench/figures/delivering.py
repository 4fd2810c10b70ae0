"""How long a helpdesk waits for the event of a message that came in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

from bench.harness import RUNS, Figure, Run
from bench.house import add_account, add_mailboxes, claim_all, fetched, opened
from bench.intake import Mailbox, mailboxes, plain_mail
from bench.receiver import receiving
from bench.timing import Stopwatch
from bench.workshop import Engine, Workshop
from config import Egress, Settings
from ingestd.build.outside import Outside, new_metrics
from ingestd.build.store import Store
from ingestd.build.webhooks import new_courier, new_dispatcher, new_webhook_desk
from ingestd.events.desk import NewWebhook
from ingestd.inbound.parser import ParserPool
from ingestd.wakes import Bell, watch
from storage.types import new_id

_MESSAGES = 500
"""Of a run."""
_A_SECOND = 100
_TYPE = "message.received"


async def webhook_p99_ms_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds from the commit of a message to its event at the receiver, the 99th percentile of 500 messages of
    2 KB, 100 a second, committed as they come. On SQLite, with one webhook; the receiver is in this process, no TLS.

    The yardstick is a bare POST of the same body on a kept connection to the same receiver, the 99th percentile of as
    many at the same pace.
    """
    async for run in _measure(workshop, "sqlite"):
        yield run


async def webhook_p99_ms_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As webhook_p99_ms_sqlite, on a PostgreSQL of the same machine with fsync on."""
    async for run in _measure(workshop, "postgresql"):
        yield run


async def _measure(workshop: Workshop, engine: Engine) -> AsyncIterator[Run]:
    with workshop.temporary(engine) as installation:
        async with opened(installation) as store, ParserPool() as parser, receiving() as (port, came):
            account_id = await add_account(store)
            await add_mailboxes(store, account_id, 1)
            (mailbox,) = mailboxes(store, await claim_all(store), parser)
            async with _delivering(store, account_id, port):
                for number in range(RUNS):
                    came.clear()
                    ours = await _deliver(store, mailbox, came, number)
                    yield Run(_p99(ours), _p99(await _bare(port, came)))


@contextlib.asynccontextmanager
async def _delivering(store: Store, account_id: UUID, port: int) -> AsyncIterator[None]:
    """Deliver as a daemon does, to one webhook."""
    egress = Egress(allow=(f"127.0.0.1:{port}",))
    settings: Settings = store.settings.model_copy(update={"egress": egress})
    outside, bell = Outside(settings), Bell()
    courier = new_courier(outside, lambda: settings)
    desk = new_webhook_desk(store, outside, courier, lambda: settings)
    await desk.create(account_id, new_id(), NewWebhook(f"http://127.0.0.1:{port}/", types=[_TYPE]))
    dispatcher = new_dispatcher(store, courier, new_metrics(), bell, lambda: settings, new_id())
    watching = watch(store.content, bell, poll_seconds=settings.storage.data_version_poll_seconds)
    tasks = [asyncio.create_task(dispatcher.run()), asyncio.create_task(watching)]
    try:
        yield
    finally:
        await dispatcher.drain(5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await courier.close()
        await outside.close()


async def _deliver(store: Store, mailbox: Mailbox, came: dict[int, float], number: int) -> list[float]:
    """Commit messages at their pace; return the milliseconds of each from its commit to its receipt."""
    begin = number * _MESSAGES
    at = datetime.now(UTC)
    prepared = [await mailbox.prepare([fetched(plain_mail(n), n, at)]) for n in range(begin, begin + _MESSAGES)]
    commits: list[float] = []
    times: list[float] = []

    def committed(name: str) -> None:
        if name == "commit_batch":
            commits.append(time.perf_counter())

    store.content.committed = committed  # type: ignore[method-assign]
    clock, done = Stopwatch(), 0
    while done < _MESSAGES:
        # What has come meanwhile is one batch, as a reader takes it.
        due = min(_MESSAGES, int(clock.seconds() * _A_SECOND) + 1)
        if due <= done:
            await asyncio.sleep(done / _A_SECOND - clock.seconds())
            continue
        await mailbox.commit([one for single in prepared[done:due] for one in single])
        times += [commits[-1]] * (due - done)
        done = due
    if (pace := _MESSAGES / clock.seconds()) < _A_SECOND * 0.9:
        raise RuntimeError(f"only {pace:.0f} messages a second could be committed: what was measured is something else")
    for _ in range(3000):
        if len(came) >= _MESSAGES:
            break
        await asyncio.sleep(0.01)
    # Sequences are in the order of commits.
    return [(came[sequence] - at) * 1000 for sequence, at in zip(sorted(came), times, strict=True)]


async def _bare(port: int, came: dict[int, float]) -> list[float]:
    """Return the milliseconds of each bare POST, from its write to its receipt."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sequences, samples = list(came), []
    watch = Stopwatch()
    for n, sequence in enumerate(sequences):
        body = json.dumps({"type": _TYPE, "timestamp": "", "data": {"sequence": sequence, "rest": "x" * 300}}).encode()
        await asyncio.sleep(max(0.0, n / _A_SECOND - watch.seconds()))
        at = time.perf_counter()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"\r\n\r\n")
        samples.append((came[sequence] - at) * 1000)
    writer.close()
    return samples


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98]


_PLAIN = "a bare POST of the same event"
FIGURES = (
    Figure("webhook_p99_ms_sqlite", "ms", _PLAIN, webhook_p99_ms_sqlite),
    Figure("webhook_p99_ms_postgresql", "ms", _PLAIN, webhook_p99_ms_postgresql),
)
