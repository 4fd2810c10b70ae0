"""Mails that are too much: too large, or more than the parser survives. The next one still comes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from ingestd.raw import RawPlace, load_raw
from storage.tables import quarantine
from tests.servers.process import children_of
from tests.stores import StoreUrls, sqlite_urls
from tests.story.daemon import threads_of
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail

MIB = 1024 * 1024


async def test_of_a_mail_over_the_limit_the_header_is_taken(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user = new_user()
    async with open_house(tmp_path, store_urls, servers, inbound={"message_bytes_max": 100_000}) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        large = mail(
            "max@customer.example.net", user, "Too large", "See below.", attachment=("film.bin", bytes(300_000))
        )
        house.deliver(user, large)
        house.deliver(user, mail("max@customer.example.net", user, "Small again", "This one fits."))
        first, second = await house.tickets(mailbox_id, 2)
        assert (first.record.subject, first.messages[0].record.truncated) == ("Too large", True)
        assert first.messages[0].record.mail.text == ""
        assert not first.messages[0].attachments
        assert second.messages[0].record.truncated is False
        assert await house.daemon.stop() == 0


async def test_a_mail_that_kills_the_parser_is_quarantined_with_its_bytes(
    servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user = new_user()
    limits = {"memory_bytes_max": 128 * MIB, "seconds_max": 60.0}
    allowed = {"message_bytes_max": 100 * MIB}
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, parser=limits, inbound=allowed) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail("nora@customer.example.net", user, "The evil one", "poison\r\n" * 8 * MIB))
        house.deliver(user, mail("nora@customer.example.net", user, "The next one", "It still comes."))
        (ticket,) = await house.tickets(mailbox_id, 1)
        assert ticket.record.subject == "The next one"
        reason, raw = await quarantined(house)
        assert reason in {"memory", "crash"}
        assert b"Subject: The evil one" in raw
        assert raw.count(b"poison\r\n") == 8 * MIB
        assert "message.quarantined" in [one.type for one in await house.events()]
        assert await house.daemon.stop() == 0


async def test_a_mail_that_takes_the_parser_too_long_is_quarantined(
    servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user = new_user()
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, parser={"seconds_max": 1.0}) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        (parser,) = children_of(house.daemon.pid)
        # A parser that hangs, for whatever reason.
        os.kill(parser, signal.SIGSTOP)
        house.deliver(user, mail("olga@customer.example.net", user, "Hangs for ever", "And ever."))
        reason, raw = await quarantined(house)
        assert reason == "timeout"
        assert b"Subject: Hangs for ever" in raw
        house.deliver(user, mail("olga@customer.example.net", user, "The next one", "It still comes."))
        await house.tickets(mailbox_id, 1)
        assert await house.daemon.stop() == 0


async def quarantined(house: House) -> tuple[str, bytes]:
    """Wait for the one message in quarantine; return the reason and its bytes."""

    def look(conn: Connection, account_id: object) -> list[object]:
        rows = conn.execute(select(quarantine).where(quarantine.c.account_id == account_id))
        return list(rows)

    async def found() -> list[object] | None:
        return await house.read(look) or None

    (row,) = await until(found, "quarantine", 60.0)
    key = await house.store.keys.mailbox(house.account_id, row.mailbox_id)  # type: ignore[attr-defined]
    place = RawPlace(row.quarantine_id, row.chunks, row.raw_place)  # type: ignore[attr-defined]
    return row.reason, await load_raw(house.store.content, house.store.blobs, key, place)  # type: ignore[attr-defined]


async def test_idle_mailboxes_cost_no_thread(servers: Servers, new_user: Callable[[], str], tmp_path: Path) -> None:
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, inbound={"imap_threads": 2}) as house:
        await house.daemon.start()
        threads = []
        users: list[str] = []
        for more in (4, 6):
            new = [new_user() for _ in range(more)]
            for user in new:
                await house.linked(user)
            users += new
            await until(partial(all_connected, house, users), "connections")
            threads.append(threads_of(house.daemon.pid))
        # The pools may still grow by one or two towards their own limits, but not by one a mailbox.
        assert threads[1] - threads[0] <= 2, threads
        assert await house.daemon.stop() == 0


async def all_connected(house: House, users: list[str]) -> bool:
    counts = await asyncio.gather(*(asyncio.to_thread(house.servers.dovecot.connections, user) for user in users))
    return all(counts)
