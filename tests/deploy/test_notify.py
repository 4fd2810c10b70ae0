"""The daemon as systemd's notification socket sees it: ready, alive, reloading, stopping; and a stall."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.servers.process import free_port
from tests.stores import sqlite_urls
from tests.story.daemon import DaemonProcess
from tests.story.settings import settings_document, write_settings

_WATCHDOG_SECONDS = 0.4
_SECONDS = 30


@dataclass
class Service:
    """A daemon that was started as systemd starts it, and systemd's end of the socket."""

    daemon: DaemonProcess
    sock: socket.socket

    async def wait(self, wanted: str, *, seconds: float = _SECONDS) -> list[str]:
        """Wait for a datagram that begins with this; return what else came before it."""
        before: list[str] = []
        async with asyncio.timeout(seconds):
            while True:
                said = (await asyncio.get_running_loop().sock_recv(self.sock, 4096)).decode()
                if said.startswith(wanted):
                    return before
                before.append(said)

    async def stopped(self) -> None:
        """Wait until SIGSTOP has taken effect (proc(5): state T)."""
        stat = Path(f"/proc/{self.daemon.pid}/stat")
        async with asyncio.timeout(_SECONDS):
            while stat.read_text().rpartition(") ")[2][0] != "T":
                await asyncio.sleep(0.01)

    def drain(self) -> None:
        while True:
            try:
                self.sock.recv(4096)
            except BlockingIOError:
                return


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    document = settings_document(sqlite_urls(tmp_path), tmp_path, port=free_port(), providers={})
    config = write_settings(tmp_path / "ingestd.yaml", document)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": str(int(_WATCHDOG_SECONDS * 1_000_000))}
        async with DaemonProcess(config, env=env) as daemon:
            assert (await daemon.run_cli("init")).status == 0
            yield Service(daemon, sock)


async def test_from_ready_to_stopping(service: Service) -> None:
    await service.daemon.start(ready=False)
    before = await service.wait("READY=1")
    assert set(before) <= {"WATCHDOG=1"}
    await service.wait("WATCHDOG=1")
    service.daemon.signal(signal.SIGHUP)
    await service.wait("RELOADING=1\nMONOTONIC_USEC=")
    await service.wait("READY=1")
    service.daemon.signal(signal.SIGTERM)
    await service.wait("STOPPING=1")
    assert await service.daemon.wait_exit() == 0


async def test_ready_is_said_only_when_it_serves(service: Service) -> None:
    document = yaml.safe_load(service.daemon.config.read_text())
    with socket.create_server(("127.0.0.1", document["api"]["listen_port"])):
        await service.daemon.start(ready=False)
        assert await service.daemon.wait_exit() != 0
    with pytest.raises(TimeoutError):
        await service.wait("READY=1", seconds=0.1)


async def test_a_refused_configuration_ends_the_reload_too(service: Service) -> None:
    await service.daemon.start(ready=False)
    await service.wait("READY=1")
    service.daemon.config.write_text("nonsense: true\n")
    service.daemon.signal(signal.SIGHUP)
    await service.wait("RELOADING=1")
    await service.wait("READY=1\nSTATUS=running; the changed configuration was refused")


async def test_a_stalled_loop_gives_no_sign_of_life(service: Service) -> None:
    await service.daemon.start(ready=False)
    await service.wait("READY=1")
    service.daemon.signal(signal.SIGSTOP)
    try:
        await service.stopped()
        service.drain()
        with pytest.raises(TimeoutError):
            await service.wait("WATCHDOG=1", seconds=2 * _WATCHDOG_SECONDS)
    finally:
        service.daemon.signal(signal.SIGCONT)
    await service.wait("WATCHDOG=1")
