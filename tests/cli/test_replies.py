"""`ingestd reply`: list, show, cancel, retry, resolve; and `ticket reply` that puts off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from tests.cli.stocked import stock
from tests.office import mail


def test_a_reply_is_put_off_listed_shown_and_cancelled_once(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    at = datetime.now(UTC) + timedelta(days=10)
    there = at.astimezone(timezone(timedelta(hours=9))).isoformat()
    later = desk.json("ticket", "reply", 1, "--text", "Later.", "--send-at", there)["message"]
    soon = desk.json("ticket", "reply", 1, "--text", "Soon.", "--undo", 300, "--cc", "bob@example.net")["message"]
    listed = desk.json("reply", "list")
    assert [(one["message"], one["ticket"], one["waits_for"]) for one in listed] == [
        (later, 1, "its time"),
        (soon, 1, "its time"),
    ]
    assert listed[0]["due"] == at.isoformat()
    assert desk.json("reply", "list", "--for-person") == []
    first_page = desk.run("reply", "list", "--limit", 1)
    assert f"--after {later}" in first_page.stderr
    assert [one["message"] for one in desk.json("reply", "list", "--after", later)] == [soon]

    shown = desk.json("reply", "show", soon)
    assert [(one["address"], one["status"]) for one in shown["recipients"]] == [
        ("anna@example.org", "pending"),
        ("bob@example.net", "pending"),
    ]
    assert desk.run("reply", "cancel", soon, "--author", "kim").output == f"{soon}: cancelled\n"
    assert "(it was so already)" in desk.run("reply", "cancel", soon, "--author", "lee").output
    assert [one["message"] for one in desk.json("reply", "list", "--status", "cancelled")] == [soon]
    assert [(one["what"], one["by"]) for one in desk.json("reply", "show", soon)["decisions"]] == [("cancel", "kim")]
    assert "cancel, decided by kim" in desk.run("reply", "show", soon).output
    assert "to bob@example.net: pending" in desk.run("ticket", "show", 1).output

    refused = desk.run("reply", "retry", soon)
    assert (refused.exit_code, "a reply that is cancelled cannot be tried again" in refused.output) == (1, True)
    assert desk.json("reply", "retry", later)["changed"]
    (waiting,) = desk.json("reply", "list")
    assert waiting["waits_for"] is None


def test_what_cannot_be_is_said_in_words(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    naive = desk.run("ticket", "reply", 1, "--text", "x", "--send-at", "2026-12-24T09:00:00")
    assert (naive.exit_code, "date, time and zone" in naive.output) == (2, True)
    past = desk.run("ticket", "reply", 1, "--text", "x", "--send-at", "2020-01-01T00:00:00Z")
    assert (past.exit_code, "has passed" in past.output) == (1, True)
    unknown = desk.run("reply", "show", "018f0000-0000-7000-8000-000000000001")
    assert (unknown.exit_code, "no reply" in unknown.output) == (1, True)
    message = desk.json("ticket", "reply", 1, "--text", "x")["message"]
    for decision in ("sent", "failed"):
        done = desk.run("reply", "resolve", message, decision)
        assert (done.exit_code, "a reply that is queued cannot be declared" in done.output) == (1, True)
