"""The store goes away under the running daemon and comes back: nothing is lost, and it is said."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.postgres import PostgresServer
from tests.stores import StoreUrls, postgres_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail
from tests.story.replicas import divided, replica


async def test_postgresql_is_stopped_and_started(
    servers: Servers, new_user: Callable[[], str], postgres: PostgresServer, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    urls = postgres_urls(postgres.create_database, tmp_path)
    async with open_house(tmp_path, urls, servers) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "Before the outage", "All is well."))
        (ticket,) = await house.tickets(mailbox_id)
        postgres.stop()
        try:
            house.deliver(user, mail(customer, user, "In the outage", "Nobody hears me."))
            await house.daemon.wait_log("storage.unavailable")
            done = await house.daemon.run_cli("mailbox", "list")
            assert done.status == 75, done.err
        finally:
            postgres.start()
        await house.tickets(mailbox_id, 2)
        reply = await house.reply(ticket.ticket.number, "We are back again.")
        await house.reply_at(ticket.ticket.number, reply, "copy:filed")
        await house.state(mailbox_id, "active")
        await house.daemon.wait_ready(house.port)
        assert await house.daemon.stop() == 0


async def test_replicas_are_well_again_by_themselves(
    servers: Servers, new_user: Callable[[], str], postgres: PostgresServer, tmp_path: Path
) -> None:
    """The database hangs until every lease has run out; then it is gone. Mail comes in all the while."""
    users, customer = [new_user() for _ in range(6)], new_user()
    urls = postgres_urls(postgres.create_database, tmp_path)
    async with (
        open_house(tmp_path, urls, servers) as house,
        replica(house, "second") as second,
        replica(house, "third") as third,
    ):
        daemons = [house.daemon, second, third]
        await asyncio.gather(*(one.start() for one in daemons))
        linked = {user: await house.linked(user) for user in users}
        await divided(house, [2, 2, 2])

        def deliver(about: str) -> None:
            for user in users:
                house.deliver(user, mail(customer, user, about, f"Who reads this {about}?"))

        async def all_have(count: int) -> None:
            for mailbox_id in linked.values():
                await house.tickets(mailbox_id, count)
            await divided(house, [2, 2, 2])

        after = [len(one.log_text()) for one in daemons]
        postgres.pause()
        try:
            deliver("Of a hanging database")
            await asyncio.sleep(house.settings.inbound.lease_seconds * 1.5)  # that it is so long is what is looked at
        finally:
            postgres.resume()
        for one, at in zip(daemons, after, strict=True):
            await one.wait_log("lease.lost", after=at)
        await all_have(1)

        after = [len(one.log_text()) for one in daemons]
        postgres.stop()
        try:
            deliver("Of a database that is gone")
            for one, at in zip(daemons, after, strict=True):
                await one.wait_log("storage.unavailable", after=at)
        finally:
            postgres.start()
        deliver("Of a new beginning")
        await all_have(3)
        for one in daemons:
            assert not one.logs("task.failed")
            assert await one.stop() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", folder], check=False)
    if done.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_stops_nothing_for_ever(
    servers: Servers, new_user: Callable[[], str], small_disk: Path, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    urls = StoreUrls(f"sqlite:///{small_disk}/content.db", f"sqlite:///{tmp_path}/keys.db", small_disk / "blobs")
    async with open_house(tmp_path, urls, servers) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "Before", "There is space."))
        await house.tickets(mailbox_id)
        filler = small_disk / "filler"
        fill(filler)
        after = len(house.daemon.log_text())
        for number in range(3):
            content = os.urandom(120_000)
            house.deliver(
                user, mail(customer, user, f"Large {number}", "With a file.", attachment=("noise.bin", content))
            )
        await house.daemon.wait_log("mailbox.read_failed", after=after)
        assert house.daemon.running
        assert await count(house) < 4
        filler.unlink()
        tickets = await house.tickets(mailbox_id, 4)
        assert [one.record.subject for one in tickets] == ["Before", "Large 0", "Large 1", "Large 2"]
        await house.state(mailbox_id, "active")
        await said_so(house, after)
        assert await house.daemon.stop() == 0


def fill(path: Path) -> None:
    """Write until nothing fits any more."""
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


async def count(house: House) -> int:
    return len(await house.store.desk.tickets(house.account_id))


async def said_so(house: House, after: int) -> None:
    """The log names the reason: the operator need not guess."""

    async def look() -> bool:
        return "disk is full" in house.daemon.log_text()[after:]

    await until(look, "the reason in the log", 1.0)
