"""An installation as an operator has it: a configuration file over real databases, the command line, the daemon."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from click.testing import CliRunner, Result

from ingestd.cli import main
from tests.stores import StoreUrls

ROOT = Path(__file__).resolve().parents[2]
_WAIT_SECONDS = 40.0
_CONFIG = """\
storage:
  database: {content}
  keystore: {keystore}
  blobs_dir: {blobs}
  data_version_poll_seconds: 0.05
keys: {{master_key_file: {folder}/master.key}}
api: {{listen_port: 0}}
providers:
{providers}
inbound:
  lease_seconds: 1
  heartbeat_seconds: 0.4
  backoff: {{initial_seconds: 0.1, max_seconds: 1}}
linking: {{attempts_max: 1, http_timeout_seconds: 1}}
parser: {{processes: 1}}
shutdown_seconds: 5
"""
# Nothing listens there: the daemon has nobody to talk to, and must do with what it has.
_PROVIDER = """\
  {name}:
    kind: generic
    imap: {{host: 127.0.0.1, port: 9}}
    smtp: {{host: 127.0.0.1, port: 9}}
    oauth:
      issuer: http://127.0.0.1:9
      client_id: ingestd
      client_secret: secret
      scopes: [openid, email, mail]
"""


def configure(folder: Path, urls: StoreUrls) -> Path:
    """Write a configuration for these databases, with the tests' master key and providers that are away."""
    folder.mkdir(exist_ok=True)
    (folder / "master.key").write_bytes(base64.b64encode(bytes(range(32))))
    (folder / "master.key").chmod(0o600)
    config = folder / "ingestd.yaml"
    providers = "".join(_PROVIDER.format(name=name) for name in ("local", "example"))
    config.write_text(
        _CONFIG.format(
            content=urls.content, keystore=urls.keystore, blobs=urls.blobs, folder=folder, providers=providers
        )
    )
    return config


def ingestd(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *arguments])


def done(config: Path, *arguments: str) -> str:
    """Run a command that must succeed; return what it printed."""
    result = ingestd(config, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@contextlib.contextmanager
def daemon(config: Path) -> Iterator[Callable[[Callable[[], bool], str], None]]:
    """Run the daemon; yields a function that waits for a condition. At the end it must stop cleanly."""
    log = config.with_name("daemon.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.launcher", "run"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "INGESTD_CONFIG": str(config), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def until(condition: Callable[[], bool], said: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert process.poll() is None, f"the daemon ended with {process.returncode}: {log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"not in time: {said}\n{log.read_text()[-3000:]}"
            time.sleep(0.05)

    try:
        until(lambda: '"daemon.started"' in log.read_text(), "the daemon is started")
        yield until
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()[-3000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
