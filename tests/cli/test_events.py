"""`ingestd event list` shows the log, and goes on as it grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.stocked import stock
from tests.office import mail


def test_a_list_and_what_is_not_in_the_log(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    found = desk.json("event", "list", "--limit", 2)
    assert [one["sequence"] for one in found] == [1, 2]
    rest = desk.json("event", "list", "--after", 2)
    assert {one["type"] for one in found + rest} >= {"ticket.created", "message.received"}
    assert "ticket.created" in desk.run("event", "list").output
    ahead = desk.run("event", "list", "--after", 1000)
    assert (ahead.exit_code, "has not come so far" in ahead.output) == (1, True)


def test_follow_tells_what_another_process_does(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    seen = len(desk.json("event", "list"))
    command = [sys.executable, "-c", "from ingestd.cli import main; main()", "--config", str(tmp_path / "ingestd.yaml")]
    following = subprocess.Popen(
        [*command, "event", "list", "--follow", "--json"], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert following.stdout is not None
        told = [json.loads(following.stdout.readline()) for _ in range(seen)]
        assert desk.run("ticket", "close", 1).exit_code == 0
        told.append(json.loads(following.stdout.readline()))
        assert told[-1]["type"] == "ticket.closed"
        assert [one["sequence"] for one in told] == list(range(1, seen + 2))
    finally:
        following.terminate()
        following.wait(timeout=10)
        assert following.stdout is not None
        following.stdout.close()
