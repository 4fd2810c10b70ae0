"""The unit file: as systemd reads it, as systemd judges it, and the daemon under its system call filters."""

from __future__ import annotations

import base64
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from config import load
from tests.deploy.conftest import DEPLOY, tool
from tests.deploy.unit import Sandbox, Unit
from tests.stores import sqlite_urls
from tests.story.daemon import INGESTD
from tests.story.house import Servers, open_house
from tests.story.mails import mail

UNIT = Unit.read(DEPLOY / "systemd" / "ingestd.service")
_EXPOSURE_MAX = 2.0


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [tool("systemd-analyze"), "--no-pager", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # Its program is not installed here; everything else stands as it is.
    text = UNIT.path.read_text()
    assert "ExecStart=/opt/ingestd/bin/ingestd " in text
    copy = tmp_path / UNIT.path.name
    copy.write_text(text.replace("/opt/ingestd/bin/ingestd", INGESTD[0]))
    done = analyze("verify", copy)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_is_exposed_to_little() -> None:
    done = analyze("security", "--offline=true", f"--threshold={int(_EXPOSURE_MAX * 10)}", UNIT.path)
    assert done.returncode == 0, done.stdout[-500:]
    assert "Overall exposure level" in done.stdout


def test_the_unit_and_the_daemon_agree() -> None:
    shutdown = load_example()["shutdown_seconds"]
    assert float(UNIT.one("TimeoutStopSec").removesuffix("s")) > 2 * shutdown
    assert UNIT.one("Type") == "notify"
    assert UNIT.one("ExecReload") == "kill -HUP $MAINPID"
    assert UNIT.one("RestartPreventExitStatus") == "78"
    assert UNIT.one("WorkingDirectory") == f"/var/lib/{UNIT.one('StateDirectory')}"


def load_example() -> dict[str, float]:
    document: dict[str, float] = yaml.safe_load((DEPLOY.parent / "config" / "example.yaml").read_text())
    return document


def test_the_master_key_comes_as_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = UNIT.one("LoadCredential").partition(":")[0]
    config = tmp_path / "ingestd.yaml"
    config.write_text(f"keys: {{master_key_credential: {name}}}\n")
    # systemd's own mode, which a key file of one's own may not have.
    (tmp_path / name).write_text(base64.b64encode(bytes(32)).decode() + "\n")
    (tmp_path / name).chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert len(load(config).keys.master_key_bytes()) == 32


async def test_the_story_under_the_units_filters(servers: Servers, new_user: Callable[[], str], tmp_path: Path) -> None:
    """Mail in and a reply out: IMAP, parser processes, SMTP, name look-ups, and the limits still in force."""
    user, customer = new_user(), new_user()
    provider = {
        "imap": {"host": "localhost", "port": servers.dovecot.port_tls},
        "smtp": {"host": "localhost", "port": servers.postfix.port_tls},
    }
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=provider) as house:
        house.daemon.preexec = Sandbox(UNIT, tool("systemd-analyze")).enter
        await house.daemon.start()
        status = Path(f"/proc/{house.daemon.pid}/status").read_text()
        assert "Seccomp_filters:\t3" in status
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "Question", "Does it run in its box?"))
        (ticket,) = await house.tickets(mailbox_id)
        reply = await house.reply(ticket.ticket.number, "It does.")
        await house.reply_at(ticket.ticket.number, reply, "copy:filed")
        assert await house.daemon.stop() == 0


def test_the_filters_hold() -> None:
    code = (
        "import mmap, os, socket\n"
        "def refused(call):\n"
        "    try: call()\n"
        "    except OSError: return True\n"
        "print(refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),\n"
        "      refused(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),\n"
        "      refused(lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))),\n"
        "      refused(lambda: os.chroot('/')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=Sandbox(UNIT, tool("systemd-analyze")).enter,
    )
    assert done.stdout.split() == ["True"] * 4


def test_sysusers_makes_the_user_of_the_unit(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(
        [tool("systemd-sysusers"), f"--root={tmp_path}", str(DEPLOY / "systemd" / "ingestd.sysusers.conf")],
        check=True,
        capture_output=True,
    )
    users = dict(line.split(":", 1) for line in (tmp_path / "etc" / "passwd").read_text().splitlines())
    assert UNIT.one("User") in users
    assert "/var/lib/ingestd" in users[UNIT.one("User")]


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user, which root can")
class TestCtl:
    """The command line beside the service."""

    def run(self, folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        credentials = folder / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "master-key").write_text("the key\n")
        (credentials / "master-key").chmod(0o400)
        env = {
            "PATH": os.environ["PATH"],
            "ROOTS_OWN_SECRET": "x",
            "INGESTD_CREDENTIALS": str(credentials),
            "INGESTD_PROGRAM": program,
            "INGESTD_USER": "nobody",
        }
        command = [str(DEPLOY / "systemd" / "ingestdctl"), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=60)

    def test_a_command_runs_as_the_services_user_with_its_secrets(self, tmp_path: Path) -> None:
        script = 'id -un; cat "$CREDENTIALS_DIRECTORY/master-key"; umask; echo "${ROOTS_OWN_SECRET:-none}"; exit 75'
        done = self.run(tmp_path, "/bin/sh", "-c", script)
        assert done.stdout.splitlines() == [pwd.getpwnam("nobody").pw_name, "the key", "0077", "none"]
        assert done.returncode == 75

    def test_the_secrets_go_with_the_command(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "/bin/sh", "-c", 'echo "$CREDENTIALS_DIRECTORY"')
        folder = Path(done.stdout.strip())
        assert folder.parent == Path("/run")
        assert not folder.exists()
