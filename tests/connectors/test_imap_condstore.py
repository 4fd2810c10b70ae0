"""A folder that was restored from a backup so that UIDNEXT does not tell: HIGHESTMODSEQ does, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.base import Edit, EditKind, ReadPlan
from connectors.imap_session import open_session
from tests.connectors.mailbox import Mailbox, read_all, read_messages, subjects
from tests.connectors.test_imap_restored import LINKED, Serve, put, restore, serve
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.process import wait_until
from tests.servers.script import ScriptedFolder

__all__ = ["serve"]

PLAN = ReadPlan(start_at=LINKED)


@pytest.fixture
def condstore(monkeypatch: pytest.MonkeyPatch) -> ScriptedFolder:
    monkeypatch.setattr("tests.servers.script.CAPABILITIES", b"IMAP4rev1 UIDPLUS CONDSTORE ENABLE AUTH=XOAUTH2")
    return ScriptedFolder(modseq=100)


async def test_a_restore_that_leaves_uidnext_as_it_was_is_noticed(serve: Serve, condstore: ScriptedFolder) -> None:
    put(condstore, "m1", "m2", "m3")
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        restore(condstore, uidnext=3)
        put(condstore, "new", days=2)
        condstore.modseq = 101
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["m1", "m2", "new"]
        assert all(batch.recovering for batch in batches)
        assert await read_all(reader, cursor) == ([], cursor)


async def test_where_nothing_changed_nothing_is_asked(serve: Serve, condstore: ScriptedFolder) -> None:
    put(condstore, "m1")
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        for modseq, asked in ((100, 0), (105, 1), (105, 0), (106, 1)):
            condstore.modseq = modseq
            condstore.commands.clear()
            # Nothing is written down either, as nothing came.
            assert await read_all(reader, cursor) == ([], cursor)
            assert sum(b"FETCH" in line for line in condstore.commands) == asked
            assert len(condstore.commands) == 1 + asked


async def test_a_lower_modseq_where_all_is_as_it_was_is_written_down_and_no_more(
    serve: Serve, condstore: ScriptedFolder
) -> None:
    """A server that lost its counters is no restored mailbox."""
    put(condstore, "m1", "m2")
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        condstore.modseq = 1
        batches, cursor = await read_all(reader, cursor)
        assert [(batch.messages, batch.recovering) for batch in batches] == [((), False)]
        assert await read_all(reader, cursor) == ([], cursor)


async def test_only_what_lies_behind_the_last_that_is_still_there_is_read_again(
    serve: Serve, condstore: ScriptedFolder
) -> None:
    put(condstore, "m1", "m2", "gone", "gone too")
    for uid in (3, 4):
        del condstore.messages[uid]
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        restore(condstore, uidnext=3)
        put(condstore, "n1", "n2", days=2)
        condstore.modseq = 50
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["n1", "n2"]
        assert all(batch.recovering for batch in batches)
        assert await read_all(reader, cursor) == ([], cursor)


async def test_a_lower_modseq_and_no_message_to_look_at_is_a_restore(serve: Serve, condstore: ScriptedFolder) -> None:
    put(condstore, "m1", "m2")
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        del condstore.messages[2]
        condstore.modseq = 50
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["m1"]
        assert all(batch.recovering for batch in batches)
        condstore.modseq = 51
        assert await read_all(reader, cursor) == ([], cursor)


async def test_a_folder_without_modseqs_is_read_as_ever(serve: Serve, condstore: ScriptedFolder) -> None:
    put(condstore, "m1")
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        condstore.modseq = None
        assert await read_all(reader, cursor) == ([], cursor)
        put(condstore, "m2")
        messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["m2"]
        condstore.modseq = 7
        assert subjects((await read_messages(reader, cursor))[0]) == []


async def test_a_cursor_from_before_is_gone_on_from(serve: Serve, condstore: ScriptedFolder) -> None:
    put(condstore, "m1")
    condstore.modseq = None
    async with serve(condstore) as reader:
        _, cursor = await read_messages(reader, None)
        condstore.modseq = 9
        batches, cursor = await read_all(reader, cursor)
        assert [batch.messages for batch in batches] == [()]
        assert '"modseq":9' in (cursor or "")


@pytest.fixture(params=["mailbox", "plain_mailbox", "courier_mailbox"])
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Mailbox]:
    box: Mailbox = request.getfixturevalue(request.param)
    yield box
    await box.close()


class Backup:
    """The files of one user's mail, as an operator copies them."""

    def __init__(self, box: Mailbox, folder: Path, place: Path) -> None:
        self._box, self._folder, self._place = box, folder, place

    def make(self) -> None:
        subprocess.run(["cp", "-a", self._folder, self._place], check=True)

    def restore(self) -> None:
        wait_until(lambda: self._box.server.connections(self._box.user) == 0, said="the last connection's end")
        shutil.rmtree(self._folder)
        subprocess.run(["cp", "-a", self._place, self._folder], check=True)


@pytest.fixture
def backup(box: Mailbox, tmp_path: Path) -> Backup:
    server = box.server
    assert isinstance(server, Dovecot | Courier)
    folder = server.home / "mail" / box.user if isinstance(server, Dovecot) else server.home / box.user
    return Backup(box, folder, tmp_path / "backup")


async def test_a_mailbox_restored_from_its_files_loses_nothing(box: Mailbox, backup: Backup) -> None:
    """With CONDSTORE and without: as many come as were lost, and the flag makes up for what their coming changed."""
    reader = box.reader(PLAN)
    for number in (1, 2):
        await box.append(f"m{number}", LINKED + timedelta(days=number))
    _, cursor = await read_messages(reader, None)
    backup.make()
    await box.append("m3", LINKED + timedelta(days=3))
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["m3"]
    await reader.edit([messages[0].locator], Edit(EditKind.READ))
    await reader.close()
    backup.restore()
    await box.append("n3", datetime.now(UTC) - timedelta(days=1))
    batches, cursor = await read_all(reader, cursor)
    assert "n3" in subjects([m for batch in batches for m in batch.messages])
    assert all(batch.recovering for batch in batches)
    await box.append("n4", datetime.now(UTC))
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["n4"]
    assert await read_all(reader, cursor) == ([], cursor)


async def test_modseqs_are_told_where_the_server_has_them(box: Mailbox) -> None:
    await box.append("m1", LINKED + timedelta(days=1))
    session = await open_session(box.access, box.tokens, box.tools)
    selected = await session.select("INBOX")
    has = "CONDSTORE" in session.capabilities
    assert (selected.modseq is not None) is has
    assert has is (isinstance(box.server, Dovecot) and "MOVE" in session.capabilities)
    await session.run("STORE", lambda client: client.add_flags([1], ["\\Seen"]))
    if selected.modseq is not None:
        assert ((await session.select("INBOX")).modseq or 0) > selected.modseq
    await session.close()
