"""What an account has, as files and as streams: whole, readable by others' programs, and nobody else's."""

from __future__ import annotations

import json
import mailbox
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ingestd.privacy import mbox
from ingestd.privacy.export import (
    FILES,
    MAIL,
    MANIFEST,
    MESSAGES,
    QUARANTINE,
    QUARANTINED_MAIL,
    TICKETS,
    ExportError,
    Manifest,
    Walk,
    open_export,
)
from ingestd.raw import RawStream
from storage import mailboxes
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk
from tests.office import Office, mail
from tests.stores import Stores

LARGE = mail("large", message_id="<large@example.org>", text="From the beginning\r\n" + "All of it.\r\n" * 20_000)
FROM = mail("from", message_id="<from@example.org>", text="From here\r\n>From there\r\nNot From\r\n\r\nFrom end")
EIGHT_BIT = mail("öffnen", message_id="<eight@example.org>", text="schön").replace("schön".encode(), b"sch\xf6n")
MAILS = [mail(), LARGE, FROM, EIGHT_BIT]


@pytest.fixture
async def office(stores: Stores) -> Office:
    office = await Office.open(stores)
    for one in MAILS:
        await office.take(one)
    await office.take(mail("poison", message_id="<poison@example.org>"))
    await office.reply(1, "It is plugged in?")
    return office


async def export(office: Office, folder: Path, told: Callable[[int], None] = lambda _number: None) -> Manifest:
    with ExitStack() as stack:
        return await open_export(Walk(office.desk, office.held.account_id), folder, stack).run(told)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def mails(content: bytes) -> list[bytes]:
    """Return the mails of an mboxrd."""
    parts = re.split(rb"(?m)^From MAILER-DAEMON .*\n", content)
    assert parts[0] == b""
    return [re.sub(rb"(?m)^>(>*From )", rb"\1", one) for one in parts[1:]]


async def test_everything_is_in_it(office: Office, tmp_path: Path) -> None:
    manifest = await export(office, tmp_path / "out")
    assert (manifest.tickets, manifest.messages, manifest.quarantined) == (4, 5, 1)
    tickets, messages = lines(tmp_path / "out" / TICKETS), lines(tmp_path / "out" / MESSAGES)
    assert [one["number"] for one in tickets] == [1, 2, 3, 4]
    assert [one["subject"] for one in tickets] == ["Printer", "large", "from", "öffnen"]
    assert {one["mailbox"] for one in tickets} == {"support@example.com"}
    assert tickets[0]["requester"] == {"name": "", "address": "anna@example.org"}
    assert [(one["ticket_number"], one["direction"]) for one in messages] == [
        *((1, "in"), (1, "out"), (2, "in"), (3, "in"), (4, "in"))
    ]
    assert messages[1]["reply"]["status"] == "queued"
    assert messages[1]["reply"]["recipients"] == [{"address": "anna@example.org", "status": "pending"}]
    assert "All of it." in messages[2]["text"]
    found = mails((tmp_path / "out" / MAIL).read_bytes())
    assert [len(one) for one in found] == [len(one.removesuffix(b"\n")) + 1 for one in found]
    for raw in MAILS:
        assert any(one.startswith(raw) and not one[len(raw) :].strip(b"\n") for one in found)
    assert b"Subject: poison" in (tmp_path / "out" / QUARANTINED_MAIL).read_bytes()
    assert [one["reason"] for one in lines(tmp_path / "out" / QUARANTINE)] == ["timeout"]
    for name in FILES:
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "out" / MANIFEST).read_bytes())["finished_at"]


async def test_others_read_the_mails(office: Office, tmp_path: Path) -> None:
    await export(office, tmp_path / "out")
    with closing(mailbox.mbox(tmp_path / "out" / MAIL, create=False)) as box:
        assert [str(one["subject"]) for one in box][2:4] == ["large", "from"]
        assert len(box) == 5


async def test_what_was_interrupted_goes_on(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestd.privacy.export._PAGE", 2)
    await export(office, tmp_path / "whole")

    def fail_at(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export(office, tmp_path / "out", fail_at)
    with (tmp_path / "out" / MAIL).open("ab") as file:
        file.write(b"half a ma")  # by a process that was killed
    seen: list[int] = []
    again = await export(office, tmp_path / "out", seen.append)
    assert seen == [3, 4]
    assert (again.tickets, again.messages, again.quarantined) == (4, 5, 1)
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


async def test_what_is_forgotten_meanwhile_is_not_in_it(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await Office.open(office.stores, beside=office, address="sales@example.com")
    await other.take(mail("kept", message_id="<kept@example.org>"))
    content, stream = office.stores.content, office.desk.raw_stream

    async def forgotten(account_id: UUID, message_id: UUID) -> RawStream:
        await content.transaction(account_id, mailboxes.start_disconnect, office.held.mailbox_id)
        return await stream(account_id, message_id)

    monkeypatch.setattr(office.desk, "raw_stream", forgotten)
    manifest = await export(office, tmp_path / "out")
    assert [one["subject"] for one in lines(tmp_path / "out" / TICKETS)] == ["kept"]
    assert (manifest.tickets, manifest.messages, manifest.quarantined) == (1, 1, 0)
    assert len(mails((tmp_path / "out" / MAIL).read_bytes())) == 1


async def test_a_mail_whose_bytes_are_lost_takes_nothing_else_with_it(office: Office, tmp_path: Path) -> None:
    raw = mail("huge", message_id="<huge@example.org>", text="\r\n".join(os.urandom(36).hex() for _ in range(4000)))
    await office.take(raw)
    blobs, account_id, mailbox_id = office.stores.blobs, office.held.account_id, office.held.mailbox_id
    assert blobs.count(account_id, mailbox_id) == 1
    blobs.delete_mailbox(account_id, mailbox_id)
    manifest = await export(office, tmp_path / "out")
    assert (manifest.tickets, manifest.messages, manifest.damaged) == (5, 6, 1)
    assert [one["has_mail"] for one in lines(tmp_path / "out" / MESSAGES)] == [True] * 5 + [False]
    assert len(mails((tmp_path / "out" / MAIL).read_bytes())) == 5


async def test_a_folder_that_has_something_else_is_left_alone(office: Office, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        await export(office, tmp_path)
    await export(office, tmp_path / "out")
    with pytest.raises(ExportError, match="finished"):
        await export(office, tmp_path / "out")
    with ExitStack() as stack:
        open_export(Walk(office.desk, office.held.account_id), tmp_path / "new", stack)
        with pytest.raises(ExportError, match="under way"):
            open_export(Walk(office.desk, office.held.account_id), tmp_path / "new", stack)
    with ExitStack() as stack, pytest.raises(ExportError, match="another account"):
        open_export(Walk(office.desk, new_id()), tmp_path / "new", stack)
    (tmp_path / "new" / MANIFEST).write_bytes(b"{")
    with pytest.raises(ExportError, match="damaged"):
        await export(office, tmp_path / "new")


@pytest.mark.postgresql_is_long
class TestStreams:
    @pytest.fixture
    async def desk(self, office: Office) -> AsyncIterator[ApiDesk]:
        async with api_desk(office) as opened:
            yield opened

    async def test_lines_page_by_page(self, desk: ApiDesk) -> None:
        found: list[Any] = []
        after: int | None = 0
        while after is not None:
            answer = await desk.ask("GET", f"/export?after={after}&limit=3")
            assert answer.headers["content-type"] == "application/x-ndjson"
            *page, end = [json.loads(line) for line in answer.text.splitlines()]
            assert end["type"] == "end"
            found += page
            after = end["after"]
        assert [one["number"] for one in found if one["type"] == "ticket"] == [1, 2, 3, 4]
        assert [one["ticket_number"] for one in found if one["type"] == "message"] == [1, 1, 2, 3, 4]

    async def test_mails_as_the_files_have_them(self, desk: ApiDesk, tmp_path: Path) -> None:
        await export(desk.office, tmp_path / "out")
        answer = await desk.ask("GET", "/export/mail")
        assert answer.headers["content-type"] == "application/mbox"
        assert answer.content == (tmp_path / "out" / MAIL).read_bytes()


@given(
    st.lists(st.sampled_from([b"From ", b">From ", b"x", b"\r\n", b"\n", b"F", b">" * 1500, b"rom "]), max_size=30),
    st.data(),
)
async def test_quoting_does_not_depend_on_portions(parts: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(parts)

    async def portions() -> AsyncIterator[bytes]:
        rest = raw
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            yield rest[:size]
            rest = rest[size:]

    async def whole() -> AsyncIterator[bytes]:
        yield raw

    written = b"".join([one async for one in mbox.quoted(portions())])
    assert written == b"".join([one async for one in mbox.quoted(whole())])
    assert not re.search(rb"(?m)^From ", written)
    assert written.endswith(b"\n\n") or written == b"\n"
    assert re.sub(rb"(?m)^>(>*From )", rb"\1", written).startswith(raw)
