"""`ingestd inspect`: what would be understood of a message, whatever its bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingestd.cli import main
from ingestd.mail.inspection import inspect

BOUNCE = (
    b"From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\r\nTo: support@example.com\r\n"
    b"Subject: Undelivered Mail\r\nMessage-ID: <b@mx.example.net>\r\nAuto-Submitted: auto-replied\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\nNot delivered.\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
    b"Final-Recipient: rfc822; max@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    b"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <ours@example.com>\r\n\r\n--b--\r\n"
)
QUESTION = (
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: support@example.com\r\nSubject: \x1b[31mRe: Printer\r\n"
    b"Message-ID: <a@example.org>\r\nIn-Reply-To: <q@example.com>\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: text/plain\r\n\r\nStill not.\r\n\r\nOn Mon, 2 Mar 2026, Max wrote:\r\n> It prints.\r\n"
    b'--m\r\nContent-Type: image/png; name="p.png"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--m--\r\n'
)


def test_everything_that_is_understood_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "question.eml"
    file.write_bytes(QUESTION)
    shown = CliRunner().invoke(main, ["inspect", str(file)])
    assert shown.exit_code == 0, shown.output
    for part in ("Jörg <joerg@example.org>", "<q@example.com>", "customer", "Still not.", "> It prints.", "p.png"):
        assert part in shown.output
    assert "\x1b" not in shown.output
    reply = shown.output.partition("Reply text")[2].partition("Whole text")[0]
    assert "It prints." not in reply


def test_json_holds_the_same_for_programs() -> None:
    shown = CliRunner().invoke(main, ["inspect", "-", "--json"], input=BOUNCE)
    found = json.loads(shown.stdout)
    assert (found["size_bytes"], found["rejected"]) == (len(BOUNCE), None)
    assert ["subject", "Undelivered Mail"] in found["headers"]
    assert found["mail"]["kind"] == "bounce"
    assert found["mail"]["bounce"]["status"] == ["5.1.1"]
    assert found["mail"]["bounce"]["original_message_ids"] == ["<ours@example.com>"]
    assert len(found["mail"]["body_sha256"]) == 64
    assert {key: found[key] for key in inspect(BOUNCE)} == inspect(BOUNCE)
    common = {
        "from": "MAILER-DAEMON@mx.example.net",
        "is_bounce": True,
        "bounce_hard": True,
        "bounce_status": ["5.1.1"],
        "recipients": ["max@example.net"],
        "original_message_id": "<ours@example.com>",
    }
    assert common.items() <= found.items()


@pytest.mark.parametrize("as_json", [False, True])
def test_no_bytes_break_it(as_json: bool) -> None:
    noise = random.Random(7)
    half = b"Subject: =?utf-16?b?2AA=?= \xff\xfe\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n"
    half += b"+2AA- \x00\x1b]0;x\x07"
    for raw in (b"", b"\r\n", b"\x00" * 100, half, noise.randbytes(5000), b":" * 5000, b"Subject\r\n" * 500):
        shown = CliRunner().invoke(main, ["inspect", "-", *(["--json"] if as_json else [])], input=raw)
        assert shown.exit_code == 0, (raw[:20], shown.output, shown.exception)
        assert "\x1b" not in shown.stdout


def test_what_the_parser_gives_up_on_is_told(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["inspect", "-", "--seconds", "0.0001"], input=QUESTION * 1000)
    assert shown.exit_code == 1
    assert "timeout" in shown.output
    assert "joerg@example.org" in shown.output  # its header can be read all the same
    assert CliRunner().invoke(main, ["inspect", str(tmp_path / "none.eml")]).exit_code == 2
