"""`ingestd demo`, run as anybody runs it; and that it fails where a promise is broken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingestd.cli import main
from ingestd.demo import story
from ingestd.demo.provider import DemoProvider
from ingestd.demo.submission import Submission

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "ingestd")
SERVERS = "the daemon will contact the provider's {} servers, and no other host"
EVIDENCE = (
    "after the consent the owner reads “Mailbox linked”",
    "the Russian text is what Anna wrote",
    "the Japanese text is what Kenji wrote",
    "its script is gone, and its picture reports nobody",
    "and it comes back byte for byte",
    "References names Anna's mail",
    "the mailbox's Sent folder holds it exactly once",
    "it is in the same ticket, as its third message",
    "the receipt says that the provider has revoked the grant",
    "content database: no row but the tombstone",
    "texts is in any file, write-ahead logs included",
    "the wrapped key and the ciphertext, found before, are gone from the disk too",
    "the daemon's log tells of the mailbox",
    "the remembered ciphertext opens with none of the",
    "and the old refresh token brings no new one (invalid_grant)",
    "the daemon stops when asked, with exit status 0",
)


class TwoCopies(DemoProvider):
    """A provider that files the Sent copy twice."""

    async def _accept(self, submission: Submission) -> None:
        await super()._accept(submission)
        await self._mailboxes.append(submission.sender, "Sent", submission.content, seen=True)


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Let the demo make its folder where the test can look for it."""
    return {**os.environ, "TMPDIR": str(tmp_path)}


@pytest.fixture
def folder_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "servers"),
    [
        pytest.param([], "three", id="imap"),
        pytest.param(["--provider", "gmail"], "two", marks=pytest.mark.long, id="gmail"),
        pytest.param(["--provider", "graph"], "two", marks=pytest.mark.long, id="graph"),
    ],
)
@pytest.mark.timeout(240)
def test_every_claim_holds_and_nothing_stays(
    environment: Mapping[str, str], tmp_path: Path, options: Sequence[str], servers: str
) -> None:
    done = subprocess.run(
        [PROGRAM, "demo", *options], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    held = [line for line in done.stdout.splitlines() if line.startswith("  ✓ ")]
    wanted = [SERVERS.format(servers), *EVIDENCE]
    assert [one for one in wanted if not any(one in line for line in held)] == []
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout, "colours are for terminals"
    headings = [int(number) for number in re.findall(r"^(\d+)\. ", done.stdout, re.MULTILINE)]
    assert headings == list(range(1, len(headings) + 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(240)
def test_a_second_sent_copy_fails_it(folder_of_this_process: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(story.PROVIDERS, "imap", TwoCopies)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1, result.output
    assert "✗ the mailbox's Sent folder holds it exactly once" in result.output
    assert "expected: one copy" in result.output
    assert "found:    2 copies, 2 mails in Sent" in result.output
    assert "What is left of it" not in result.output, "it goes on after a broken promise"
    (kept,) = folder_of_this_process.iterdir()
    assert f"The folder is kept: {kept}" in result.output
    assert (kept / "store" / "daemon.log").stat().st_size > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(environment: Mapping[str, str], tmp_path: Path, number: signal.Signals) -> None:
    with _started(environment) as child:
        _read_to(child, "3. The owner links the mailbox")
        pids = _children_of(child.pid)
        assert pids, "the daemon does not run"
        child.send_signal(number)
        rest, _ = child.communicate(timeout=60)
    assert (child.returncode, rest.splitlines()[-1]) == (1, "Aborted!")
    assert list(tmp_path.iterdir()) == []
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    "provider", ["imap", *(pytest.param(one, marks=pytest.mark.long) for one in ("gmail", "graph"))]
)
@pytest.mark.timeout(240)
def test_keep_delivers_what_is_dropped_until_ctrl_c(
    environment: Mapping[str, str], tmp_path: Path, provider: str
) -> None:
    with _started(environment, "--keep", "--provider", provider) as child:
        told = _read_to(child, "Ctrl-C ends it all")
        (folder,) = tmp_path.iterdir()
        (folder / "ready").write_bytes((folder / "example.eml").read_bytes())
        (folder / "ready").rename(folder / "drop" / "one.eml")
        _read_to(child, "one.eml is delivered")
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert f"INGESTD_CONFIG={folder}/store/ingestd.yaml" in told
    assert child.returncode == 0
    assert list(tmp_path.iterdir()) == []


def _started(environment: Mapping[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # A shell's background job ignores SIGINT, and so would its children: CI runs like that.
        ["env", "--default-signal=INT", PROGRAM, "demo", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _read_to(child: subprocess.Popen[str], text: str) -> str:
    """Read what the demo prints up to the line that holds `text`; it ends by itself where that never comes."""
    seen = ""
    for line in _lines(child):
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"the demo ended before it said {text!r}:\n{seen}")


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    assert child.stdout is not None
    while line := child.stdout.readline():
        yield line


def _children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
