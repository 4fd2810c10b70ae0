"""Folders that are not there, and folders that are watched later: the other mail comes as ever."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, update

from storage.backfills import BackfillStatus
from storage.tables import mailboxes
from tests.stores import StoreUrls, sqlite_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail
from tests.story.test_states import metric, news

CUSTOMER = "lena@customer.example.net"
SUPPORT = "Kundendienst"
AT_ONCE_SECONDS = 10.0
POLL_SECONDS = 40.0


async def shown(house: House, mailbox_id: UUID) -> dict[str, Any]:
    found: dict[str, Any] = await house.daemon.cli("mailbox", "show", mailbox_id)
    return found


async def test_a_missing_folder_concerns_no_other(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    """INBOX is waited for in IDLE, old mail is read, edits are done: the mailbox is well, and says what is missing."""
    user = new_user()
    async with open_house(
        tmp_path,
        store_urls,
        servers,
        mailbox_defaults={"folders": ["INBOX", SUPPORT], "after_import": "seen"},
        inbound={"poll_seconds": POLL_SECONDS},
    ) as house:
        house.words.add(SUPPORT)
        await house.daemon.start()
        long_ago = mail(CUSTOMER, user, "Long ago", "Before the linking.")
        await asyncio.to_thread(put_old, servers, user, long_ago.raw, "INBOX")
        mailbox_id = await house.linked(user, start_from="everything")

        async def backfilled() -> bool:
            found = await house.store.desk.backfill(house.account_id, mailbox_id)
            return found is not None and found.backfill.status is BackfillStatus.DONE

        await until(backfilled, "the old mail is read")
        for number in range(2):
            house.deliver(user, mail(CUSTOMER, user, f"New {number}", "In the folder that is there."))
            started = time.monotonic()
            await house.tickets(mailbox_id, number + 2)
            assert time.monotonic() - started < AT_ONCE_SECONDS, "it waited for a poll"

        async def edited() -> bool:
            flags = await asyncio.to_thread(servers.dovecot.flags, user)
            return sum("Seen" in one for one in flags) == 2

        await until(edited, "new mail is marked as read")
        told = await shown(house, mailbox_id)
        assert (told["state"], told["trouble"], told["folders_missing"]) == ("active", None, SUPPORT)
        assert "Rename it back" in told["folders_cure"]
        assert await news(house) == [("mailbox.folders_missing", "1")]

        async def counted() -> bool:
            return await metric(house, "ingestd_folders_missing") == 1

        await until(counted, "the gauge")

        await asyncio.to_thread(servers.dovecot.create_folder, user, SUPPORT)
        house.deliver(user, mail(CUSTOMER, user, "Back again", "In the folder that was not there."), SUPPORT)
        house.deliver(user, mail(CUSTOMER, user, "And here", "This wakes the daemon."))
        await house.tickets(mailbox_id, 5)

        async def healed() -> bool:
            return ("mailbox.folders_found", None) in await news(house)

        await until(healed, "the folder is found")
        told = await shown(house, mailbox_id)
        assert (told["state"], told["trouble"], told["folders_missing"]) == ("active", None, "")
        assert await news(house) == [("mailbox.folders_missing", "1"), ("mailbox.folders_found", None)]
        assert await house.daemon.stop() == 0


async def test_a_folder_that_is_watched_later_brings_its_new_mail_only(
    servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user = new_user()
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers) as house:
        await house.daemon.start()
        await asyncio.to_thread(servers.dovecot.create_folder, user, SUPPORT)
        mailbox_id = await house.linked(user)
        # As after a year: whatever lies there came long before the folder was added.
        await house.store.content.transaction(house.account_id, linked_long_ago, mailbox_id)
        gathered = mail(CUSTOMER, user, "Gathered", "It has been there for half a year.")
        await asyncio.to_thread(put_old, servers, user, gathered.raw, SUPPORT)
        await house.daemon.cli("mailbox", "set", mailbox_id, "--folder", "INBOX", "--folder", SUPPORT)
        house.deliver(user, mail(CUSTOMER, user, "Newly come", "This is new."), SUPPORT)
        (ticket,) = await house.tickets(mailbox_id, 1)
        assert ticket.record.subject == "Newly come"
        house.deliver(user, mail(CUSTOMER, user, "And one more", "This is new, too."))
        await house.tickets(mailbox_id, 2)

        await house.daemon.cli("mailbox", "backfill", mailbox_id, "--from", "everything")
        old = (await house.tickets(mailbox_id, 3))[-1]
        assert (old.record.subject, old.ticket.status) == ("Gathered", "closed")
        assert await house.daemon.stop() == 0


def linked_long_ago(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    here = (mailboxes.c.account_id == account_id) & (mailboxes.c.mailbox_id == mailbox_id)
    conn.execute(update(mailboxes).where(here).values(created_at=datetime.now(UTC) - timedelta(days=400)))


def put_old(servers: Servers, user: str, raw: bytes, folder_name: str) -> None:
    """Put a mail into a folder as if it had come half a year ago."""
    servers.dovecot.doveadm("mailbox", "status", "-u", user, "messages", folder_name)  # makes it
    place = servers.dovecot.home / "mail" / user
    folder = (place if folder_name == "INBOX" else place / f".{folder_name}") / "cur"
    came = time.time() - 180 * 86_400
    path = folder / f"{int(came)}.M1P1.story:2,"
    path.write_bytes(raw.replace(b"\r\n", b"\n"))
    owner = folder.stat()
    os.chown(path, owner.st_uid, owner.st_gid)
    os.utime(path, (came, came))
