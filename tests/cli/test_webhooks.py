"""`ingestd webhook`: list, show, test, enable, disable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from config import load
from ingestd.build.store import open_store
from ingestd.build.webhooks import open_webhook_desk
from ingestd.events.desk import NewWebhook
from storage import accounts
from storage.types import new_id
from tests.cli.stocked import Stocked, stock
from tests.office import mail
from tests.servers.process import free_port


def add(desk: Stocked, url: str) -> UUID:
    async def make() -> UUID:
        async with open_store(load(desk.folder / "ingestd.yaml")) as store, open_webhook_desk(store) as webhooks:
            (account,) = await store.content.read(None, accounts.list_accounts)
            webhook_id = new_id()
            await webhooks.create(account.account_id, webhook_id, NewWebhook(url, after=0, description="the desk"))
            return webhook_id

    return asyncio.run(make())


def test_shown_switched_and_tried(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    assert desk.run("webhook", "list").output == "no webhooks; the API makes them\n"
    port = free_port()
    config = desk.folder / "ingestd.yaml"
    config.write_text(config.read_text() + f"\negress:\n  allow: ['127.0.0.1:{port}']\n")
    webhook_id = add(desk, f"http://127.0.0.1:{port}/hooks")
    (row,) = desk.json("webhook", "list")
    assert (row["webhook_id"], row["status"], row["behind"] > 0) == (str(webhook_id), "enabled", True)
    shown = desk.json("webhook", "show", webhook_id)
    assert (shown["description"], shown["cursor"], shown["types"]) == ("the desk", 0, "*")
    assert "whsec_" not in desk.run("webhook", "show", webhook_id).output
    assert desk.json("webhook", "disable", webhook_id)["status"] == "disabled"
    assert desk.json("webhook", "show", webhook_id)["reason"] == "by_hand"
    assert desk.run("webhook", "enable", webhook_id).output == f"{webhook_id}: enabled\n"
    failed = desk.run("webhook", "test", webhook_id)
    assert failed.exit_code == 1
    assert "not_connected" in failed.output
    assert desk.run("webhook", "test", webhook_id, "--json").exit_code == 1
    assert desk.run("webhook", "show", new_id()).exit_code == 1
    assert desk.run("verify").exit_code == 0
