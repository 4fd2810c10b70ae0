"""The image that deploy/image/build.sh laid out, and commands in it (deploy/image/run.sh)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parents[2] / "deploy"

_BUILD_SECONDS = 1800
_COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Image:
    """`folder` is INGESTD_IMAGE_DIR."""

    folder: Path
    config: Mapping[str, Any]
    """As in Docker's image format: Env, User, Healthcheck …"""
    figures: Mapping[str, int]

    @classmethod
    def build(cls) -> Image:
        """Build it anew; the base image stays from the last time. Raises CalledProcessError."""
        subprocess.run([str(DEPLOY / "image" / "build.sh")], check=True, timeout=_BUILD_SECONDS)
        return cls.built()

    @classmethod
    def built(cls) -> Image:
        """Return the one that was built last. Raises FileNotFoundError."""
        folder = Path(os.environ.get("INGESTD_IMAGE_DIR", "/var/tmp/ingestd-image"))
        figures = (line.split() for line in (folder / "figures").read_text().splitlines())
        return cls(
            folder,
            json.loads((folder / "config.json").read_text()),
            {name: int(value) for name, value in figures},
        )

    @property
    def root(self) -> Path:
        return (self.folder / "rootfs").resolve()

    @property
    def user_id(self) -> int:
        return int(self.config["User"].partition(":")[0])

    def own(self, *paths: Path) -> None:
        """Give files and folders to the image's user, as a volume's first use does."""
        for path in paths:
            for one in (path, *path.rglob("*")):
                os.chown(one, self.user_id, self.user_id)

    def command(
        self,
        *arguments: object,
        config: Path | None = None,
        state: Path | None = None,
        bind: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Return what runs a command in the image, with a root that is read-only.

        `config` and `state` are the folders at /etc/ingestd and /var/lib/ingestd; `bind` are folders below
        /tmp that keep their path. The process keeps its id, so that signals reach the command.
        """
        options: list[object] = []
        for name, folder in (("--config", config), ("--state", state), *(("--bind", one) for one in bind)):
            options += [name, folder] if folder is not None else []
        for name, value in (env or {}).items():
            options += ["--env", f"{name}={value}"]
        return [str(DEPLOY / "image" / "run.sh"), *map(str, [*options, "--", *arguments])]

    def run(self, *arguments: object, **folders: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the image to its end."""
        return subprocess.run(
            self.command(*arguments, **folders), check=False, capture_output=True, text=True, timeout=_COMMAND_SECONDS
        )
