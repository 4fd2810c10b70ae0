"""`ingestd receipt`: what a disconnect leaves, shown, signed and checked."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from ingestd.cli import main
from tests.cli.stocked import stock
from tests.office import mail


def test_a_receipt_is_signed_and_checked_by_its_key_alone(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    assert "no mailbox was disconnected" in desk.run("receipt", "list").output
    assert desk.run("receipt", "show", desk.mailbox_id).exit_code == 1
    desk.json("mailbox", "disconnect", desk.mailbox_id)
    (listed,) = desk.json("receipt", "list")
    assert (listed["mailbox"], listed["step"]) == (str(desk.mailbox_id), "done")
    shown = desk.json("receipt", "show", desk.mailbox_id)
    assert shown["deleted"]["messages"] == 1

    signed = desk.run("receipt", "show", desk.mailbox_id, "--signed").output
    (tmp_path / "receipt.jws").write_text(signed)
    verified = desk.json("receipt", "verify", tmp_path / "receipt.jws")
    assert verified["deleted"] == shown["deleted"]
    assert verified["blob_versions"] == shown["blob_versions"] == "none"
    (tmp_path / "key.pem").write_text(desk.run("receipt", "key").output)
    elsewhere = ["receipt", "verify", str(tmp_path / "receipt.jws"), "--key", str(tmp_path / "key.pem")]
    checked = CliRunner().invoke(main, elsewhere)  # no store, no configuration
    assert checked.exit_code == 0, checked.output
    assert "copies of the key store made before" in checked.output
    (tmp_path / "receipt.jws").write_text(signed[:-20] + "AAAA" + signed[-16:])
    refused = CliRunner().invoke(main, elsewhere)
    assert refused.exit_code == 1
    assert "it was changed" in refused.output


def test_the_receipt_of_a_closed_account_is_signed_as_well(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    (account,) = desk.json("account", "list")
    desk.json("account", "close", account["account"], "--yes")
    shown = desk.json("receipt", "show", account["account"])
    assert (shown["mailboxes"], shown["left"]) == ([str(desk.mailbox_id)], {})
    (tmp_path / "receipt.jws").write_text(desk.run("receipt", "show", account["account"], "--signed").output)
    said = desk.json("receipt", "verify", tmp_path / "receipt.jws")
    assert said["key_fingerprint"] == shown["key_fingerprint"]
    assert (said["account"], said["deleted"]) == (account["account"], shown["deleted"])
    # A mailbox's own is still shown, by the account that it was of.
    mailbox = desk.json("receipt", "show", desk.mailbox_id, "--account", account["account"])
    assert mailbox["mailbox_id"] == str(desk.mailbox_id)


def test_a_person_is_erased_and_the_receipt_says_so(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    account_id = desk.json("account", "list")[0]["account"]
    preview = desk.json("person", "erase", account_id, "anna@example.org", "--dry-run")
    assert (preview["counts"], preview["receipt"]) == ({"messages_deleted": 1, "tickets_deleted": 1}, None)
    assert desk.run("ticket", "show", "1").exit_code == 0
    done = desk.json("person", "erase", account_id, "anna@example.org", "--yes")
    assert (done["step"], done["receipt"]["counts"]) == ("done", preview["counts"])
    assert desk.run("ticket", "show", "1").exit_code == 1
    told = desk.run("person", "show", account_id, done["erasure"]).output
    assert "are not searched" in told
    (tmp_path / "receipt.jws").write_text(desk.run("receipt", "show", done["erasure"], "--signed").output)
    assert desk.json("receipt", "verify", tmp_path / "receipt.jws")["counts"] == preview["counts"]
    refused = desk.run("person", "erase", account_id, "anna", "--yes")
    assert (refused.exit_code, "anna" in refused.output) == (1, False)
