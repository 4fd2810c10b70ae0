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
