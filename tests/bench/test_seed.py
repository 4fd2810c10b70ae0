"""A seeded database is one that the product could have written: verified, and readable, on both engines."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from bench.house import Installation, claim_all, fetched, install, opened
from bench.intake import mailboxes
from bench.seed import COLUMNS, Seeded, seed
from bench.seed_mails import RAW_BYTES, SeedMails, message_id
from ingestd.build.store import Store
from ingestd.inbound.parser import ParserPool
from ingestd.keys import KeyRing
from ingestd.mail.parse import parse
from ingestd.verify import verify
from storage import tables
from storage.sealing import MasterKey
from tests.stores import StoreUrls

MESSAGES, MAILBOXES, ACCOUNTS = 250, 7, 2


@pytest.fixture
def installation(store_urls: StoreUrls, tmp_path: Path) -> Installation:
    folder = tmp_path / "installation"
    return install(folder, store_urls.content, store_urls.keystore)


@pytest.fixture
async def seeded(installation: Installation) -> Seeded:
    told: list[int] = []
    done = await seed(
        installation,
        messages=MESSAGES,
        mailboxes=MAILBOXES,
        account_count=ACCOUNTS,
        processes=2,
        progress=told.append,
    )
    assert told == sorted(told)
    assert told[-1] == MESSAGES
    return done


@pytest.fixture
async def store(installation: Installation, seeded: Seeded) -> AsyncIterator[Store]:
    async with opened(installation) as store:
        yield store


async def test_every_promise_holds(store: Store, seeded: Seeded) -> None:
    keys = KeyRing(store.keystore, MasterKey(store.settings.keys.master_key_bytes()))
    report = await verify(store.content, store.keystore, store.blobs, keys)
    assert report.violations == []
    assert report.checked["raw_messages_are_whole"] == MESSAGES
    assert report.checked["tickets_have_a_message"] == seeded.tickets
    assert report.checked["mailboxes_have_a_key"] == MAILBOXES + ACCOUNTS


async def test_tickets_can_be_listed_and_shown(store: Store, seeded: Seeded) -> None:
    """What was sealed is what the parser would have made of the raw bytes."""
    seen, multiple = set(), 0
    for account_id in seeded.accounts:
        listed = await store.desk.tickets(account_id, limit=1000)
        assert [one.ticket.number for one in listed] == list(range(1, len(listed) + 1))
        for summary in listed[::5]:
            view = await store.desk.ticket(account_id, summary.ticket.number)
            multiple += len(view.messages) > 1
            for one in view.messages:
                raw = await store.desk.raw(account_id, one.row.message_id)
                assert len(raw) == one.row.size_bytes == RAW_BYTES
                assert parse(raw) == one.record.mail
                seen.add(one.record.mail.message_id)
    assert len(seen) > 50
    assert multiple > 0


PROVED = "Authentication-Results: mx.example.com; dmarc=pass\r\n"


async def test_the_next_mail_goes_on_from_the_seeded_ones(store: Store, seeded: Seeded) -> None:
    """Identity and threading find what was seeded, and the numbers go on behind it."""
    worker = await claim_all(store)
    async with ParserPool(processes=1) as parser:
        mailbox = mailboxes(store, worker, parser)[0]
        again = SeedMails().make(0, 0, [])
        assert await mailbox.prepare([fetched(again.raw, 1, again.received_at)]) == []
        answer = again.raw.replace(message_id(0).encode(), b"<answer@example.com>").replace(
            b"MIME-Version", f"{PROVED}In-Reply-To: {message_id(0)}\r\nMIME-Version".encode()
        )
        await mailbox.take([fetched(answer, 2, again.received_at)])
        await mailbox.take(
            [fetched(b"From: new@example.com\r\nMessage-ID: <n@example.com>\r\n\r\nHi", 3, again.received_at)]
        )
    account_id = worker.held[0].account_id
    listed = await store.desk.tickets(account_id, limit=1000)
    assert len((await store.desk.ticket(account_id, 1)).messages) == 2
    assert listed[-1].record.requester.addr == "new@example.com"
    assert listed[-1].ticket.number == len(listed)
    keys = KeyRing(store.keystore, MasterKey(store.settings.keys.master_key_bytes()))
    assert (await verify(store.content, store.keystore, store.blobs, keys)).violations == []


async def test_mailboxes_lie_mixed_where_that_is_asked_for(installation: Installation) -> None:
    done = await seed(installation, messages=60, mailboxes=3, part=7, processes=1, account_count=1)
    assert len(done.part_seconds) == 9
    async with opened(installation) as store:
        keys = KeyRing(store.keystore, MasterKey(store.settings.keys.master_key_bytes()))
        report = await verify(store.content, store.keystore, store.blobs, keys)
        assert report.violations == []
        assert report.checked["tickets_have_a_message"] == done.tickets
        order = await store.content.read(None, _mailboxes_in_order)
    assert sum(one != following for one, following in itertools.pairwise(order)) >= 8


def _mailboxes_in_order(conn: Connection) -> list[UUID]:
    """Of each message, as they were written."""
    return list(conn.execute(select(tables.messages.c.mailbox_id).order_by(tables.messages.c.message_id)).scalars())


async def test_more_accounts_than_mailboxes_are_refused(installation: Installation) -> None:
    with pytest.raises(ValueError, match="a mailbox for each"):
        await seed(installation, messages=10, mailboxes=2, account_count=3)


def test_the_values_are_those_of_the_parser() -> None:
    mails = SeedMails()
    for number in (0, 1, 4095, 4096, 999_999):
        for earlier in ([], [message_id(1_000_001)], [message_id(1_000_001), message_id(1_000_002)]):
            one = mails.make(number, number // 2, earlier)
            assert len(one.raw) == RAW_BYTES
            assert parse(one.raw) == one.mail


def test_whatever_must_be_there_is_written() -> None:
    for name, columns in COLUMNS.items():
        table = tables.metadata.tables[name]
        needed = {column.name for column in table.columns if not column.nullable and column.server_default is None}
        assert needed <= set(columns) <= set(table.columns.keys())
