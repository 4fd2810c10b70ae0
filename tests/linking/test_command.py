"""`ingestd mailbox link` where no browser can come to us: a process of its own, with a real provider beside it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml
from click.testing import CliRunner

from ingestd.cli import main
from ingestd.demo.authserver import AuthServer, Client
from tests.linking.bench import ADDRESS, LOCALHOST

READ_SECONDS = 60.0


@pytest.fixture
def server() -> Iterator[AuthServer]:
    made = AuthServer([ADDRESS], [Client("c", "s", (LOCALHOST,))])
    made.consent_as = ADDRESS
    made.device_interval_seconds = 1
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def config(tmp_path: Path, server: AuthServer) -> Path:
    CliRunner().invoke(main, ["init", "--dir", str(tmp_path)])
    file = tmp_path / "ingestd.yaml"
    settings = yaml.safe_load(file.read_text())
    app = {"client_id": "c", "client_secret": "s", "redirect_uri": LOCALHOST}
    scopes = {"scopes": ["openid", "email", "offline_access", "mail"]}
    mail = {"host": "mail.example.com"}
    settings["providers"] = {
        "local": {
            "kind": "generic",
            "imap": mail,
            "smtp": dict(mail),
            "oauth": {"issuer": server.issuer, **app, **scopes},
        }
    }
    file.write_text(yaml.safe_dump(settings))
    return file


async def link(config: Path, *arguments: str) -> asyncio.subprocess.Process:
    command = [str(Path(sys.executable).with_name("ingestd")), "--config", str(config), "mailbox", "link", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def told(process: asyncio.subprocess.Process, pattern: str) -> str:
    """Read on until a line matches; return its group."""
    assert process.stdout is not None
    async with asyncio.timeout(READ_SECONDS):
        while line := await process.stdout.readline():
            if found := re.search(pattern, line.decode()):
                return found[1]
    raise AssertionError(f"nothing like {pattern} was printed")


async def test_pasting(config: Path, server: AuthServer) -> None:
    process = await link(config, "--paste")
    address = await told(process, r"^  (http\S+)$")
    async with httpx2.AsyncClient(trust_env=False) as owner:
        came = (await owner.get(address)).headers["location"]
    out, _ = await asyncio.wait_for(process.communicate(f"{LOCALHOST}?code=wrong\n{came}\n".encode()), READ_SECONDS)
    assert process.returncode == 0, out
    linked = re.search(rb"linked: ([0-9a-f-]{36})", out)
    assert linked is not None
    listing = ["--config", str(config), "mailbox", "list", "--json"]
    shown = await asyncio.to_thread(CliRunner().invoke, main, listing)
    assert [one["mailbox"] for one in json.loads(shown.output)] == [linked[1].decode()]


async def test_a_device_code(config: Path, server: AuthServer) -> None:
    process = await link(config, "local", "--device")
    code = await told(process, r"type in  (\S+)")
    server.approve_device(code, ADDRESS)
    assert await told(process, r"linked: ([0-9a-f-]{36})")
    assert await asyncio.wait_for(process.wait(), READ_SECONDS) == 0


def test_what_the_provider_cannot_do_is_said(config: Path, server: AuthServer) -> None:
    server.fail_next("device", "invalid_client")
    result = CliRunner().invoke(main, ["--config", str(config), "mailbox", "link", "--device"])
    assert result.exit_code == 1, result.output
    assert "check client_id" in result.output
    assert "Traceback" not in result.output
