"""What cannot work does not begin: an exit status for machines, and a line that says why for people."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tests.servers.process import free_port
from tests.stores import StoreUrls, sqlite_urls
from tests.story.daemon import DaemonProcess
from tests.story.house import House, Servers, open_house
from tests.story.settings import settings_document, write_settings


@pytest.fixture
async def house(servers: Servers, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers) as one:
        yield one


async def ends(daemon: DaemonProcess, *, seconds: float = 20.0) -> tuple[int, str]:
    await daemon.start(ready=False)
    return await daemon.wait_exit(seconds=seconds), daemon.log_text()


async def test_a_wrong_configuration_names_its_line(tmp_path: Path) -> None:
    document = settings_document(sqlite_urls(tmp_path), tmp_path, port=free_port(), providers={})
    document["inbound"]["poll_seconds"] = "often"
    config = write_settings(tmp_path / "ingestd.yaml", document)
    line = next(n for n, text in enumerate(config.read_text().splitlines(), 1) if "poll_seconds" in text)
    async with DaemonProcess(config) as daemon:
        status, said = await ends(daemon)
        assert status == 78
        assert re.search(rf"ingestd\.yaml:{line}\b", said), said
        assert "poll_seconds" in said
        done = await daemon.run_cli("check-config")
        assert (done.status, "poll_seconds" in done.err) == (78, True)


async def test_no_configuration_is_said_plainly(tmp_path: Path) -> None:
    async with DaemonProcess(tmp_path / "missing.yaml") as daemon:
        status, said = await ends(daemon)
        assert status == 78
        assert "missing.yaml" in said
        assert "Traceback" not in said


async def test_a_store_that_was_not_migrated_is_refused(store_urls: StoreUrls, tmp_path: Path) -> None:
    document = settings_document(store_urls, tmp_path, port=free_port(), providers={})
    async with DaemonProcess(write_settings(tmp_path / "ingestd.yaml", document)) as daemon:
        status, said = await ends(daemon)
        assert status not in {0, 75}
        assert "ingestd migrate" in said or "ingestd init" in said, said
        assert "Traceback" not in said


async def test_a_second_daemon_on_the_same_sqlite_is_refused(house: House) -> None:
    await house.daemon.start()
    document = yaml.safe_load(house.daemon.config.read_text())
    document["api"]["listen_port"] = free_port()
    async with DaemonProcess(write_settings(house.folder / "second.yaml", document), name="second") as second:
        status, said = await ends(second)
        assert status not in {0, 75}
        assert "another ingestd runs on this SQLite database" in said
        assert "Traceback" not in said
    assert house.daemon.running
    assert await house.daemon.stop() == 0


async def test_a_port_in_use_is_refused(house: House) -> None:
    with socket.create_server(("127.0.0.1", house.port)):
        status, said = await ends(house.daemon)
    assert status not in {0, 75}
    assert str(house.port) in said
    assert "Traceback" not in said


async def test_a_database_that_is_away_is_for_later(house: House, tmp_path: Path) -> None:
    document = yaml.safe_load(house.daemon.config.read_text())
    document["storage"]["database"] = f"postgresql://ingestd@127.0.0.1:{free_port()}/nothing"
    async with DaemonProcess(write_settings(tmp_path / "away.yaml", document), name="away") as daemon:
        status, said = await ends(daemon)
        assert status == 75
        assert "Traceback" not in said


async def test_stores_that_are_not_where_an_account_is_pinned_to(house: House) -> None:
    daemon, here = house.daemon, {"database": "eu", "keystore": "eu", "blobs": "eu"}

    def write(locations: dict[str, str]) -> None:
        document = yaml.safe_load(daemon.config.read_text())
        write_settings(daemon.config, {**document, "locations": locations})

    account = str(house.account_id)
    refused = await daemon.run_cli("account", "set", account, "--location", "eu")
    assert (refused.status, "storage.database has no location" in refused.err) == (78, True)
    write(here)
    await daemon.start()
    assert (await daemon.run_cli("account", "set", account, "--location", "eu")).status == 0
    assert "eu" in (await daemon.run_cli("account", "show", account)).out

    # Neither a reload, nor the start, nor the command line goes on elsewhere.
    write({**here, "keystore": "us"})
    daemon.signal(signal.SIGHUP)
    await daemon.wait_log("config.refused")
    linked = await daemon.run_cli("mailbox", "link")
    assert (linked.status, "pinned to a location" in linked.err) == (1, True)
    said = (await daemon.run_cli("check-config")).out
    assert f"MISPLACED: account {account} is pinned to eu, but storage.keystore is in us" in said
    assert daemon.running
    assert await daemon.stop() == 0
    status, said = await ends(daemon)
    assert status == 78
    assert f"account {account} is pinned to eu, but storage.keystore is in us" in said
    assert "--location" in said
    assert "Traceback" not in said
    assert (await daemon.run_cli("account", "set", account, "--location", "none")).status == 0
    await daemon.start()
