"""`ingestd quarantine`: list, show, replay, drop."""

from __future__ import annotations

import json
from pathlib import Path

from storage.types import new_id
from tests.cli.stocked import stock
from tests.office import mail

POISON = mail("poison", text="A secret recipe.")


def test_list_and_show_tell_why_and_never_what(tmp_path: Path) -> None:
    desk = stock(tmp_path, POISON, mail(message_id="<q2@example.org>"))
    (row,) = desk.json("quarantine", "list")
    assert (row["mailbox"], row["status"], row["reason"]) == (str(desk.mailbox_id), "held", "timeout")
    assert (row["size_bytes"], row["replays"]) == (len(POISON), 0)
    assert desk.json("quarantine", "list", "--mailbox", new_id()) == []
    assert desk.json("mailbox", "show", desk.mailbox_id)["quarantined"] == 1
    shown = desk.run("quarantine", "show", row["quarantine"])
    assert "timeout" in shown.output
    assert "INBOX" in shown.output
    for text in (shown.output, desk.run("quarantine", "list").output):
        assert "recipe" not in text
        assert "anna" not in text


def test_the_raw_message_goes_to_a_new_file_of_its_owner(tmp_path: Path) -> None:
    desk = stock(tmp_path / "desk", POISON)
    (row,) = desk.json("quarantine", "list")
    target = tmp_path / "raw.eml"
    assert desk.run("quarantine", "show", row["quarantine"], "--raw", target).exit_code == 0
    assert target.read_bytes() == POISON
    assert target.stat().st_mode & 0o777 == 0o600
    again = desk.run("quarantine", "show", row["quarantine"], "--raw", target)
    assert again.exit_code == 1
    assert target.read_bytes() == POISON
    assert desk.run("quarantine", "show", row["quarantine"], "--raw", "-").stdout_bytes == POISON


def test_a_replay_makes_a_ticket(tmp_path: Path) -> None:
    """In a real parser process: what is poison to the tests is a mail like any other."""
    desk = stock(tmp_path, POISON, mail("poison", message_id="<q2@example.org>"))
    first, _ = desk.json("quarantine", "list")
    told = desk.run("quarantine", "replay", first["quarantine"], "--seconds", 60, "--memory-mib", 512)
    assert told.exit_code == 0, told.output
    assert told.output == f"{first['quarantine']}: ticket #1\n"
    (ticket,) = desk.json("ticket", "list")
    assert ticket["subject"] == "poison"
    (second,) = desk.json("quarantine", "replay", "--all")
    assert (second["outcome"], second["ticket"]) == ("taken", 2)
    assert desk.json("quarantine", "list") == []
    assert [one["status"] for one in desk.json("quarantine", "list", "--all")] == ["taken", "taken"]
    again = desk.run("quarantine", "replay", first["quarantine"])
    assert again.exit_code == 1
    assert "taken" in again.output
    assert desk.run("quarantine", "replay", "--all").output == "the quarantine is empty\n"
    assert desk.run("verify").exit_code == 0


def test_a_replay_that_fails_says_so_by_its_exit_status(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail("poison", text="x" * 1_000_000))
    failed = desk.run("quarantine", "replay", "--all", "--seconds", 0.0001)
    assert failed.exit_code == 1
    assert "timeout" in failed.output
    (row,) = desk.json("quarantine", "list")
    assert row["replays"] == 1
    assert desk.run("verify").exit_code == 0


def test_drop_asks_and_keeps_only_the_identity(tmp_path: Path) -> None:
    desk = stock(tmp_path, POISON)
    (row,) = desk.json("quarantine", "list")
    assert desk.run("quarantine", "drop", row["quarantine"]).exit_code == 2  # nobody there to be asked
    assert len(desk.json("quarantine", "list")) == 1
    assert desk.run("quarantine", "drop", row["quarantine"], "--yes").exit_code == 0
    assert desk.json("quarantine", "list") == []
    assert desk.run("quarantine", "show", row["quarantine"], "--raw", "-").exit_code == 1
    assert desk.run("quarantine", "drop", row["quarantine"], "--yes").exit_code == 1
    desk.take(POISON)
    assert desk.json("quarantine", "list") == []
    assert desk.run("verify").exit_code == 0


def test_wrong_usage(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    assert desk.run("quarantine", "replay").exit_code == 2
    assert desk.run("quarantine", "replay", new_id(), "--all").exit_code == 2
    assert desk.run("quarantine", "show", new_id()).exit_code == 1


def test_where_is_my_mail_finds_it(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail("poison", message_id="<bad@example.org>"), mail(message_id="<q2@example.org>"))
    (row,) = desk.json("quarantine", "list")
    found = desk.run("explain", "bad@example.org", "--json")
    assert found.exit_code == 1, "it is in no ticket"
    (told,) = json.loads(found.stdout)
    assert [(one["quarantine"], one["reason"]) for one in told["quarantined"]] == [(row["quarantine"], "timeout")]
    assert (told["stored"], told["there"], told["error"]) == ([], None, None)
    assert "in quarantine since" in desk.run("explain", "<bad@example.org>").output
    assert "ticket 1 (open)" in desk.run("explain", "<q2@example.org>").output
