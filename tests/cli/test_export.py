"""`ingestd export` writes what an account has to a folder, and says what is wrong with one."""

from __future__ import annotations

from pathlib import Path

from tests.cli.stocked import stock
from tests.office import mail


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail(), mail(message_id="<q2@example.org>", text="Another."))
    made = desk.json("export", tmp_path / "out")
    assert (made["tickets"], made["messages"], made["quarantined"]) == (2, 2, 0)
    assert made["size_bytes"] == sum(
        (tmp_path / "out" / name).stat().st_size for name in ("tickets.jsonl", "messages.jsonl", "mail.mbox")
    )
    again = desk.run("export", tmp_path / "out")
    assert again.exit_code == 1
    assert "has a finished export" in again.output
    (tmp_path / "file").touch()
    refused = desk.run("export", tmp_path / "file" / "out")
    assert refused.exit_code == 1
    assert "cannot be written: Not a directory" in refused.output
