"""The parts of the demo that could lie: its search must find, its mails must be what real clients send."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
from pathlib import Path
from uuid import UUID

import pytest

from ingestd.demo import mails, traces
from ingestd.demo.telling import NotHeldError, Teller, until
from ingestd.mail.parse import parse

TEXT = "Касса не печатает чеки"
MAILBOX = UUID("01890000-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("koi8-r"),
        TEXT.encode("windows-1251"),
        base64.b64encode(TEXT.encode() + b" later"),
        base64.b64encode(b"x" + TEXT.encode()),
        base64.b64encode(b"xy" + TEXT.encode("koi8-r") + b"z"),
        json.dumps({"text": TEXT}).encode("ascii"),
    ],
)
def test_a_text_is_found_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"\x00before" + content + b"after\xff")
    assert traces.search(tmp_path, {"subject": traces.spellings(TEXT)}) == {"subject": ["file"]}


def test_other_texts_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("Касса печатает чеки".encode())
    assert traces.search(tmp_path, {"subject": traces.spellings(TEXT)}) == {}


def test_rows_are_counted_in_every_table(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    conn = sqlite3.connect(path)
    with conn:
        conn.execute("CREATE TABLE letters (mailbox_id BLOB, n INTEGER)")
        conn.execute("CREATE TABLE keys (owner_id BLOB)")
        conn.execute("CREATE TABLE others (n INTEGER)")
        conn.executemany("INSERT INTO letters VALUES (?, ?)", [(MAILBOX.bytes, 1), (MAILBOX.bytes, 2), (b"x", 3)])
        conn.execute("INSERT INTO others VALUES (1)")
    conn.close()
    assert traces.rows_of(path, MAILBOX) == {"letters": 2}


@pytest.mark.parametrize("make", [mails.question, mails.japanese, mails.invoice])
def test_the_mails_read_as_written(make: object) -> None:
    assert callable(make)
    mail = make()
    parsed = parse(mail.raw)
    assert (parsed.subject, parsed.from_[0].addr) == (mail.subject, mail.sender)
    assert parsed.text.split() == mail.text.split()
    assert parsed.message_id == mail.message_id
    assert parsed.defects == ()


def test_the_mails_are_in_the_charsets_that_they_name() -> None:
    assert "касса".encode("koi8-r") in mails.question().raw
    assert b"\x1b$B" in mails.japanese().raw, "ISO-2022-JP shifts by escape sequences"
    assert mails.pdf("x").startswith(b"%PDF-1.4\n")


def test_an_answer_names_and_quotes_its_parent() -> None:
    asked = mails.question()
    answer = mails.read(mails.answer_to(asked.raw, "Спасибо").raw)
    assert (answer["In-Reply-To"], answer["References"]) == (asked.message_id, asked.message_id)
    assert "> После обновления" in mails.body_text(answer)


def test_a_claim_that_does_not_hold_ends_the_story() -> None:
    out = io.StringIO()
    teller = Teller(out)
    teller.step("First")
    teller.same("one is one", 1, 1)
    with pytest.raises(NotHeldError) as broken:
        teller.same("one is two", 1, 2)
    teller.broken(broken.value)
    assert out.getvalue() == "\n1. First\n  ✓ one is one\n  ✗ one is two\n    expected: 2\n    found:    1\n"
    assert teller.held == 1


async def test_waiting_has_an_end() -> None:
    async def never() -> None:
        return None

    with pytest.raises(NotHeldError, match="something happens"):
        await until("something happens", never, seconds_max=0.2)
