"""Several processes on one PostgreSQL divide the mailboxes, whoever comes, goes, dies or sleeps."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from uuid import UUID

import yaml
from sqlalchemy import Connection, select

from storage.tables import mailboxes
from tests.servers.postgres import PostgresServer
from tests.servers.process import free_port
from tests.stores import postgres_urls
from tests.story.daemon import DaemonProcess
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail
from tests.story.settings import merged, write_settings

_MAILBOXES = 6


def _holders(conn: Connection, account_id: UUID) -> list[UUID | None]:
    return list(conn.execute(select(mailboxes.c.worker_id).where(mailboxes.c.account_id == account_id)).scalars())


async def _divided(house: House, shares: Collection[int]) -> Counter[UUID | None]:
    """Wait until each mailbox is held, by so many processes with so many mailboxes each."""

    async def look() -> Counter[UUID | None] | None:
        counted = Counter(await house.read(_holders))
        return counted if None not in counted and sorted(counted.values()) == sorted(shares) else None

    return await until(look, f"mailboxes divided {shares}")


def _replica(house: House, name: str) -> DaemonProcess:
    document = merged(yaml.safe_load(house.daemon.config.read_text()), {"api": {"listen_port": free_port()}})
    return DaemonProcess(write_settings(house.folder / f"{name}.yaml", document), name=name, role="worker")


async def test_replicas_divide_the_mailboxes(
    servers: Servers, new_user: Callable[[], str], postgres: PostgresServer, tmp_path: Path
) -> None:
    users, customer = [new_user() for _ in range(_MAILBOXES)], new_user()
    urls = postgres_urls(postgres.create_database, tmp_path)
    async with open_house(tmp_path, urls, servers) as house, _replica(house, "second") as second:
        await house.daemon.start()
        linked = {user: await house.linked(user) for user in users}
        expected = 0

        async def all_hear(about: str) -> None:
            nonlocal expected
            expected += 1
            for user in users:
                house.deliver(user, mail(customer, user, about, f"Who reads this {about}?"))
            for mailbox_id in linked.values():
                await house.tickets(mailbox_id, expected)

        (first,) = await _divided(house, [_MAILBOXES])
        await second.start()
        shared = await _divided(house, [3, 3])
        assert first in shared
        assert house.daemon.logs("mailbox.handed_over")
        await all_hear("divided")

        after = len(house.daemon.log_text())
        assert await second.stop() == 0
        # At once: what was given back is taken before the lease of whoever gave it could have run out.
        await house.daemon.wait_log("mailbox.claimed", after=after, count=3)
        assert "lease.lost" not in second.log_text()
        await _divided(house, [_MAILBOXES])
        await all_hear("drained")

        await second.start()
        await _divided(house, [3, 3])
        await second.kill()
        await _divided(house, [_MAILBOXES])
        await all_hear("killed")

        await second.start()
        await _divided(house, [3, 3])
        second.signal(signal.SIGSTOP)
        await _divided(house, [_MAILBOXES])
        await all_hear("asleep")
        after = len(second.log_text())
        second.signal(signal.SIGCONT)
        await second.wait_log("lease.lost", after=after)
        await _divided(house, [3, 3])
        await all_hear("awake")
        assert await second.stop() == 0
        assert await house.daemon.stop() == 0
