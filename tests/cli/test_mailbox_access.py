"""`ingestd mailbox list` and `show` tell by which way a mailbox is reached, and what will end the access to it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from config import load
from ingestd.build.store import open_store
from storage import accounts, grants
from tests.cli.stocked import Stocked, stock


def _grant(desk: Stocked) -> None:
    async def write() -> None:
        async with open_store(load(desk.folder / "ingestd.yaml")) as store:
            (account,) = await store.content.read(None, accounts.list_accounts)
            await store.content.transaction(
                account.account_id, grants.put_grant, desk.mailbox_id, None, b"sealed", scopes=("mail",)
            )

    asyncio.run(write())


def test_what_will_end_the_access_is_told_with_its_cure(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    _grant(desk)
    shown = desk.json("mailbox", "show", desk.mailbox_id)
    assert [shown[name] for name in ("read_by", "send_by", "send_by_instead")] == ["imap", "smtp", None]
    assert shown["access_warnings"] == []
    ends_at = (datetime.now(UTC) + timedelta(days=9)).date()
    config = desk.folder / "ingestd.yaml"
    ours = "client_id: ingestd"
    config.write_text(config.read_text().replace(ours, f"{ours}, client_secret_expires_at: {ends_at}"))
    (warned,) = desk.json("mailbox", "show", desk.mailbox_id)["access_warnings"]
    assert (warned["risk"], warned["ends_at"][:10]) == ("client_secret_expiring", str(ends_at))
    text = desk.run("mailbox", "show", desk.mailbox_id).output
    assert f"client_secret_expiring ({ends_at})" in text
    assert "What will end the access: The secret of our application at local ends on" in text
    assert "What to do before: Make a new secret" in text
    (listed,) = desk.json("mailbox", "list")
    assert (listed["state"], listed["trouble"]) == ("active", "client_secret_expiring")
