"""What is said to systemd, on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd.telemetry.notify import STATUS_CHARACTERS_MAX, Notifier

_SECONDS = 10


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A notification socket, and its name as systemd would write it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@ingestd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(_SECONDS)
        yield sock, name


def said(sock: socket.socket) -> list[str]:
    return sock.recv(4096).decode().split("\n")


def test_each_state_is_one_datagram(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    notifier = Notifier(name)
    notifier.ready("running")
    assert said(sock) == ["READY=1", "STATUS=running"]
    notifier.reloading()
    reloading, at = said(sock)
    assert reloading == "RELOADING=1"
    assert at.startswith("MONOTONIC_USEC=")
    assert int(at.partition("=")[2]) > 0
    notifier.stopping("draining")
    assert said(sock) == ["STOPPING=1", "STATUS=draining"]


def test_a_status_cannot_say_anything_else(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    Notifier(name).ready("two\nMAINPID=1" + "x" * 1000)
    ready, status = said(sock)
    assert ready == "READY=1"
    assert status.startswith("STATUS=two MAINPID=1x")
    assert len(status) == len("STATUS=") + STATUS_CHARACTERS_MAX


def test_without_a_socket_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    for address in (None, "", "vsock:2:1", str(tmp_path / "nobody")):
        Notifier(address).ready("running")
    assert Notifier(None, 1.0).watchdog_seconds is None


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_systemd_means(environ: dict[str, str], seconds: float | None) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/run/notify", **environ}, pid=7)
    assert notifier.watchdog_seconds == seconds


async def test_signs_of_life_end_with_life(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    live = True
    asked = asyncio.Event()

    def is_live() -> bool:
        asked.set()
        return live

    task = asyncio.create_task(Notifier(name, 0.02).keep_alive(is_live))
    async with asyncio.timeout(_SECONDS):
        for _ in range(3):
            assert await loop.sock_recv(sock, 4096) == b"WATCHDOG=1"
        live = False
        for _ in range(2):  # what is asked twice is not about to be sent any more
            asked.clear()
            await asked.wait()
        while True:
            try:
                sock.recv(4096)
            except BlockingIOError:
                break
        asked.clear()
        await asked.wait()
    with pytest.raises(BlockingIOError):
        sock.recv(4096)
    task.cancel()


async def test_nobody_waits_for_signs_of_life() -> None:
    async with asyncio.timeout(_SECONDS):
        await Notifier("/run/nowhere", None).keep_alive(lambda: True)
