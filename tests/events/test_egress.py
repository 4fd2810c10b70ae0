"""Where a webhook leads is looked at again at each connection, and nowhere else does anything go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from connectors.egress import EgressGuard
from connectors.look_ups import LookUps
from connectors.tls import client_context
from ingestd.demo.certificates import make_certificates
from ingestd.events.courier import Courier
from tests.events.post import quick
from tests.events.receiver import Receiver

BODY = b"{}"
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"


class Resolver:
    """Answers in the place of the system's, in turn; the last answer stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        monkeypatch.setattr(LookUps, "ask", self._ask)

    async def _ask(self, _host: str, port: int) -> list[tuple[Any, ...]]:
        self.asked += 1
        ips = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not ips:
            raise socket.gaierror("no such name")
        return [
            (
                socket.AF_INET6 if ":" in ip else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (ip, port, 0, 0) if ":" in ip else (ip, port),
            )
            for ip in ips
        ]


class Net:
    """Takes every connection of the process and notes where it was to go; whoever asks for a port of ours gets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        self.went: list[tuple[str, int]] = []
        inner = asyncio.get_running_loop().create_connection

        async def connect(factory: Any, host: str, asked: int, **options: Any) -> Any:
            self.went.append((host, asked))
            return await inner(factory, "127.0.0.1", port, **options)

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)


@contextlib.asynccontextmanager
async def closing_at_once() -> AsyncIterator[int]:
    """Listen, and hang up; yields the port."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


CONNECTED = {"tls_failed", "not_connected", "disconnected"}
"""What comes of a connection to such a server: it came about, and had no TLS."""


async def post(url: str, guard: EgressGuard | None = None) -> str | None:
    courier = Courier(guard or EgressGuard([]), client_context(), quick)
    try:
        return (await courier.post(url, [], BODY)).reason
    finally:
        await courier.close()


@pytest.mark.parametrize(
    "ips",
    [
        ["127.0.0.1"],
        ["10.0.0.5"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1"],
        ["::ffff:10.0.0.5"],
        ["64:ff9b::a00:5"],
        ["2002:a00:5::"],
        ["8.8.8.8", "10.0.0.5"],
        ["8.8.8.8", "::1"],
    ],
)
async def test_a_name_with_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, ips: list[str]) -> None:
    Resolver(monkeypatch, ips)
    net = Net(monkeypatch, 1)
    assert await post("https://desk.example.com/") == "address_refused"
    assert net.went == []


async def test_a_name_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch, [])
    assert await post("https://desk.example.com/") == "name_not_found"


async def test_a_name_that_turns_private_is_refused_at_the_next_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with closing_at_once() as port:
        resolver = Resolver(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
        net = Net(monkeypatch, port)
        assert await post("https://desk.example.com/") in CONNECTED
        assert net.went == [("8.8.8.8", 443)]
        assert await post("https://desk.example.com/") == "address_refused"
        assert (len(net.went), resolver.asked) == (1, 2)


async def test_the_name_is_looked_up_once_a_connection_and_never_by_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look-up, between the check and the connection, is where rebinding gets in."""
    resolver = Resolver(monkeypatch, ["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"])
    async with closing_at_once() as port:
        net = Net(monkeypatch, port)
        assert await post("https://desk.example.com/") in CONNECTED
        assert (resolver.asked, [ip for ip, _ in net.went]) == (1, ["8.8.8.8"])


async def test_a_certificate_must_be_of_the_name_and_a_connection_is_of_one_name(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates.cert_file, certificates.key_file)
    receiver = Receiver(secret=SECRET)
    async with receiver.serving(tls=tls) as serving:
        port = serving.port
        guard = EgressGuard([], open_to_accounts=[("localhost", port)])
        # As an operator's own authority (webhooks.tls_ca_file); without it nobody is trusted.
        for context, code in ((client_context(certificates.ca_file), 401), (client_context(), None)):
            courier = Courier(guard, context, quick)
            try:
                answers = [await courier.post(f"https://localhost:{port}/", [], BODY) for _ in range(2)]
                # 401: the request came through, and has no signature.
                assert [one.code for one in answers] == [code, code]
                assert (answers[0].reason == "tls_failed") is (code is None)
            finally:
                await courier.close()
        assert serving.connections == 1  # it was kept; those that failed came to no handshake


async def test_another_name_at_the_same_address_has_a_connection_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else what is for one is sent over a connection whose certificate was of the other."""
    certificates = make_certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates.cert_file, certificates.key_file)
    async with Receiver(secret=SECRET).serving(tls=tls) as serving:
        Resolver(monkeypatch, ["127.0.0.1"])
        names = [("localhost", serving.port), ("other.example.com", serving.port)]
        courier = Courier(EgressGuard([], open_to_accounts=names), client_context(certificates.ca_file), quick)
        try:
            assert (await courier.post(f"https://localhost:{serving.port}/", [], BODY)).code == 401
            other = await courier.post(f"https://other.example.com:{serving.port}/", [], BODY)
            assert other.reason == "tls_failed"
        finally:
            await courier.close()


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    receiver = Receiver(secret=SECRET)
    async with receiver.serving() as serving:
        guard = EgressGuard([], open_to_accounts=[("127.0.0.1", serving.port)])
        courier = Courier(guard, client_context(), quick)
        assert (await courier.post(serving.url, [], BODY)).code == 401
        await courier.close()


_UNDER_THE_HOOK = """
import asyncio, sys
sys.path.insert(0, {root!r})
from connectors.egress import EgressGuard
from connectors.look_ups import LookUps
from connectors.tls import client_context
from ingestd.events.courier import Courier
from config import Webhooks

async def main():
    async def handle(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
    servers = [await asyncio.start_server(handle, "127.0.0.1", 0) for _ in range(2)]
    mine, other = (server.sockets[0].getsockname()[1] for server in servers)
    guard = EgressGuard([], open_to_accounts=[("127.0.0.1", mine)])
    guard.install_audit_hook()
    courier = Courier(guard, client_context(), Webhooks)
    print((await courier.post(f"http://127.0.0.1:{{mine}}/", [], b"")).code)
    print((await courier.post(f"http://127.0.0.1:{{other}}/", [], b"")).reason)
    try:
        await asyncio.open_connection("127.0.0.1", other)
    except Exception as error:
        print(type(error).__name__)

asyncio.run(main())
"""


def test_the_audit_hook_lets_those_connections_pass_and_no_others() -> None:
    from tests.deploy.conftest import ROOT

    done = subprocess.run(
        [sys.executable, "-c", _UNDER_THE_HOOK.format(root=str(ROOT))],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["204", "address_refused", "EgressRefused"]
