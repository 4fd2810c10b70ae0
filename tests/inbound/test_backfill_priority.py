"""Old mail never delays new mail; with real parser processes, and conditions instead of times."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import Backfill
from connectors.base import RawMessage
from ingestd.inbound.backfill import BackfillTools
from ingestd.inbound.commit import commit_batch
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.taking import Taker
from storage import mailboxes
from storage.backfills import BackfillStatus
from tests.inbound.attic import Attic, ask, backfill, tools, worker
from tests.office import Office, mail
from tests.stores import Stores

CHILD = [sys.executable, "-I", "-B", str(Path(__file__).with_name("parser_child.py"))]


def waiting(name: str, path: Path) -> bytes:
    """Return a mail that a parser process does not get done before the file is there; so large that it is asked for
    alone."""
    raw = mail(name, message_id=f"<{name}@x.example>", headers=f"X-Wait-For: {path}\r\n")
    return raw + b"x" * 200_000


async def take(office: Office, used: BackfillTools, raw: bytes) -> None:
    """Take a new mail in, as the mailbox's reader does."""
    fetched = [RawMessage("1:9:INBOX", "INBOX", len(raw), datetime.now(UTC), raw, raw)]
    prepared, _ = await Taker(office.held, office.context, used.reading).prepare(fetched, live=True)
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    mailbox = await office.stores.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    await office.stores.content.transaction(
        account_id,
        commit_batch,
        office.context,
        prepared,
        fence=office.held.fence,
        cursor_sequence=mailbox.cursor_sequence,
        cursor="{}",
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_new_mail_is_committed_while_a_batch_of_old_ones_is_parsed(stores: Stores, tmp_path: Path) -> None:
    """By the one process that there is, between two old messages that came before it."""
    office = await Office.open(stores)
    first, second = tmp_path / "first", tmp_path / "second"
    async with ParserPool(processes=1, seconds_max=30, command=CHILD) as pool:
        used = tools(office, Backfill(), pool)
        await ask(office)
        old = Attic([waiting("o1", first), waiting("o2", second)], batch=2)
        running = asyncio.create_task(worker(office, old, used).run())
        await until(lambda: pool.waiting(live=False) == 1)
        assert not used.reading.batches.locked()
        new = asyncio.create_task(take(office, used, mail("new", message_id="<new@x.example>")))
        await until(lambda: pool.waiting(live=True) == 1)
        first.touch()
        await asyncio.wait_for(new, 30)
        assert await office.event_types() == ["backfill.started", "ticket.created", "message.received"]
        found = await backfill(office)
        assert (found.status, found.seen, running.done()) == (BackfillStatus.RUNNING, 0, False)
        second.touch()
        await asyncio.wait_for(running, 30)
    assert (await office.event_types()).count("message.imported") == 2
    await office.check()


@pytest.mark.parametrize(("processes", "old_at_work"), [(1, 1), (2, 1), (3, 2)])
async def test_old_mail_leaves_a_process_free(tmp_path: Path, processes: int, old_at_work: int) -> None:
    path = tmp_path / "go"
    async with ParserPool(processes=processes, seconds_max=30, command=CHILD) as pool:
        old = [asyncio.create_task(pool.transform(waiting(f"o{n}", path), live=False)) for n in range(4)]
        await until(lambda: pool.waiting(live=False) == 4 - old_at_work)
        if processes > 1:
            assert (await asyncio.wait_for(pool.transform(mail("new")), 30)).mail.subject == "new"
            assert pool.waiting(live=False) == 4 - old_at_work
        path.touch()
        assert {one.mail.subject for one in await asyncio.gather(*old)} == {"o0", "o1", "o2", "o3"}


async def test_who_stops_waiting_gives_his_place_up(tmp_path: Path) -> None:
    path = tmp_path / "go"
    async with ParserPool(processes=1, seconds_max=30, command=CHILD) as pool:
        busy = asyncio.create_task(pool.transform(waiting("busy", path)))
        await until(lambda: any(worker.messages for worker in pool._running))
        waits = [asyncio.create_task(pool.transform(mail(f"m{n}"), live=bool(n % 2))) for n in range(4)]
        await until(lambda: (pool.waiting(live=True), pool.waiting(live=False)) == (2, 2))
        for one in waits[:2]:
            one.cancel()
        await asyncio.wait(waits[:2])
        assert (pool.waiting(live=True), pool.waiting(live=False)) == (1, 1)
        path.touch()
        assert [one.mail.subject for one in await asyncio.gather(busy, *waits[2:])] == ["busy", "m2", "m3"]
