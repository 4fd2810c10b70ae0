"""The command line on a store of its own, in the test's process: no daemon runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import UUID

from click.testing import CliRunner, Result

from config import load
from ingestd.build.store import open_store
from ingestd.cli import main
from ingestd.records import MailboxRecord
from storage import accounts, mailboxes
from storage.types import new_id


def ingestd(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(folder / "ingestd.yaml"), *arguments])


async def add_mailbox(folder: Path, account_id: UUID | None = None, address: str = "support@example.com") -> UUID:
    """Put a mailbox into the store (the first account) as a linking would, but without a grant."""
    async with open_store(load(folder / "ingestd.yaml")) as store:
        account_id = account_id or (await store.content.read(None, accounts.list_accounts))[0].account_id
        mailbox_id = new_id()
        key = await store.keys.create_mailbox_key(account_id, mailbox_id)
        record = MailboxRecord(address, "1", "https://login.example.com", address)
        await store.content.transaction(
            account_id,
            mailboxes.insert_mailbox,
            mailbox_id,
            provider="local",
            start_from="now",
            start_days=0,
            sealed=key.seal_record(MailboxRecord.place(mailbox_id), record),
        )
    return mailbox_id


def test_init_can_be_repeated_and_keeps_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    first = CliRunner().invoke(main, ["init", "--dir", str(folder)])
    assert first.exit_code == 0, first.output
    key = (folder / "master.key").read_text()
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    again = CliRunner().invoke(main, ["init", "--dir", str(folder)])
    assert again.exit_code == 0
    assert (folder / "master.key").read_text() == key
    assert len(json.loads(ingestd(folder, "account", "list", "--json").output)) == 1
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*.db*")} == {0}


def test_a_forgotten_mailbox_gives_its_receipt_again(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["init", "--dir", str(tmp_path)])
    mailbox_id = str(asyncio.run(add_mailbox(tmp_path)))
    assert [one["mailbox"] for one in json.loads(ingestd(tmp_path, "mailbox", "list", "--json").output)] == [mailbox_id]
    receipts = [ingestd(tmp_path, "mailbox", "disconnect", mailbox_id, "--json") for _ in range(2)]
    assert [one.exit_code for one in receipts] == [0, 0], [one.output for one in receipts]
    first, second = (json.loads(one.stdout) for one in receipts)
    assert first == second
    assert (first["left"], first["revocation"]) == ({}, "nothing_to_revoke")
    assert ingestd(tmp_path, "verify").exit_code == 0


def test_what_never_was_is_not_found(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["init", "--dir", str(tmp_path)])
    for command in (
        ["mailbox", "disconnect", str(new_id())],
        ["mailbox", "show", str(new_id())],
        ["ticket", "show", "7"],
    ):
        result = ingestd(tmp_path, *command)
        assert result.exit_code == 1
        assert "Traceback" not in result.output


def test_a_wrong_configuration_has_its_own_exit_status(tmp_path: Path) -> None:
    (tmp_path / "ingestd.yaml").write_text("storage:\n  databse: sqlite:///x.db\n")
    result = ingestd(tmp_path, "check-config")
    assert result.exit_code == 78
    assert "ingestd.yaml:2:3" in result.output
    assert "database" in result.output


def test_check_config_says_that_versions_in_a_bucket_stay(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["init", "--dir", str(tmp_path)])
    config = tmp_path / "ingestd.yaml"
    assert "versions" not in ingestd(tmp_path, "check-config").output
    bucket = (
        "bucket: {endpoint: 'https://s3.example.com', name: mail, region: r, access_key_id: a, secret_access_key: b}"
    )
    config.write_text(config.read_text().replace("  blobs_dir: blobs\n", f"  {bucket}\n"))
    checked = ingestd(tmp_path, "check-config")
    assert checked.exit_code == 0, checked.output
    assert "note: storage.bucket: where the bucket keeps versions" in checked.output
    (told,) = json.loads(ingestd(tmp_path, "check-config", "--json").output)["notes"]
    assert "ingestd cannot" in told
