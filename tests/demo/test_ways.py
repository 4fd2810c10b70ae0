"""The providers of the demo offer the story the same, whichever way leads to their mail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from config import load
from config.hosts import hosts
from ingestd.cli.operate import demo
from ingestd.demo.authserver import Client
from ingestd.demo.local import LocalProvider
from ingestd.demo.mails import ANNA, SUPPORT, question
from ingestd.demo.story import PROVIDERS
from ingestd.linking.ways import ways_of

CLIENT = Client("ingestd", "demo-secret", ("http://127.0.0.1:8025/oauth/callback",))
WAYS = {"imap": ("imap", "smtp"), "gmail": ("gmail", "gmail"), "graph": ("graph", "graph")}


@pytest.fixture(params=sorted(PROVIDERS))
async def named(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, LocalProvider]]:
    made = PROVIDERS[request.param]((SUPPORT, ANNA), clients=(CLIENT,), auto_consent=True, directory=tmp_path)
    async with made.running() as provider:
        yield request.param, provider


def test_the_command_offers_them_all() -> None:
    (option,) = (one for one in demo.params if one.name == "provider")
    assert set(option.type.choices) == PROVIDERS.keys() == WAYS.keys()  # type: ignore[attr-defined]


async def test_a_mail_lies_where_it_was_delivered(named: tuple[str, LocalProvider]) -> None:
    _, provider = named
    first, second = question().raw, question().raw
    await provider.deliver(SUPPORT, first, received_at=datetime(2020, 1, 1, tzinfo=UTC))
    await provider.deliver(SUPPORT, second)
    assert await provider.mails(SUPPORT) == [first, second]
    assert await provider.mails(ANNA) == []
    assert [await provider.mails(SUPPORT, one) for one in ("Sent", "Junk")] == [[], []]
    with pytest.raises(KeyError):
        await provider.deliver("nobody@example.com", first)
    with pytest.raises(KeyError):
        await provider.mails("nobody@example.com")


async def test_a_daemon_goes_to_its_servers_alone_and_by_its_way(
    named: tuple[str, LocalProvider], tmp_path: Path
) -> None:
    name, provider = named
    document = {
        "storage": {"database": f"sqlite:///{tmp_path}/c.db", "keystore": f"sqlite:///{tmp_path}/k.db"},
        "keys": {"master_key": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="},
        "api": {"public_url": "http://127.0.0.1:8025"},
        "providers": {"demo": provider.settings(CLIENT)},
    }
    file = tmp_path / "ingestd.yaml"
    file.write_text(yaml.safe_dump(document))
    file.chmod(0o600)
    settings = load(file)
    assert {f"{one.host}:{one.port}" for one in hosts(settings)} == provider.servers
    configured = settings.provider("demo")
    ways = ways_of(configured, configured.oauth.scopes)
    assert (ways.read, ways.send, ways.send_instead) == (*WAYS[name], None)
    for server in provider.servers:
        with contextlib.closing((await asyncio.open_connection(*server.split(":")))[1]):
            pass
