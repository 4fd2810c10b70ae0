"""Folders that go and come back, that are named by roles or as people write them; on both makes of servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from connectors.base import Edit, EditKind, ReadPlan
from tests.connectors.mailbox import LONG_AGO, Mailbox, read_messages, subjects


@pytest.fixture(params=["mailbox", "plain_mailbox", "courier_mailbox"])
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Mailbox]:
    box: Mailbox = request.getfixturevalue(request.param)
    yield box
    await box.close()


@pytest.fixture(params=["plain_mailbox", "courier_mailbox"])
async def poor(request: pytest.FixtureRequest) -> AsyncIterator[Mailbox]:
    """Where no folder is made beforehand."""
    poor: Mailbox = request.getfixturevalue(request.param)
    yield poor
    await poor.close()


def plan(*folders: str) -> ReadPlan:
    return ReadPlan(folders=folders, start_at=LONG_AGO)


async def read_where_one_is_missing(
    box: Mailbox, reading: ReadPlan, cursor: str | None
) -> tuple[list[str], str | None]:
    """Return what comes all the same."""
    reader = box.reader(reading)
    assert list(reader.missing_folders()) == []
    messages, cursor = await read_messages(reader, cursor)
    assert list(reader.missing_folders()) == [1]
    return subjects(messages), cursor


async def test_a_folder_that_was_renamed_comes_back_without_loss_or_doubles(box: Mailbox) -> None:
    reading = plan("INBOX", "Support/New")
    box.server.create_folder(box.user, "Support/New")
    box.deliver("s1", "Support/New")
    messages, cursor = await read_messages(box.reader(reading), None)
    assert subjects(messages) == ["s1"]
    assert messages[0].folder == box.server.name_of("Support/New")
    box.server.rename_folder(box.user, "Support/New", "Elsewhere")
    box.deliver("i1")
    got, cursor = await read_where_one_is_missing(box, reading, cursor)
    assert got == ["i1"]
    assert await box.reader().fetch(messages[0].locator) is None
    assert await box.reader().edit([messages[0].locator], Edit(EditKind.READ)) == {}
    box.deliver("s2", "Elsewhere")
    box.deliver("i2")
    got, cursor = await read_where_one_is_missing(box, reading, cursor)
    assert got == ["i2"]
    box.server.rename_folder(box.user, "Elsewhere", "Support/New")
    messages, cursor = await read_messages(box.reader(reading), cursor)
    # A server may number a renamed folder anew; then the first comes again, and its bytes tell.
    assert subjects(messages)[-1] == "s2"
    assert set(subjects(messages)) <= {"s1", "s2"}
    assert (await read_messages(box.reader(reading), cursor))[0] == []


async def test_one_reader_notices_that_a_folder_goes_and_comes_back(box: Mailbox) -> None:
    reading = plan("INBOX", "Support")
    box.server.create_folder(box.user, "Support")
    reader = box.reader(reading)
    _, cursor = await read_messages(reader, None)
    box.server.rename_folder(box.user, "Support", "Elsewhere")
    messages, cursor = await read_messages(reader, cursor)
    assert (messages, list(reader.missing_folders())) == ([], [1])
    box.deliver("s1", "Elsewhere")
    box.server.rename_folder(box.user, "Elsewhere", "Support")
    messages, _ = await read_messages(reader, cursor)
    assert subjects(messages) == ["s1"]
    assert list(reader.missing_folders()) == []


async def test_where_all_folders_are_missing_the_wait_is_a_poll(box: Mailbox) -> None:
    reader = box.reader(plan("Support"))
    messages, cursor = await read_messages(reader, None)
    assert (messages, list(reader.missing_folders())) == ([], [0])
    assert not await reader.wait(0.05)
    box.server.create_folder(box.user, "Support")
    box.deliver("s1", "Support")
    assert subjects((await read_messages(reader, cursor))[0]) == ["s1"]


async def test_a_folder_that_is_missing_keeps_nobody_from_waiting_for_another(box: Mailbox) -> None:
    box.change(poll_seconds=2.0)
    reader = box.reader(plan("No such folder", "INBOX"))
    _, cursor = await read_messages(reader, None)
    waiting = asyncio.create_task(reader.wait(20))
    await asyncio.to_thread(box.deliver, "m1")
    assert await waiting
    messages, _ = await read_messages(reader, cursor)
    assert (subjects(messages), list(reader.missing_folders())) == (["m1"], [0])


async def test_an_override_that_names_no_folder_is_a_missing_folder(box: Mailbox) -> None:
    """Whoever names the folder of a role wants that one read: another in its place, or none, would go unnoticed."""
    box.change(role_folders={"junk": "Quarantine"})
    reader = box.reader(plan("INBOX", "\\Junk"))
    box.deliver("m1")
    messages, cursor = await read_messages(reader, None)
    assert (subjects(messages), list(reader.missing_folders())) == (["m1"], [1])
    box.server.create_folder(box.user, "Quarantine")
    box.deliver("unwanted", "Quarantine")
    messages, _ = await read_messages(reader, cursor)
    assert (subjects(messages), list(reader.missing_folders())) == (["unwanted"], [])


@pytest.mark.parametrize("name", ["Спам", "Junk E-mail"])
async def test_the_folder_of_a_role_is_read_whatever_its_name(box: Mailbox, name: str) -> None:
    if "Junk" not in box.server.folders(box.user):
        box.server.create_folder(box.user, name)
    else:
        name = "Junk"
    box.deliver("unwanted", name)
    box.deliver("wanted")
    messages, cursor = await read_messages(box.reader(plan("INBOX", "\\Junk")), None)
    assert {message.folder for message in messages} == {"INBOX", box.server.name_of(name)}
    # Named twice, it is read once, and a cursor knows it by its name.
    twice = box.reader(plan("INBOX", "\\Junk", name))
    assert (await read_messages(twice, cursor))[0] == []
    assert cursor is not None
    claimed = [locator async for chunk in twice.claimed(cursor) for locator in chunk]
    assert sorted(claimed) == sorted(message.locator for message in messages)


async def test_the_folder_of_a_role_can_go_while_the_connection_stays(poor: Mailbox) -> None:
    poor.server.create_folder(poor.user, "Junk")
    poor.deliver("unwanted", "Junk")
    reader = poor.reader(plan("\\Junk", "INBOX"))
    _, cursor = await read_messages(reader, None)
    poor.server.rename_folder(poor.user, "Junk", "Elsewhere")
    poor.deliver("m1")
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["m1"]
    poor.server.rename_folder(poor.user, "Elsewhere", "Spam")
    poor.deliver("unwanted too", "Spam")
    messages, _ = await read_messages(reader, cursor)
    assert subjects(messages)[-1] == "unwanted too"


async def test_a_role_that_no_folder_plays_is_no_error_and_is_looked_for_again(poor: Mailbox) -> None:
    reader = poor.reader(plan("\\Junk", "INBOX"))
    poor.deliver("m1")
    messages, cursor = await read_messages(reader, None)
    assert subjects(messages) == ["m1"]
    assert not await reader.wait(0.05)
    poor.server.create_folder(poor.user, "Junk")
    poor.deliver("unwanted", "Junk")
    messages, _ = await read_messages(reader, cursor)
    assert subjects(messages) == ["unwanted"]


async def test_an_unknown_role_is_refused_at_once(box: Mailbox) -> None:
    with pytest.raises(ValueError, match="role"):
        box.reader(plan("INBOX", "\\Everything"))


async def test_a_folder_that_is_made_by_a_move_is_subscribed_and_read_by_its_path(box: Mailbox) -> None:
    box.deliver("m1")
    reader = box.reader(plan("INBOX"))
    (message,), _ = await read_messages(reader, None)
    await reader.edit([message.locator], Edit(EditKind.MOVE, "Done/Grün"))
    assert box.server.name_of("Done/Grün") in box.server.folders(box.user)
    messages, _ = await read_messages(box.reader(plan("Done/Grün")), None)
    assert subjects(messages) == ["m1"]
