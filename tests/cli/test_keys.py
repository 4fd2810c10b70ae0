"""`ingestd keys rotate`: a new master key, and nothing is opened by the old one any more."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

from config import load
from ingestd.build.store import open_store
from storage import leases
from storage.types import new_id
from tests.cli.stocked import Stocked, stock
from tests.office import mail


def with_keys(desk: Stocked, **files: str) -> None:
    """Name the files of the master keys in the configuration."""
    config = desk.folder / "ingestd.yaml"
    kept = [line for line in config.read_text().splitlines() if "master_key_file" not in line]
    at = kept.index("keys:") + 1
    config.write_text("\n".join([*kept[:at], *(f"  {name}_file: {one}" for name, one in files.items()), *kept[at:]]))


async def begin(desk: Stocked) -> None:
    """Register a daemon."""
    async with open_store(load(desk.folder / "ingestd.yaml")) as store:
        await store.content.transaction(None, leases.register, new_id())


def test_a_new_master_key_takes_the_place_of_the_old(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    refused = desk.run("keys", "rotate")
    assert refused.exit_code == 1
    assert "no previous master key" in refused.output

    new = tmp_path / "new.key"
    new.write_text(base64.b64encode(os.urandom(32)).decode())
    new.chmod(0o600)
    with_keys(desk, master_key="new.key", previous_master_key="master.key")
    assert desk.json("ticket", "show", 1)["subject"] == "Printer"
    asyncio.run(begin(desk))
    refused = desk.run("keys", "rotate")
    assert refused.exit_code == 1
    assert "a daemon runs" in refused.output
    done = desk.json("keys", "rotate", "--running")
    assert (done["keys"], done["tokens"]) == (2, 0)  # the account's, the mailbox's
    assert desk.json("keys", "rotate", "--running")["keys"] == 0

    with_keys(desk, master_key="new.key")
    assert desk.json("ticket", "show", 1)["subject"] == "Printer"
    assert desk.run("verify").exit_code == 0
    with_keys(desk, master_key="master.key")
    assert desk.run("ticket", "show", 1).exit_code == 1
