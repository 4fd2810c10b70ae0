"""docs/operate.md on containers: its lines are run as they stand, on a real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import ROOT, tool
from tests.deploy.engine import Engine, give_base_images, running
from tests.deploy.image import Image
from tests.deploy.test_operate_doc import blocks

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root")]

_SECONDS = 60
BLOCKS = [block for block in blocks("sh") if "docker" in block]


@pytest.fixture(scope="module")
def engine(image: Image) -> Iterator[Engine]:
    tool("dockerd", "--image")
    with running() as engine:
        engine.run("docker", "compose", "version")
        give_base_images(engine, image)
        yield engine


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What is to be released: the files that git knows."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.split("\0"):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def block(*words: str) -> str:
    """Return the one block of the page that has all these words."""
    (found,) = (one for one in BLOCKS if all(word in one for word in words))
    return found


def run(engine: Engine, folder: Path, text: str) -> str:
    return engine.run("sh", "-eu", "-c", text, cwd=folder)


def ready() -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return bool(opener.open("http://127.0.0.1:8025/readyz", timeout=5).status == 200)
    except OSError:
        return False


def logs(engine: Engine) -> str:
    return engine.run("sh", "-c", "docker logs ingestd 2>&1")


def names_of_accounts(engine: Engine, *daemon: str) -> list[str]:
    listed = json.loads(engine.run(*daemon, "ingestd", "account", "list", "--json"))
    return [one["name"] for one in listed]


def test_one_container(engine: Engine, checkout: Path) -> None:
    (checkout / "etc").mkdir()
    document = {"api": {"listen_host": "0.0.0.0"}, "keys": {"master_key_file": "/var/lib/ingestd/master.key"}}
    (checkout / "etc" / "ingestd.yaml").write_text(yaml.safe_dump(document))
    run(engine, checkout, block("docker build", "docker run -d"))
    try:
        deadline = time.monotonic() + _SECONDS
        while engine.run("docker", "inspect", "--format", "{{.State.Health.Status}}", "ingestd") != "healthy\n":
            assert time.monotonic() < deadline, logs(engine)
            time.sleep(0.2)
        assert ready()
        engine.run("docker", "kill", "--signal", "HUP", "ingestd")
        assert names_of_accounts(engine, "docker", "exec", "ingestd") == ["default"]
        engine.run("docker", "stop", "ingestd")
        log = [json.loads(line)["event"] for line in logs(engine).splitlines()]
        assert {"daemon.started", "config.reloaded", "daemon.stopped"} <= set(log)
        assert engine.run("docker", "inspect", "--format", "{{.State.ExitCode}}", "ingestd") == "0\n"
    finally:
        engine.run("docker", "rm", "--force", "ingestd")


def test_compose_from_nothing_through_backup_and_restore_to_an_upgrade(engine: Engine, checkout: Path) -> None:
    folder = checkout / "deploy" / "compose"
    compose = ["docker", "compose", "--file", str(folder / "compose.yaml")]
    daemon = [*compose, "exec", "-T", "ingestd"]
    try:
        run(engine, checkout, block("secrets.sh", "compose up"))
        assert ready()
        engine.run(*daemon, "ingestd", "account", "create", "in the backup")
        run(engine, checkout, block("backup content", "backup keystore"))
        engine.run(*daemon, "ingestd", "account", "create", "after it")
        engine.run(*compose, "down", "--volumes")
        run(engine, folder, block("restore content", "restore keystore"))
        assert ready()
        assert names_of_accounts(engine, *daemon) == ["default", "in the backup"]
        run(engine, folder, block("migrate"))
        assert ready()
        assert names_of_accounts(engine, *daemon) == ["default", "in the backup"]
    finally:
        engine.run(*compose, "down", "--volumes")


def test_no_block_is_left_out() -> None:
    run_above = [
        block("docker build", "docker run -d"),
        block("secrets.sh", "compose up"),
        block("backup content", "backup keystore"),
        block("restore content", "restore keystore"),
        block("migrate"),
    ]
    assert sorted(run_above) == sorted(BLOCKS)
