"""The image, really built, and run as the documentation says: `make image-check`.

Needs root, buildah and debootstrap; takes minutes, so it is one of the campaigns.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.deploy.image import Image
from tests.servers.process import free_port, private_folder

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root")]

_SECONDS = 60


@dataclass(frozen=True)
class Place:
    """A configuration and a volume, for one container."""

    image: Image
    config: Path
    state: Path
    port: int

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.image.run(*arguments, config=self.config, state=self.state, env={"INGESTD_PORT": str(self.port)})


@pytest.fixture
def place(image: Image) -> Iterator[Place]:
    folder = private_folder("image")
    folder.chmod(0o755)
    config, state, port = folder / "etc", folder / "state", free_port()
    config.mkdir()
    # A volume begins as a copy of what the image has there.
    shutil.copytree(image.root / "var" / "lib" / "ingestd", state)
    image.own(state)
    document = {
        "keys": {"master_key_file": "/var/lib/ingestd/master.key"},
        "api": {"listen_host": "0.0.0.0", "listen_port": port},
    }
    (config / "ingestd.yaml").write_text(yaml.safe_dump(document))
    yield Place(image, config, state, port)
    shutil.rmtree(folder)


@pytest.fixture
async def daemon(place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    """The image's own command, until it answers."""
    for arguments in (("init", "--master-key", "/var/lib/ingestd/master.key"), ("init",)):
        done = place.run("ingestd", *arguments)
        assert done.returncode == 0, done.stderr
    command = place.image.command(
        *place.image.config["Entrypoint"], *place.image.config["Cmd"], config=place.config, state=place.state
    )
    with open(place.state / "daemon.log", "wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _SECONDS
        async with httpx2.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    if (await client.get(f"http://127.0.0.1:{place.port}/readyz")).status_code == 200:
                        break
                except httpx2.HTTPError:
                    pass
                text = (place.state / "daemon.log").read_text()
                assert process.returncode is None, text
                assert time.monotonic() < deadline, text
                await asyncio.sleep(0.1)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_what_was_built(image: Image) -> None:
    print(image.figures)
    assert image.config["User"] == "10001:10001"
    assert image.config["StopSignal"] == "SIGTERM"
    assert list(image.config["Volumes"]) == ["/var/lib/ingestd"]
    assert image.figures["ingestd_bytes"] < 200 * 1024 * 1024


def test_what_builds_is_not_in_what_runs(image: Image) -> None:
    program = image.root / "opt" / "ingestd"
    assert not (program / "bin" / "pip").exists()
    assert not (image.root / "opt" / "build").exists()
    assert not (image.root / "src").exists() or not any((image.root / "src").iterdir())
    installed = {path.name.partition("-")[0].lower() for path in program.glob("lib/python3*/site-packages/*.dist-info")}
    assert "ingestd" in installed
    assert not installed & {"pytest", "mypy", "ruff", "hatchling", "pip", "aiosmtpd", "pymap"}


def test_nothing_of_this_machines_registry_stays_in_the_image(image: Image) -> None:
    assert not [line for line in image.config["Env"] if "PIP" in line.upper() or "PROXY" in line.upper()]
    left = image.root / "etc" / "pip.conf"
    assert not left.exists() or left.read_bytes() == b""


def test_the_program_belongs_to_root_and_nobody_else_can_change_it(image: Image) -> None:
    wrong = []
    for path in (image.root / "opt" / "ingestd").rglob("*"):
        found = path.lstat()
        if found.st_uid != 0 or (not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022):
            wrong.append(path)
    assert not wrong


def test_the_daemons_user_can_write_to_its_volume_and_to_tmp_only(place: Place) -> None:
    script = (
        "import os\n"
        "for folder, _, _ in os.walk('/', followlinks=False):\n"
        "    if folder.startswith(('/proc', '/sys')): continue\n"
        "    name = os.path.join(folder, '.written')\n"
        "    try: open(name, 'x').close()\n"
        "    except OSError: continue\n"
        "    os.unlink(name); print(folder)\n"
        "print('uid', os.getuid(), 'gid', os.getgid(), os.getgroups())\n"
    )
    done = place.run("python", "-c", script)
    *written, who = done.stdout.splitlines()
    assert who == "uid 10001 gid 10001 []", done.stderr
    assert written
    assert all(one == "/tmp" or one.startswith("/var/lib/ingestd") for one in written), written


def test_the_files_themselves_are_not_the_users_even_where_the_root_is_writable(image: Image) -> None:
    """Whoever forgets --read-only: the permissions hold by themselves."""
    writable = []
    for path in image.root.rglob("*"):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX:
            continue
        if found.st_uid == image.user_id or found.st_mode & 0o002:
            writable.append(str(path.relative_to(image.root)))
    assert [one for one in writable if not one.startswith(("var/lib/ingestd", "dev/", "proc/"))] == []


def test_no_privilege_is_left(place: Place) -> None:
    status = dict(
        line.split(":\t") for line in place.run("cat", "/proc/self/status").stdout.splitlines() if ":\t" in line
    )
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")


def test_check_config_in_the_image(place: Place) -> None:
    assert place.run("ingestd", "init", "--master-key", "/var/lib/ingestd/master.key").returncode == 0
    done = place.run("ingestd", "check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok" in done.stdout


async def test_the_daemon_runs_is_found_healthy_and_drains(place: Place, daemon: asyncio.subprocess.Process) -> None:
    check = place.image.config["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert (await asyncio.to_thread(place.run, *check[1:])).returncode == 0
    assert Path(f"/proc/{daemon.pid}/status").read_text().split("Uid:\t")[1].split()[0] == "10001"
    daemon.send_signal(signal.SIGTERM)
    async with asyncio.timeout(_SECONDS):
        assert await daemon.wait() == 0
    assert '"daemon.stopped"' in (place.state / "daemon.log").read_text()
    assert (await asyncio.to_thread(place.run, *check[1:])).returncode != 0
