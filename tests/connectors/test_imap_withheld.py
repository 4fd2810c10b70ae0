"""Messages that a server has and does not give: they stop nobody, and they are not lost."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from connectors.base import ConnectorError, HistoryPlan, RateLimited, RawMessage, TemporaryError
from connectors.imap import ImapReader
from tests.connectors.mailbox import Mailbox, raw_mail, read_history, read_messages, subjects
from tests.connectors.test_imap_restored import LINKED, PLAN, Serve, put, serve
from tests.servers.script import ScriptedFolder

__all__ = ["serve"]

HOWS = {"nil": b"", "no": b"NO [SERVERBUG] cannot read", "bad": b"BAD cannot read"}


@pytest.fixture(params=HOWS)
def how(request: pytest.FixtureRequest) -> bytes:
    return HOWS[request.param]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> int:
    """Ask again without a pause; return how often is asked in all."""
    monkeypatch.setattr("connectors.imap_aside.PAUSES_SECONDS", (0.0, 0.0))
    return 3


def put_poison(folder: ScriptedFolder, name: str, withheld: set[str], how: bytes, days: int = 1) -> int:
    return folder.put(raw_mail(name), LINKED + timedelta(days=days), withheld=withheld, refusal=how)


async def read_rounds(
    reader: ImapReader, rounds: int, cursor: str | None = None
) -> tuple[list[RawMessage], str | None]:
    got: list[RawMessage] = []
    for _ in range(rounds):
        messages, cursor = await read_messages(reader, cursor)
        got += messages
    return got, cursor


async def test_a_body_that_is_withheld_costs_its_neighbours_nothing(serve: Serve, how: bytes) -> None:
    folder = ScriptedFolder()
    put(folder, "m1", "m2")
    poison = put_poison(folder, "poison", {"body"}, how)
    put(folder, "m3")
    async with serve(folder) as reader:
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["m1", "m2", "m3"]
        put(folder, "m4")
        assert cursor is not None
        claimed = [locator async for chunk in reader.claimed(cursor) for locator in chunk]
        assert claimed == [f"7:{uid}:INBOX" for uid in (1, 2, 4)]
        # Not before its pause is over is it asked for again, and nobody waits for that.
        folder.commands.clear()
        messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["m4"]
        assert not any(b"UID FETCH %d " % poison in line for line in folder.commands)


async def test_a_body_that_is_given_later_comes_whole(serve: Serve, how: bytes, at_once: int) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    poison = put_poison(folder, "sick for a while", {"body"}, how)
    async with serve(folder) as reader:
        _, cursor = await read_rounds(reader, 1)
        folder.messages[poison] = replace(folder.messages[poison], withheld=frozenset())
        (message,), cursor = await read_messages(reader, cursor)
        assert message.content == folder.messages[poison].raw
        assert not message.withheld
        assert await read_messages(reader, cursor) == ([], cursor)


@pytest.mark.parametrize("withheld", [{"body"}, {"body", "size"}, {"body", "size", "date"}])
async def test_what_is_never_given_comes_as_its_header(
    serve: Serve, how: bytes, withheld: set[str], at_once: int
) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    put_poison(folder, "poison", withheld, how)
    put(folder, "m2")
    async with serve(folder) as reader:
        messages, cursor = await read_rounds(reader, at_once)
        assert subjects(messages) == ["m1", "m2", "poison"]
        assert [message.withheld for message in messages] == [False, False, True]
        assert (messages[2].content, messages[2].locator) == (None, "7:2:INBOX")
        assert messages[2].received_at.tzinfo is UTC
        assert await read_messages(reader, cursor) == ([], cursor)
        claimed = [locator async for chunk in reader.claimed(cursor or "") for locator in chunk]
        assert "7:2:INBOX" in claimed


async def test_what_has_no_header_either_is_not_lost(serve: Serve, how: bytes, at_once: int) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    for _ in range(2):
        put_poison(folder, "poison", {"body", "header"}, how)
    async with serve(folder) as reader:
        messages, _ = await read_rounds(reader, at_once)
    assert [(m.locator, m.header, m.content, m.withheld) for m in messages[1:]] == [
        (f"7:{uid}:INBOX", b"", None, True) for uid in (2, 3)
    ]


async def test_one_that_goes_while_it_is_asked_for_is_gone(serve: Serve, how: bytes, at_once: int) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    poison = put_poison(folder, "poison", {"body", "header"}, how)
    async with serve(folder) as reader:
        messages, cursor = await read_rounds(reader, at_once - 1)
        del folder.messages[poison]
        more, cursor = await read_rounds(reader, 1, cursor)
        assert subjects(messages + more) == ["m1"]
        assert await read_messages(reader, cursor) == ([], cursor)


async def test_a_size_that_is_withheld_costs_nothing(serve: Serve, how: bytes) -> None:
    """The body is asked for all the same: its limit holds without the size."""
    folder = ScriptedFolder()
    put(folder, "m1")
    put_poison(folder, "no size", {"size"}, how)
    put(folder, "m2")
    folder.put(raw_mail("no size, and large", body=b"x" * 5000), LINKED, withheld={"size"}, refusal=how)
    async with serve(folder) as reader:
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["m1", "no size", "m2", "no size, and large"]
        assert [message.content is None for message in messages] == [False, False, False, True]
        assert not any(message.withheld for message in messages)
        assert await read_messages(reader, cursor) == ([], cursor)


async def test_a_date_that_is_withheld_is_no_reason_to_pass_over_a_message_or_to_read_anew(serve: Serve) -> None:
    folder = ScriptedFolder()
    folder.put(raw_mail("no date"), LINKED, withheld={"date"})
    async with serve(folder) as reader:
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["no date"]
        put(folder, "m1")
        messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["m1"]


async def test_many_that_are_withheld_take_few_commands(serve: Serve) -> None:
    """Among five hundred the refused are found by halves."""
    folder = ScriptedFolder()
    put(folder, *(f"m{number}" for number in range(300)))
    for uid in (100, 200):
        folder.messages[uid] = replace(folder.messages[uid], withheld=frozenset({"size"}), refusal=b"NO no")
    async with serve(folder) as reader:
        messages, _ = await read_messages(reader, None)
    assert len(messages) == 300
    assert sum(b"RFC822.SIZE" in line for line in folder.commands) < 50


async def test_an_outage_of_all_is_no_fault_of_the_messages(serve: Serve, how: bytes, at_once: int) -> None:
    """Nothing is put aside, and nothing taken as less than it is, while the server gives no message at all."""
    folder = ScriptedFolder()
    put(folder, "m1", "m2")
    async with serve(folder) as reader:
        _, cursor = await read_messages(reader, None)
        put(folder, "m3")
        poison = put_poison(folder, "poison", {"body"}, how)
        messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["m3"]
        healthy = dict(folder.messages)
        sick = frozenset({"body"})
        folder.messages = {uid: replace(message, withheld=sick) for uid, message in healthy.items()}
        folder.refuses_fetch = how
        for _ in range(at_once + 1):
            with pytest.raises(TemporaryError):
                await read_messages(reader, cursor)
        put(folder, "m4")
        healthy[folder.uidnext - 1] = folder.messages[folder.uidnext - 1]
        folder.messages[folder.uidnext - 1] = replace(folder.messages[folder.uidnext - 1], withheld=sick)
        with pytest.raises(TemporaryError):
            await read_messages(reader, cursor)
        folder.refuses_fetch = b""
        healthy[poison] = replace(healthy[poison], withheld=frozenset())
        folder.messages = healthy
        messages, _ = await read_messages(reader, cursor)
        assert subjects(messages) == ["m4", "poison"]
        assert not any(message.withheld for message in messages)


async def test_what_is_put_aside_has_a_limit_and_comes_to_its_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Too many keep the new from being read, and are themselves read first then: the folder is not stopped for ever."""
    monkeypatch.setattr("connectors.aside.ASIDE_MAX", 2)
    folder = ScriptedFolder()
    put(folder, "m1")
    for _ in range(6):
        put_poison(folder, "poison", {"body"}, b"")
    put(folder, "m2")
    plan = replace(PLAN, batch_messages_max=2)
    cursor: str | None = None
    got: list[RawMessage] = []
    refused: list[str] = []
    async with serve(folder) as reader:
        reader._plan = plan
        for _ in range(12):
            try:
                async for batch in reader.changes(cursor):
                    cursor, got = batch.cursor, [*got, *batch.messages]
            except TemporaryError as error:
                refused.append(str(error))
    assert sorted(message.locator for message in got) == sorted(f"7:{uid}:INBOX" for uid in range(1, 9))
    assert refused
    assert all("too many messages are withheld" in text for text in refused)


async def test_a_history_with_many_that_are_withheld_comes_to_its_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.imap_history.ASIDE_MAX", 2)
    folder = ScriptedFolder()
    put(folder, "m1", days=-1)
    for _ in range(7):
        put_poison(folder, "poison", {"body"}, b"", days=-1)
    async with serve(folder) as reader:
        reader._plan = replace(PLAN, batch_messages_max=2)
        batches = await read_history(reader, HistoryPlan(before=LINKED))
    messages = [m for batch in batches for m in batch.messages]
    assert sorted(m.locator for m in messages) == sorted(f"7:{uid}:INBOX" for uid in range(1, 9))
    assert batches[-1].seen == batches[-1].total == 8


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"NO Request is throttled. Suggested Backoff Time: 92415 milliseconds", RateLimited),
        (b"NO [LIMIT] UID Rate limit hit.", TemporaryError),
        (b"BAD User is authenticated but not connected.", TemporaryError),
    ],
)
async def test_what_concerns_the_mailbox_is_no_refusal_of_a_message(
    serve: Serve, answer: bytes, error: type[ConnectorError]
) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    put_poison(folder, "refused", {"body"}, answer)
    async with serve(folder) as reader:
        with pytest.raises(error):
            await read_messages(reader, None)
    assert sum(b"BODY.PEEK[]" in line for line in folder.commands) == 1


async def test_a_message_that_ends_the_connection_each_time_stops_nobody(serve: Serve, at_once: int) -> None:
    """Dovecot hangs up where a stored message is not as large as it remembers, other servers where they crash."""
    folder = ScriptedFolder()
    put(folder, "m1")
    put_poison(folder, "killer", {"body"}, b"BYE")
    put(folder, "m2")
    cursor, got, losses = None, [], 0
    async with serve(folder) as reader:
        for _ in range(8):
            try:
                messages, cursor = await read_messages(reader, cursor)
            except TemporaryError:
                losses += 1
            else:
                got += messages
    assert subjects(got) == ["m1", "m2", "killer"]
    assert got[2].withheld
    assert losses <= 2


async def test_a_lost_connection_is_no_fault_of_a_message(serve: Serve) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    unlucky = put_poison(folder, "unlucky", {"body"}, b"BYE")
    async with serve(folder) as reader:
        with pytest.raises(TemporaryError):
            await read_messages(reader, None)
        folder.messages[unlucky] = replace(folder.messages[unlucky], withheld=frozenset())
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["m1", "unlucky"]
        assert '"aside"' not in (cursor or "")


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("withheld", [{"body"}, {"size", "body"}, {"body", "header"}])
async def test_a_history_goes_on_behind_what_is_withheld(
    serve: Serve, how: bytes, withheld: set[str], newest_first: bool
) -> None:
    folder = ScriptedFolder()
    put(folder, "m1", days=-1)
    put_poison(folder, "poison", withheld, how, days=-1)
    put(folder, "m2", days=-1)
    plan = HistoryPlan(before=LINKED, newest_first=newest_first)
    async with serve(folder) as reader:
        batches = await read_history(reader, plan)
        messages = [m for batch in batches for m in batch.messages]
        assert [m.locator.split(":")[1] for m in messages] == ["1", "3", "2"]
        assert [m.withheld for m in messages] == [False, False, True]
        assert batches[-1].seen == batches[-1].total == 3
        assert await read_history(reader, plan, batches[-1].cursor) == []
        # Each cursor leads to what lies behind it.
        for number, batch in enumerate(batches[:-1]):
            again = await read_history(reader, plan, batch.cursor)
            behind = [m.locator for later in batches[number + 1 :] for m in later.messages]
            assert [m.locator for later in again for m in later.messages] == behind


async def test_a_fetch_of_one_that_is_withheld_is_its_header(serve: Serve, how: bytes) -> None:
    folder = ScriptedFolder()
    put(folder, "m1")
    put_poison(folder, "poison", {"body"}, how)
    async with serve(folder) as reader:
        message = await reader.fetch("7:2:INBOX")
    assert message is not None
    assert (message.withheld, message.content) == (True, None)
    assert subjects([message]) == ["poison"]


def stored_files(box: Mailbox) -> list[Path]:
    """The messages in Dovecot's INBOX, oldest first: their names begin with seconds and microseconds."""
    folder = box.dovecot.home / "mail" / box.user
    files = [path for name in ("new", "cur") for path in (folder / name).iterdir()]
    return sorted(files, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)[:2]])


@pytest.mark.parametrize("harm", ["unreadable", "shorter", "longer"])
async def test_a_message_that_dovecot_cannot_read_stops_nobody(mailbox: Mailbox, harm: str, at_once: int) -> None:
    """It hangs up then, each time, and takes what it was about to give for its neighbours along."""
    for name in ("m1", "sick", "m2"):
        mailbox.deliver(name, body=b"x" * 3000)
    sick = stored_files(mailbox)[1]
    if harm == "unreadable":
        sick.chmod(0)
    else:
        os.truncate(sick, 100 if harm == "shorter" else 30_000)
    reader, cursor, got, losses = mailbox.reader(), None, [], 0
    try:
        for _ in range(8):
            try:
                messages, cursor = await read_messages(reader, cursor)
            except TemporaryError:
                losses += 1
            else:
                got += messages
    finally:
        await reader.close()
    uids = {message.locator.split(":")[1]: message for message in got}
    assert uids.keys() == {"1", "2", "3"}
    assert len(got) == 3
    assert [uids[uid].content is not None for uid in ("1", "3")] == [True, True]
    assert (uids["2"].content is None) == uids["2"].withheld
    assert losses <= 3
