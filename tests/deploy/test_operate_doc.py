"""docs/operate.md: its commands are run as they stand, and what it names exists."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path

import asyncpg
import click
import pytest
import yaml
from pydantic import BaseModel

from config import Settings, load
from config.providers import FolderNames, OAuth
from config.shapes import model_of
from ingestd.cli import main
from ingestd.telemetry.vocabulary import EVENTS
from tests.deploy.conftest import ROOT
from tests.deploy.test_monitoring import anchors
from tests.servers.postgres import PostgresServer
from tests.servers.process import free_port
from tests.stores import StoreUrls
from tests.story.daemon import DaemonProcess
from tests.story.settings import merged, settings_document, write_settings

PAGE = ROOT / "docs" / "operate.md"
TEXT = PAGE.read_text()
_SECONDS = 600


def blocks(kind: str) -> list[str]:
    """The fenced blocks whose first line is ```kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command of ingestd that the page names, in words."""
    code = [line for kind in ("sh", "sh run") for block in blocks(kind) for line in block.splitlines()]
    code += [inline for inline in re.findall(r"`([^`\n]+)`", TEXT) if inline.startswith("ingestdctl ")]
    start = re.compile(r"(?:ingestdctl|bin/ingestd|ingestd:local|exec ingestd ingestd|--rm ingestd) ([a-z][^#;|<>]*)")
    return [match[1].split() for line in code if (match := start.search(line))]


@pytest.mark.skipif(os.geteuid() != 0, reason="runs on a copy of this machine, which root can make")
@pytest.mark.long
@pytest.mark.timeout(_SECONDS)
def test_the_way_by_pip_and_systemd_from_nothing_to_uninstalled(tmp_path: Path) -> None:
    script = tmp_path / "script"
    runs = blocks("sh run")
    lines = ["set -eux", *(f"{name}={value!r}" for name, value in os.environ.items() if name.startswith("PIP_"))]
    lines += [f"export {line.partition('=')[0]}" for line in lines[1:]]
    script.write_text("\n".join([*lines, *runs, "echo all of it was run"]))
    done = subprocess.run(
        [str(Path(__file__).with_name("machine.sh")), str(ROOT), str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert done.stdout.endswith("all of it was run\n")
    assert "/etc/ingestd/ingestd.yaml: ok" in done.stdout
    assert done.stdout.count("active\n") == 1
    assert "oauth2.googleapis.com:443" in done.stdout  # check-config lists what the new provider adds


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_each_command_and_option_exists(words: list[str]) -> None:
    command: click.Command = main
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_page_names_enough_commands() -> None:
    assert len(commands()) > 30


def test_each_event_and_each_setting_that_it_names_exists() -> None:
    sections: dict[str, type[BaseModel]] = {"folders": FolderNames, "oauth": OAuth}
    for name, field in Settings.model_fields.items():
        if model := model_of(field.annotation, None):
            sections[name] = model
    known = {f"{section}.{key}" for section, model in sections.items() for key in model.model_fields}
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", TEXT))
    assert named & set(EVENTS)
    assert named & known
    assert named <= known | set(EVENTS)


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        page = PAGE.parent / file if file else PAGE
        assert page.exists(), target
        assert not anchor or anchor in anchors(page.read_text()), target
    for file in re.findall(r"\bdeploy/[\w./-]+\b", TEXT):
        assert (ROOT / file).exists(), file


def test_its_configurations_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in ("content-url", "keystore-url"):
        (tmp_path / name).write_text(f"postgresql://ingestd:secret@{name}.example.com/mail\n")
    (tmp_path / "google-oauth").write_text("secret\n")
    (tmp_path / "master-key").write_text(base64.b64encode(bytes(32)).decode())
    (base,) = re.findall(r"<<'END'\n(.*?)^END$", TEXT, re.MULTILINE | re.DOTALL)
    (providers,) = re.findall(r"<<'PROVIDERS'\n(.*?)^PROVIDERS$", TEXT, re.MULTILINE | re.DOTALL)
    parts = [yaml.safe_load(block) for block in (*blocks("yaml"), providers)]
    ours = [part for part in parts if "scrape_configs" not in part]
    assert len(ours) == 2
    for part in [{}, *ours]:
        settings = load(write_settings(tmp_path / "ingestd.yaml", merged(yaml.safe_load(base), part)))
        assert settings.api.public_url == "https://mail.helpdesk.example.com"


async def test_its_databases_serve(postgres: PostgresServer, tmp_path: Path) -> None:
    """The SQL as it stands, but for names that the test's server may have already."""
    (text,) = blocks("sql")
    for name in ("ingestd", "content", "keystore"):
        text = re.sub(rf"\b{name}\b", f"operate_{name}", text)
    connection = await asyncpg.connect(f"postgresql://ingestd@127.0.0.1:{postgres.port}/postgres")
    for statement in text.split(";"):
        if statement.strip():
            await connection.execute(statement)
    await connection.close()
    address = f"postgresql://operate_ingestd:change-me@127.0.0.1:{postgres.port}/operate_"
    urls = StoreUrls(address + "content", address + "keystore", tmp_path / "blobs")
    port = free_port()
    config = write_settings(tmp_path / "ingestd.yaml", settings_document(urls, tmp_path, port=port, providers={}))
    async with DaemonProcess(config) as daemon:
        assert (await daemon.run_cli("init")).status == 0
        await daemon.start()
        await daemon.wait_ready(port)
        assert await daemon.stop() == 0
