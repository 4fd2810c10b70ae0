"""`ingestd mailbox backfill`, with no daemon: what is asked for, and what is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from config import load
from ingestd.build.store import open_store
from ingestd.cli import backfill as module
from storage.tables import backfills
from tests.cli.stocked import Stocked, stock


def put(desk: Stocked, **values: object) -> None:
    """Let the backfill stand as if a daemon had worked on it."""

    def change(conn: Connection) -> None:
        conn.execute(update(backfills).values(**values))

    async def run() -> None:
        async with open_store(load(desk.folder / "ingestd.yaml")) as store:
            await store.content.transaction(None, change)

    asyncio.run(run())


def test_it_is_asked_for_shown_stopped_and_goes_on(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    assert desk.json("mailbox", "show", desk.mailbox_id)["backfill"] is None
    asked = desk.json("mailbox", "backfill", desk.mailbox_id, "--from", "30", "--order", "oldest")
    assert (asked["status"], asked["order"], asked["total"], asked["seconds_left"]) == ("running", "oldest", None, None)
    put(desk, seen=3, total=12, trouble="throttled", cursor_sequence=4)
    assert "running, 3 of 12 messages, throttled" in desk.run("mailbox", "show", desk.mailbox_id).output
    again = desk.run("mailbox", "backfill", desk.mailbox_id, "--from", "30")
    assert (again.exit_code, "is running" in again.output) == (1, True)
    assert desk.json("mailbox", "backfill", desk.mailbox_id, "--stop")["status"] == "stopped"
    assert desk.run("mailbox", "backfill", desk.mailbox_id, "--stop").exit_code == 1
    resumed = desk.json("mailbox", "backfill", desk.mailbox_id)
    assert (resumed["status"], resumed["order"], resumed["seen"]) == ("running", "oldest", 3)
    shown = desk.json("mailbox", "show", desk.mailbox_id)["backfill"]
    assert (shown["since"], shown["status"]) == (asked["since"], "running")


def test_another_wish_begins_anew(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    desk.json("mailbox", "backfill", desk.mailbox_id, "--from", "30")
    put(desk, seen=3, total=12)
    desk.json("mailbox", "backfill", desk.mailbox_id, "--stop")
    wider = desk.json("mailbox", "backfill", desk.mailbox_id, "--from", "everything")
    assert (wider["seen"], wider["total"], wider["since"], wider["order"]) == (0, None, None, "newest")


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("failed", 1)])
def test_watching_ends_with_it(tmp_path: Path, status: str, code: int) -> None:
    desk = stock(tmp_path)
    desk.json("mailbox", "backfill", desk.mailbox_id, "--from", "everything")
    put(desk, seen=12, total=12, status=status)
    result = desk.run("mailbox", "backfill", desk.mailbox_id, "--watch")
    assert (result.exit_code, result.stdout) == (code, f"{status}, 12 of 12 messages\n")


@pytest.mark.parametrize("total", [None, 12])
def test_watching_ends_where_no_daemon_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "_ALONE_SECONDS", 0.05)
    desk = stock(tmp_path)
    desk.json("mailbox", "backfill", desk.mailbox_id, "--from", "everything")
    put(desk, seen=3, total=total)
    result = desk.run("mailbox", "backfill", desk.mailbox_id, "--watch")
    assert (result.exit_code, "no daemon runs on this store: nobody reads" in result.output) == (1, True), result.output
    assert desk.json("mailbox", "show", desk.mailbox_id)["backfill"]["status"] == "running"


def test_watching_has_the_limit_that_it_is_given(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    desk.json("mailbox", "backfill", desk.mailbox_id, "--from", "everything")
    put(desk, seen=3, total=12)
    result = desk.run("mailbox", "backfill", desk.mailbox_id, "--watch", "--wait", 0)
    assert (result.exit_code, "not done yet: running, 3 of 12 messages" in result.output) == (1, True), result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--from everything"),
        (["--from", "never"], "a number of days"),
        (["--from", "0"], "a number of days"),
        (["--stop", "--watch"], "stands alone"),
        (["--from", "everything", "--wait", "5"], "--watch"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    desk = stock(tmp_path)
    result = desk.run("mailbox", "backfill", desk.mailbox_id, *arguments)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert desk.json("mailbox", "show", desk.mailbox_id)["backfill"] is None
