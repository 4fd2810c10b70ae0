"""The guard: configured hosts pass, accounts' hosts are public, and the audit hook is the net beneath."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from connectors.base import TemporaryError
from connectors.egress import EgressGuard, EgressRefused, dial, is_public


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%lo", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::1", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("fec0::1", False),
        ("4000::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("240.0.0.1", False),
    ],
)
def test_which_addresses_are_public(ip: str, public: bool) -> None:
    assert is_public(ip) is public


async def test_a_configured_host_may_be_private() -> None:
    guard = EgressGuard([("LocalHost.", 993)])
    addresses = await guard.resolve("localhost", 993)
    assert addresses
    for address in addresses:
        guard.check(address.ip, 993)


async def test_a_configured_host_may_not_be_private_where_that_is_off() -> None:
    with pytest.raises(EgressRefused):
        await EgressGuard([("localhost", 993)], allow_private=False).resolve("localhost", 993)


@pytest.mark.parametrize(("host", "port"), [("localhost", 994), ("127.0.0.1", 993), ("other.example.com", 993)])
async def test_what_is_not_configured_is_refused(host: str, port: int) -> None:
    told: list[str] = []
    with pytest.raises(EgressRefused):
        await EgressGuard([("localhost", 993)], refused=told.append).resolve(host, port)
    assert told == ["not_configured"]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "169.254.169.254", "[::1]", "::1", "0x7f000001", "2130706433"]
)
async def test_a_host_that_an_account_supplies_is_never_private(host: str) -> None:
    guard = EgressGuard([(host, 443)])  # not even where the operator configured it for himself
    with pytest.raises((EgressRefused, TemporaryError)):
        await guard.resolve(host, 443, account_supplied=True)
    with pytest.raises(EgressRefused):
        await guard.resolve(host, 22, account_supplied=True)


async def test_a_public_host_that_an_account_supplies_passes() -> None:
    addresses = await EgressGuard([]).resolve("8.8.8.8", 443, account_supplied=True)
    assert [address.ip for address in addresses] == ["8.8.8.8"]


async def test_an_account_may_name_what_the_operator_opened_to_accounts() -> None:
    guard = EgressGuard([("localhost", 443), ("localhost", 80)], open_to_accounts=[("LocalHost", 80)])
    (address, *_) = await guard.resolve("localhost", 80, account_supplied=True)
    guard.check(address.ip, 80)
    for port in (443, 8443):
        with pytest.raises(EgressRefused):
            await guard.resolve("localhost", port, account_supplied=True)
    guard.replace([("localhost", 80)])
    with pytest.raises(EgressRefused):
        await guard.resolve("localhost", 80, account_supplied=True)


@pytest.mark.parametrize(("port", "passes"), [(443, True), (8443, True), (25, False), (80, False), (1023, False)])
async def test_ports_that_accounts_may_name(port: int, passes: bool) -> None:
    guard = EgressGuard([])
    if passes:
        assert await guard.resolve("8.8.8.8", port, account_supplied=True)
    else:
        with pytest.raises(EgressRefused):
            await guard.resolve("8.8.8.8", port, account_supplied=True)


async def test_a_permitted_address_is_permitted_on_its_port_only() -> None:
    guard = EgressGuard([])
    guard.permit("127.0.0.1", 5432)
    guard.check("127.0.0.1", 5432)
    guard.check("::ffff:127.0.0.1", 5432)
    with pytest.raises(EgressRefused):
        guard.check("127.0.0.1", 5433)


async def test_the_permitted_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.egress.PERMITTED_MAX", 2)
    guard = EgressGuard([])
    for port in (1, 2, 3):
        guard.permit("127.0.0.1", port)
    guard.check("127.0.0.1", 3)
    with pytest.raises(EgressRefused):
        guard.check("127.0.0.1", 1)


async def test_nobody_listening_is_temporary() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(TemporaryError):
        await dial(EgressGuard([("127.0.0.1", port)]), "127.0.0.1", port, connect_seconds=2)


class Silence:
    """Lets the system's resolver wait for one host; the others are at this machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
        self.ended = threading.Event()
        self._hosts = hosts
        self._ask = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        if host in self._hosts:
            self.ended.wait(20)
        return self._ask("127.0.0.1", port, **options)


async def test_a_resolver_that_never_answers_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    silence = Silence(monkeypatch, "mail.example.com")
    guard = EgressGuard([("mail.example.com", 993)], resolve_seconds=0.05)
    try:
        with pytest.raises(TemporaryError, match="cannot resolve"):
            await guard.resolve("mail.example.com", 993)
    finally:
        silence.ended.set()


async def test_hosts_whose_name_servers_are_silent_hold_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    of_account = [f"hook{number}.example.com" for number in range(100)]
    silence = Silence(monkeypatch, "silent.example.com", *of_account)
    guard = EgressGuard([("silent.example.com", 993), ("mail.example.com", 993)], account_ports=[range(65536)])
    many = [guard.resolve("silent.example.com", 993) for _ in range(100)]
    hooks = [guard.resolve(host, 443, account_supplied=True) for host in of_account]
    asking = [asyncio.create_task(one) for one in (*many, *hooks)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "written") == "written"
            (address,) = await guard.resolve("mail.example.com", 993)
        assert address.ip == "127.0.0.1"
    finally:
        silence.ended.set()
        await asyncio.gather(*asking, return_exceptions=True)


PROGRAM = """
import asyncio, socket, sys, urllib.request
from connectors.egress import EgressGuard, EgressRefused, dial

def refused(action):
    try:
        action()
    except EgressRefused:
        return True
    except OSError as error:
        return isinstance(getattr(error, "reason", None), EgressRefused)
    return False

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
guard = EgressGuard([("127.0.0.1", port)])
guard.install_audit_hook()
guard.install_audit_hook()
assert refused(lambda: socket.create_connection(("127.0.0.1", port), 1))
assert refused(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1))
assert refused(lambda: asyncio.run(asyncio.open_connection("127.0.0.1", port)))
assert refused(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)))
asyncio.run(dial(guard, "127.0.0.1", port, connect_seconds=2)).close()
socket.create_connection(("127.0.0.1", port), 1).close()
left, right = socket.socketpair()
left.send(b"x")
print("guarded")
"""


def test_the_audit_hook_stops_every_library() -> None:
    """In a process of its own, for a hook cannot be removed."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=30, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "guarded"
