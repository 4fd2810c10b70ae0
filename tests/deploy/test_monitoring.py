"""The alert rules and the board: as Prometheus reads them, and against the figures that a real daemon serves."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.conftest import DEPLOY, ROOT, tool
from tests.servers.process import free_port
from tests.stores import sqlite_urls
from tests.story.daemon import DaemonProcess
from tests.story.settings import settings_document, write_settings

RULES = DEPLOY / "prometheus" / "ingestd.rules.yaml"
RULE_TESTS = DEPLOY / "prometheus" / "ingestd.rules.test.yaml"
BOARD = DEPLOY / "grafana" / "ingestd.json"

_OF_PROMETHEUS = {"up"}
"""What Prometheus itself adds for each target."""
_METRIC = re.compile(r"\b(?:ingestd|process|python)_[a-z_]+\b|\bup\b")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(BOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def board_queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [tool("promtool"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


async def served(folder: Path) -> tuple[set[str], dict[str, set[str]]]:
    """Start a daemon; return the names of the samples of its /metrics, and the label names of each."""
    port = free_port()
    document = settings_document(sqlite_urls(folder), folder, port=port, providers={})
    async with DaemonProcess(write_settings(folder / "ingestd.yaml", document)) as daemon:
        assert (await daemon.run_cli("init")).status == 0
        await daemon.start()
        await daemon.wait_ready(port)
        async with httpx2.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    names: set[str] = set()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        # A family without a sample yet serves its name and type: what it will be called follows from them.
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return names, labels


def test_prometheus_accepts_the_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_on_its_cause_and_none_on_a_good_day() -> None:
    done = promtool("test", "rules", RULE_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_both_ways() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for one in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for check in one["alert_rule_test"]:
            (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    names = {rule["alert"] for rule in alerts()}
    assert fires == names
    assert quiet == names


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_each_alert_says_how_bad_it_is_and_has_a_runbook() -> None:
    known = anchors((ROOT / "docs" / "operate.md").read_text())
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/operate.md"
        assert anchor == rule["alert"].lower()
        assert anchor in known, f"docs/operate.md has no section {rule['alert']}"


async def test_rules_and_board_use_what_a_daemon_serves_and_nothing_else(tmp_path: Path) -> None:
    names, labels = await served(tmp_path)
    queries = [rule["expr"] for rule in alerts()] + board_queries()
    used = {name for query in queries for name in _METRIC.findall(query)}
    assert used - names - _OF_PROMETHEUS == set()
    for query in queries:
        for name, matchers in re.findall(r"((?:ingestd|process)_\w+)\{([^}]*)\}", query):
            asked = set(re.findall(r"(\w+)(?:=|!)", matchers)) - {"job", "instance"}
            assert asked <= labels.get(name, asked), f"{name} has no such label: {query}"


async def test_what_a_daemon_serves_is_on_the_board(tmp_path: Path) -> None:
    names, _ = await served(tmp_path)
    shown = {name for query in board_queries() for name in _METRIC.findall(query)}
    families = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in names
        if name.startswith("ingestd_") and not name.endswith("_created")
    }
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()


def test_the_boards_queries_are_promql(tmp_path: Path) -> None:
    """As recording rules, with what Grafana puts in for its variables."""
    rules = [
        {"record": f"board:query{number}", "expr": query.replace("$__rate_interval", "5m").replace("$job", "ingestd")}
        for number, query in enumerate(board_queries())
    ]
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_is_whole() -> None:
    board = json.loads(BOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {one["name"] for one in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)\b", BOARD.read_text())) <= variables
    for panel in panels():
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
