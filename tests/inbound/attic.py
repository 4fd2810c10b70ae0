"""Old mail for tests that need no mail server: a reader that yields what it is given, and fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from config import Backfill, Backoff, Inbound
from connectors.base import ConnectorError, HistoryBatch, HistoryPlan, RawMessage
from ingestd.inbound import backfill_steps
from ingestd.inbound.backfill import BackfillTools, MailboxBackfill
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.taking import ReaderTools
from ingestd.telemetry.metrics import Metrics
from storage import backfills
from tests.office import HereParser, Office

FAST = Backoff(initial_seconds=0.001, max_seconds=0.001)


@dataclass
class Attic:
    """The history side of a `Reader`. Its cursor is the number of messages behind it."""

    mails: Sequence[bytes]
    """Oldest first."""
    batch: int = 1
    fail: Callable[[int], ConnectorError | None] = lambda _seen: None
    """Asked before each batch with how much was seen."""
    plans: list[HistoryPlan] = field(default_factory=list)
    cursors: list[str | None] = field(default_factory=list)
    closed: int = 0
    gate: asyncio.Event | None = None
    """Where there is one, nothing is yielded before it is set."""

    async def history(self, plan: HistoryPlan, cursor: str | None) -> AsyncIterator[HistoryBatch]:
        self.plans.append(plan)
        self.cursors.append(cursor)
        found = [
            RawMessage(f"1:{number}:INBOX", "INBOX", len(raw), self.received_at(number), raw, raw)
            for number, raw in enumerate(self.mails)
        ]
        groups = [found[at : at + self.batch] for at in range(0, len(found), self.batch)]
        seen = int(cursor or 0)
        if self.gate is not None:
            await self.gate.wait()
        passed = 0
        for group in reversed(groups) if plan.newest_first else groups:
            passed += len(group)
            if passed <= seen:
                continue
            if (error := self.fail(seen)) is not None:
                raise error
            seen = passed
            yield HistoryBatch(group, str(seen), seen, len(found))

    def received_at(self, number: int) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=number)

    async def close(self) -> None:
        self.closed += 1


def tools(office: Office, settings: Backfill, parser: ParserPool | None = None) -> BackfillTools:
    reading = ReaderTools(
        content=office.stores.content,
        blobs=office.stores.blobs,
        parser=parser or HereParser(),  # type: ignore[arg-type]
        metrics=Metrics(version="0", python_version="3"),
        settings=Inbound(),
        blob_bytes_min=office.desk.blob_bytes_min,
        batches=asyncio.Semaphore(1),
    )
    return BackfillTools(reading, settings, asyncio.Semaphore(settings.mailboxes_max))


def worker(office: Office, attic: Attic, used: BackfillTools | None = None) -> MailboxBackfill:
    caught_up = asyncio.Event()
    caught_up.set()
    used = used or tools(office, Backfill(backoff=FAST))
    return MailboxBackfill(office.held, office.context, attic, caught_up, used)  # type: ignore[arg-type]


async def ask(office: Office, *, days: int | None = None, newest_first: bool = True) -> None:
    await office.stores.content.transaction(
        office.held.account_id, backfill_steps.ask, office.held.mailbox_id, days=days, newest_first=newest_first
    )


async def backfill(office: Office) -> backfills.Backfill:
    return await office.stores.content.read(office.held.account_id, backfills.get_backfill, office.held.mailbox_id)


async def imported(office: Office, mails: Sequence[bytes], *, newest_first: bool = True, **attic: Any) -> Attic:
    """Ask for old mail and read it to the end."""
    await ask(office, newest_first=newest_first)
    box = Attic(mails, **attic)
    await worker(office, box).run()
    return box
