"""The mail of years, read beside new mail, through a crash: all there, once, in its threads, and nobody answered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from storage import backfills
from storage.backfills import Backfill, BackfillStatus
from storage.tables import attempts, edits, outbox, reference_keys
from storage.tickets import TicketStatus
from tests.servers.dovecot import Dovecot
from tests.stores import StoreUrls, postgres_urls, sqlite_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail

THREADS, LETTERS = 100, 3
"""Letters of a thread, each in answer to the one before."""
OLD = THREADS * LETTERS
_DAY_SECONDS = 86_400


def fill(house: House, user: str) -> None:
    """Put the old mail into the folder, as years of use leave it: read, answered, flagged, or nothing of that."""
    dovecot = house.servers.dovecot
    dovecot.doveadm("mailbox", "status", "-u", user, "messages", "INBOX")  # makes it
    folder = dovecot.home / "mail" / user / "cur"
    oldest = time.time() - 2 * OLD * _DAY_SECONDS
    owner = folder.stat()
    for number in range(OLD):
        thread, letter = number % THREADS, number // THREADS
        one = mail(
            f"customer{thread}@customer.example.net",
            user,
            f"Question {thread}",
            f"Letter {letter} of question {thread}.",
            message_id=f"<old-{thread}-{letter}@customer.example.net>",
            in_reply_to=f"<old-{thread}-{letter - 1}@customer.example.net>" if letter else "",
        )
        house.words.update(one.words)
        path = folder / f"{int(oldest) + number}.M{number}P1.story:2,{('', 'S', 'RS', 'F')[number % 4]}"
        path.write_bytes(one.raw.replace(b"\r\n", b"\n"))
        os.chown(path, owner.st_uid, owner.st_gid)
        os.utime(path, (oldest + number * _DAY_SECONDS,) * 2)


def left(conn: Connection) -> dict[str, int]:
    """Return what a mailbox whose backfill is over must have none of."""
    tables = (attempts, outbox, edits, reference_keys)
    return {one.name: conn.execute(select(func.count()).select_from(one)).scalar_one() for one in tables}


async def test_old_mail_comes_in_beside_new_mail_and_through_a_crash(
    servers: Servers, new_user: Callable[[], str], urls: StoreUrls, tmp_path: Path
) -> None:
    user = new_user()
    # One message a batch, so that the crash finds it in the middle.
    slow = {"batch_messages_max": 1, "backoff": {"initial_seconds": 0.2, "max_seconds": 1.0}}
    async with open_house(tmp_path, urls, servers, backfill=slow) as house:
        fill(house, user)
        before = seen(servers.dovecot, user)
        assert len(before) == OLD
        await house.daemon.start()
        mailbox_id = await house.link(user, start_from="everything")
        await progress(house, mailbox_id, 20)
        new = mail("kim@customer.example.net", user, "Something new", "Is anybody there?")
        house.deliver(user, new)
        await until(lambda: find(house, mailbox_id, new.message_id), "the new mail is a ticket")
        await house.daemon.kill()
        at = await house.read(backfills.get_backfill, mailbox_id)
        assert at.status is BackfillStatus.RUNNING, "the new mail had to wait for the old"
        assert 20 <= at.seen < OLD
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert shown["state"] == "active"
        assert (shown["backfill"]["status"], shown["backfill"]["total"]) == ("running", OLD)
        assert shown["backfill"]["seconds_left"] is not None  # a fast machine has half a second left
        await house.daemon.start()
        watched = await house.daemon.run_cli("mailbox", "backfill", mailbox_id, "--watch")
        assert (watched.status, watched.out) == (0, f"done, {OLD} of {OLD} messages\n")
        await check(house, mailbox_id, new.message_id)
        assert seen(servers.dovecot, user)[:OLD] == before
        assert user not in servers.postfix.log()
        assert await house.daemon.stop() == 0


async def check(house: House, mailbox_id: UUID, new_id: str) -> None:
    """All of it is there once, each thread one closed ticket, in the order in which it was written."""
    views = await house.tickets(mailbox_id, THREADS + 1)
    threads = {tuple(one.record.mail.message_id for one in view.messages): view.ticket.status for view in views}
    wanted = {
        tuple(f"<old-{thread}-{letter}@customer.example.net>" for letter in range(LETTERS)): "closed"
        for thread in range(THREADS)
    }
    assert threads == {**wanted, (new_id,): "open"}
    types = [one.type for one in await house.events()]
    assert {kind: types.count(kind) for kind in ("message.imported", "ticket.imported", "message.received")} == {
        "message.imported": OLD,
        "ticket.imported": THREADS,
        "message.received": 1,
    }
    last_old = len(types) - types[::-1].index("message.imported")
    assert types.index("message.received") < last_old
    assert types.count("backfill.done") == 1
    assert not [one for one in types if one.startswith(("reply.", "ticket.reopened"))]
    assert set((await house.store.content.read(None, left)).values()) == {0}


async def progress(house: House, mailbox_id: UUID, seen_min: int) -> Backfill:
    async def look() -> Backfill | None:
        found = await house.read(backfills.get_backfill, mailbox_id)
        return found if found.seen >= seen_min else None

    return await until(look, f"{seen_min} old messages")


async def find(house: House, mailbox_id: UUID, message_id: str) -> bool:
    """Whether a new message came in: it alone opens a ticket that is open."""
    found = await house.store.desk.tickets(house.account_id, mailbox_id=mailbox_id, statuses=(TicketStatus.OPEN,))
    views = [await house.store.desk.ticket(house.account_id, one.ticket.number) for one in found]
    return any(one.record.mail.message_id == message_id for view in views for one in view.messages)


def seen(dovecot: Dovecot, user: str) -> list[str]:
    """Return Message-ID, flags and date of each message in the folder."""
    fields = "hdr.message-id flags date.received"
    out = dovecot.doveadm("-f", "flow", "fetch", "-u", user, fields, "mailbox", "INBOX", "all").decode()
    lines = [line.replace("\\Recent", "").replace("=", "= ") for line in out.splitlines() if "=" in line]
    return [" ".join(line.split()) for line in lines]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUrls:
    if request.param == "sqlite":
        return sqlite_urls(tmp_path)
    return postgres_urls(request.getfixturevalue("postgres").create_database, tmp_path)
