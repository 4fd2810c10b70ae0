"""A Docker engine of the tests' own, with stand-ins for the images that a registry would give."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.image import Image
from tests.servers.process import private_folder

_STANDINS = Path(__file__).with_name("standins")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_START_SECONDS = 60
_COMMAND_SECONDS = 900


@dataclass(frozen=True)
class Engine:
    """`dockerd` with its images, volumes and containers in `folder`."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What commands need that are to reach this engine and no other, whatever the machine is set to."""
        config = self.folder / "client"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text("{}")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {"DOCKER_HOST": f"unix://{self.folder}/docker.sock", "DOCKER_CONFIG": str(config)}

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command to its end and return what it printed; what it said of a failure is in the exception."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done.stdout


@contextmanager
def running() -> Iterator[Engine]:
    """An engine without images, until the block ends; nothing of it stays but its chains in the packet filter."""
    engine = Engine(private_folder("docker"))
    had_bridge = Path("/sys/class/net/docker0").exists()
    command = ["dockerd", "--host", f"unix://{engine.folder}/docker.sock", "--pidfile", f"{engine.folder}/pid"]
    command += ["--data-root", f"{engine.folder}/data", "--exec-root", f"{engine.folder}/exec"]
    try:
        with open(engine.folder / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                _await_answer(engine, process)
                yield engine
            finally:
                process.terminate()
    finally:
        if not had_bridge:
            subprocess.run(["ip", "link", "delete", "docker0"], check=False, capture_output=True)
        shutil.rmtree(engine.folder)


def _await_answer(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(engine):
        text = (engine.folder / "log").read_text()
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def _answers(engine: Engine) -> bool:
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, env=engine.environment, capture_output=True, check=False).returncode == 0


def give_base_images(engine: Engine, image: Image) -> None:
    """Give it what the Dockerfile and compose.yaml take from a registry, under the names that they say."""
    archive = engine.folder / "python.tar"
    name = "python:3.11-slim-bookworm"
    storage = ["buildah", "--storage-driver", "vfs", "--root", f"{image.folder}/storage", "--runroot"]
    engine.run(*storage, f"{image.folder}/run", "push", f"docker.io/library/{name}", f"docker-archive:{archive}:{name}")
    engine.run("docker", "load", "--input", str(archive))
    archive.unlink()
    context = engine.folder / "python"
    context.mkdir()
    shutil.copy(_AUTHORITIES, context)
    (context / "pip.conf").write_text("\n".join(_pip_settings(image)))
    lines = [f"FROM {name}", f"COPY {_AUTHORITIES.name} {_AUTHORITIES}", "COPY pip.conf /etc/pip.conf"]
    (context / "Dockerfile").write_text("\n".join(lines))
    engine.run("docker", "build", "--tag", name, str(context))
    engine.run("docker", "build", "--tag", "postgres:16-bookworm", str(_STANDINS / "postgres"))


def _pip_settings(image: Image) -> list[str]:
    """How pip gets packages on this machine, but for folders of its own, which a container does not have."""
    lines = (image.folder / "pip.conf").read_text().splitlines()
    wanted = ("index-url", "trusted-host", "default-timeout")
    return ["[global]", f"cert = {_AUTHORITIES}", *(line for line in lines if line.partition(" ")[0] in wanted)]
