"""What servers do to UIDs, counts and sizes that none should, played by a scripted folder."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Edit, EditKind, HistoryPlan, PermanentError, ReadPlan
from connectors.imap import ImapReader
from connectors.imap_session import ImapTools
from tests.connectors.mailbox import raw_mail, read_all, read_history, read_messages, subjects
from tests.connectors.test_imap_idle import access_to, token
from tests.servers.certs import Certificates
from tests.servers.script import ScriptedFolder, scripted, server_context

LINKED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
PLAN = ReadPlan(start_at=LINKED, message_bytes_max=4000)

Serve = Callable[[ScriptedFolder], AbstractAsyncContextManager[ImapReader]]


@pytest.fixture
def serve(tools: ImapTools, certificates: Certificates) -> Serve:
    @contextlib.asynccontextmanager
    async def serving(folder: ScriptedFolder) -> AsyncIterator[ImapReader]:
        context = server_context(str(certificates.cert_file), str(certificates.key_file))
        async with scripted(folder, context) as port:
            tools.guard.permit("localhost", port)
            reader = ImapReader(access_to(port), token, tools, PLAN)
            try:
                yield reader
            finally:
                await reader.close()

    return serving


def put(folder: ScriptedFolder, *names: str, days: int = 1, size_bytes: int | None = None, body: bytes = b"x") -> None:
    for name in names:
        folder.put(raw_mail(name, body=body), LINKED + timedelta(days=days), size_bytes=size_bytes)


def restore(folder: ScriptedFolder, uidnext: int) -> None:
    """As from a backup of the time when UIDNEXT was this."""
    folder.uidnext = uidnext
    folder.messages = {uid: message for uid, message in folder.messages.items() if uid < uidnext}


async def test_mail_that_gets_the_uids_of_mail_lost_in_a_restore_is_read(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "from before it was linked", days=-1)
    put(folder, "m1", "m2", "m3", "m4")
    async with serve(folder) as reader:
        _, cursor = await read_messages(reader, None)
        restore(folder, uidnext=3)
        put(folder, "new")
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["m1", "new"]
        assert all(batch.recovering for batch in batches)
        put(folder, "later")
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["later"]
        assert not any(batch.recovering for batch in batches)
        assert await read_all(reader, cursor) == ([], cursor)


async def test_a_restore_is_noticed_where_more_came_since_than_was_lost(serve: Serve) -> None:
    """UIDNEXT tells nothing then; the last message that was read has another date."""
    folder = ScriptedFolder()
    put(folder, "old", days=-1)
    put(folder, "m1", "m2", "m3")
    async with serve(folder) as reader:
        _, cursor = await read_messages(reader, None)
        restore(folder, uidnext=3)
        put(folder, "n1", "n2", "n3", "n4", days=2)
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["m1", "n1", "n2", "n3", "n4"]
        assert all(batch.recovering for batch in batches)
        put(folder, "later", days=3)
        batches, cursor = await read_all(reader, cursor)
        assert subjects([m for batch in batches for m in batch.messages]) == ["later"]
        assert not batches[0].recovering
        del folder.messages[folder.uidnext - 1]
        put(folder, "last", days=3)
        batches, _ = await read_all(reader, cursor)
        assert [batch.recovering for batch in batches] == [False]


async def test_a_restore_that_leaves_nothing_is_noticed_too(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "m1", "m2")
    async with serve(folder) as reader:
        _, cursor = await read_messages(reader, None)
        restore(folder, uidnext=1)
        batches, cursor = await read_all(reader, cursor)
        assert [(batch.messages, batch.recovering) for batch in batches] == [((), True)]
        put(folder, "new")
        messages, _ = await read_messages(reader, cursor)
        assert subjects(messages) == ["new"]


async def test_a_recovery_that_was_cut_short_goes_on_as_one(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "m1", "m2", "m3")
    async with serve(folder) as reader:
        _, cursor = await read_messages(reader, None)
    folder.uidvalidity += 1
    plan = ReadPlan(start_at=LINKED, batch_messages_max=1)
    async with serve(folder) as reader:
        reader._plan = plan
        async with contextlib.aclosing(reader.changes(cursor)) as changes:  # type: ignore[type-var]
            async for batch in changes:
                cursor = batch.cursor
                break
    async with serve(folder) as reader:
        batches, _ = await read_all(reader, cursor)
    assert subjects([m for batch in batches for m in batch.messages]) == ["m2", "m3"]
    assert all(batch.recovering for batch in batches)


async def test_a_history_whose_folder_is_numbered_anew_begins_again(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "m1", "m2", days=-1)
    plan = HistoryPlan(before=LINKED)
    async with serve(folder) as reader:
        (first,) = await read_history(reader, plan, None, batches=1)
        folder.uidvalidity += 1
        put(folder, "m3", days=-1)
        batches = await read_history(reader, plan, first.cursor)
    assert subjects([m for batch in batches for m in batch.messages]) == ["m1", "m2", "m3"]
    assert (batches[-1].seen, batches[-1].total) == (3, 3)


@pytest.mark.parametrize("exists", [0, 1, 99])
async def test_a_wrong_count_of_messages_costs_none(serve: Serve, exists: int) -> None:
    folder = ScriptedFolder(exists=exists)
    put(folder, "old", days=-1)
    put(folder, "m1", "m2")
    async with serve(folder) as reader:
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["m1", "m2"]
        put(folder, "m3")
        assert subjects((await read_messages(reader, cursor))[0]) == ["m3"]
        batches = await read_history(reader, HistoryPlan(before=LINKED))
        assert subjects([m for batch in batches for m in batch.messages]) == ["old"]
        assert batches[-1].seen == batches[-1].total == 1


async def test_a_message_that_is_larger_than_told_is_measured_by_its_bytes(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "small")
    put(folder, "over the limit", size_bytes=100, body=b"x" * 5000)
    put(folder, "within", size_bytes=1, body=b"x" * 3000)
    async with serve(folder) as reader:
        messages, _ = await read_messages(reader, None)
    assert subjects(messages) == ["small", "over the limit", "within"]
    assert [message.content is None for message in messages] == [False, True, False]
    assert messages[1].size_bytes > 5000
    assert messages[1].header.endswith(b"\r\n\r\n")


async def test_many_lies_about_sizes_are_not_taken_into_memory_together(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is refused by what was announced for it, and then they come one by one."""
    monkeypatch.setattr("connectors.imap_fetch.SIZE_SLACK_BYTES", 1000)
    folder = ScriptedFolder()
    put(folder, *(f"m{number}" for number in range(5)), size_bytes=10, body=b"x" * 3000)
    put(folder, "over the limit", size_bytes=10, body=b"x" * 6000)
    async with serve(folder) as reader:
        messages, _ = await read_messages(reader, None)
    assert subjects(messages) == [*(f"m{number}" for number in range(5)), "over the limit"]
    assert [message.content is None for message in messages] == [False] * 5 + [True]


async def test_a_keyword_that_the_folder_would_drop_is_refused_aloud(serve: Serve) -> None:
    folder = ScriptedFolder(permanent_flags=b"\\Seen \\Deleted $Done")
    put(folder, "m1")
    async with serve(folder) as reader:
        (message,), _ = await read_messages(reader, None)
        with pytest.raises(PermanentError, match="keywords"):
            await reader.edit([message.locator], Edit(EditKind.KEYWORD, "ingestd"))
        assert not any(b"STORE" in line for line in folder.commands)
        for edit in (Edit(EditKind.KEYWORD, "$done"), Edit(EditKind.READ)):
            assert await reader.edit([message.locator], edit) == {message.locator: message.locator}


async def test_edits_of_many_take_few_commands(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, *(f"m{number}" for number in range(250)))
    locators = [f"7:{uid}:INBOX" for uid in range(1, 251)]
    async with serve(folder) as reader:
        assert await reader.edit(locators, Edit(EditKind.READ)) == {locator: locator for locator in locators}
        stores = [line for line in folder.commands if b"STORE" in line]
        assert len(stores) == 2
        assert max(map(len, folder.commands)) < 4000
        folder.commands.clear()
        assert set((await reader.edit(locators, Edit(EditKind.DELETE))).values()) == {None}
        assert [b"UID EXPUNGE" in line for line in folder.commands if b"EXPUNGE" in line] == [True, True]


async def test_without_uidplus_nothing_is_expunged(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.script.CAPABILITIES", b"IMAP4rev1 AUTH=XOAUTH2")
    folder = ScriptedFolder()
    put(folder, "m1", "m2")
    async with serve(folder) as reader:
        await reader.edit(["7:1:INBOX"], Edit(EditKind.DELETE))
    assert any(b"STORE 1 +FLAGS" in line for line in folder.commands)
    assert not any(b"EXPUNGE" in line or b"CLOSE" in line for line in folder.commands)


async def test_sparse_uids_take_few_commands(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "first")
    folder.uidnext = 3_000_000
    put(folder, "last", days=-1)
    async with serve(folder) as reader:
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["first"]
        assert cursor is not None
        assert [chunk async for chunk in reader.claimed(cursor)] == [["7:1:INBOX"]]
        batches = await read_history(reader, HistoryPlan(before=LINKED))
        assert subjects([m for batch in batches for m in batch.messages]) == ["last"]
    assert len(folder.commands) < 100
