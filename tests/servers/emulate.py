"""The third-party emulator (npm: emulate) of Gmail and of Microsoft's sign-in, on 127.0.0.1.

It was written without us, so it does not share our misunderstandings. deploy/dev/setup.sh --servers installs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.process import ServerMissingError, free_port, listens, wait_until

_INSTALLED = Path(sys.prefix, "share", "emulate")
_START_SECONDS_MAX = 20.0


class Emulator:
    """One service (google, microsoft) with what is in `seed`; the `tokens` open what they are for."""

    def __init__(self, service: str, seed: dict[str, Any], tokens: dict[str, Any] | None = None) -> None:
        if not (_INSTALLED / "stamp").is_file():
            raise ServerMissingError("the emulator is not installed: make servers")
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        """What it calls itself by; set before the start where it stands behind something."""
        self._service = service
        self._seed = {service: seed, "tokens": tokens or {}}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["./node", "serve.mjs", self._service, str(self.port), self.base_url]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, cwd=_INSTALLED, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._seed).encode() + b"\n")
        self._process.stdin.flush()
        wait_until(lambda: listens(self.port), _START_SECONDS_MAX, "the emulator listens")

    def destroy(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            assert self._process.stdin is not None
            self._process.stdin.close()
