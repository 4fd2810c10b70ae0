"""Several processes on one PostgreSQL divide the mailboxes, whoever comes, goes, dies or sleeps; and their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx2

from tests.servers.postgres import PostgresServer
from tests.servers.process import children_of, free_port, free_ports
from tests.stores import postgres_urls, sqlite_urls
from tests.story.daemon import DaemonProcess
from tests.story.house import Servers, open_house
from tests.story.mails import mail
from tests.story.replicas import divided, holders, replica
from tests.story.settings import settings_document, write_settings

_MAILBOXES = 6


async def test_replicas_divide_the_mailboxes(
    servers: Servers, new_user: Callable[[], str], postgres: PostgresServer, tmp_path: Path
) -> None:
    users, customer = [new_user() for _ in range(_MAILBOXES)], new_user()
    urls = postgres_urls(postgres.create_database, tmp_path)
    async with open_house(tmp_path, urls, servers) as house, replica(house, "second") as second:
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

        (first,) = await divided(house, [_MAILBOXES])
        await second.start()
        shared = await divided(house, [3, 3])
        assert first in shared
        assert house.daemon.logs("mailbox.handed_over")
        await all_hear("divided")

        after = len(house.daemon.log_text())
        assert await second.stop() == 0
        # At once: what was given back is taken before the lease of whoever gave it could have run out.
        await house.daemon.wait_log("mailbox.claimed", after=after, count=3)
        assert "lease.lost" not in second.log_text()
        await divided(house, [_MAILBOXES])
        await all_hear("drained")

        await second.start()
        await divided(house, [3, 3])
        await second.kill()
        await divided(house, [_MAILBOXES])
        await all_hear("killed")

        await second.start()
        await divided(house, [3, 3])
        second.signal(signal.SIGSTOP)
        await divided(house, [_MAILBOXES])
        await all_hear("asleep")
        after = len(second.log_text())
        second.signal(signal.SIGCONT)
        await second.wait_log("lease.lost", after=after)
        await divided(house, [3, 3])
        await all_hear("awake")
        assert await second.stop() == 0
        assert await house.daemon.stop() == 0


async def test_one_command_runs_several_processes(
    servers: Servers, new_user: Callable[[], str], postgres: PostgresServer, tmp_path: Path
) -> None:
    """One for the API and two that work; one that dies is started again, and with the parent all end."""
    users, customer = [new_user() for _ in range(4)], new_user()
    urls = postgres_urls(postgres.create_database, tmp_path)
    async with open_house(tmp_path, urls, servers, port=free_ports(3), workers=2) as house:
        parent = house.daemon
        await parent.start(ready=False)
        for port in range(house.port, house.port + 3):
            await parent.wait_ready(port)
        linked = {user: await house.linked(user) for user in users}
        await divided(house, [2, 2])
        started = {one["pid"]: one["role"] for one in parent.logs("process.started")}
        assert sorted(started.values()) == ["api", "worker", "worker"]
        async with httpx2.AsyncClient(trust_env=False) as client:
            for place, shown in enumerate([False, True, True]):
                metrics = (await client.get(f"http://127.0.0.1:{house.port + place}/metrics")).text
                assert "ingestd_" in metrics
                ready = (await client.get(f"http://127.0.0.1:{house.port + place}/readyz")).json()
                assert ("lease" in ready["checks"]) == shown

        killed = next(pid for pid, role in started.items() if role == "worker")
        os.kill(killed, signal.SIGKILL)
        (ended,) = await parent.wait_log("process.ended")
        assert (ended["pid"], ended["exit_code"]) == (killed, -9)
        await parent.wait_log("process.started", count=4)
        await divided(house, [2, 2])
        for user, mailbox_id in linked.items():
            house.deliver(user, mail(customer, user, "After a death", "Somebody reads this."))
            await house.tickets(mailbox_id)

        after = len(parent.log_text())
        parent.signal(signal.SIGHUP)
        await parent.wait_log("config.reloaded", after=after, count=3)
        assert not parent.logs("config.kept", after=after)
        assert await parent.stop() == 0
        assert not parent.logs("daemon.killed")

        await parent.start(ready=False)
        await divided(house, [2, 2])
        orphans = children_of(parent.pid)
        assert len(orphans) == 3
        await parent.kill()
        async with asyncio.timeout(20):  # they drain by themselves
            while any(Path(f"/proc/{pid}").exists() for pid in orphans):
                await asyncio.sleep(0.05)
        assert set(await house.read(holders)) == {None}


async def test_what_cannot_start_ends_with_its_status(postgres: PostgresServer, tmp_path: Path) -> None:
    urls = postgres_urls(postgres.create_database, tmp_path)
    document = settings_document(urls, tmp_path, port=free_ports(3), providers={}, workers=2)
    async with DaemonProcess(write_settings(tmp_path / "ingestd.yaml", document)) as parent:
        await parent.start(ready=False)  # the store is not made
        assert await parent.wait_exit() == 1
        assert "ingestd init" in parent.log_text() or "ingestd migrate" in parent.log_text()


async def test_systemd_hears_of_all_of_them_by_their_parent(postgres: PostgresServer, tmp_path: Path) -> None:
    urls = postgres_urls(postgres.create_database, tmp_path)
    document = settings_document(urls, tmp_path, port=free_ports(3), providers={}, workers=2)
    config = write_settings(tmp_path / "ingestd.yaml", document)
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(env["NOTIFY_SOCKET"])
        systemd.setblocking(False)

        async def heard(wanted: str) -> None:
            async with asyncio.timeout(30):
                while not (await asyncio.get_running_loop().sock_recv(systemd, 4096)).decode().startswith(wanted):
                    pass

        async with DaemonProcess(config, env=env) as parent:
            assert (await parent.run_cli("init")).status == 0
            await parent.start(ready=False)
            await heard("READY=1\nSTATUS=running in 3 processes")
            assert len(parent.logs("daemon.started")) == 3
            await heard("WATCHDOG=1")
            parent.signal(signal.SIGHUP)
            await heard("RELOADING=1")
            await heard("READY=1")
            parent.signal(signal.SIGTERM)
            await heard("STOPPING=1")
            assert await parent.wait_exit() == 0


async def test_sqlite_is_for_one_worker(tmp_path: Path) -> None:
    document = settings_document(sqlite_urls(tmp_path), tmp_path, port=free_port(), providers={})
    config = write_settings(tmp_path / "ingestd.yaml", document)
    async with DaemonProcess(config) as daemon:
        asked = await daemon.run_cli("run", "--workers", 2)
        assert (asked.status, "PostgreSQL" in asked.err) == (78, True)
        write_settings(config, document | {"workers": 2})
        checked = await daemon.run_cli("check-config")
        assert (checked.status, "storage.database is SQLite" in checked.err) == (78, True)
