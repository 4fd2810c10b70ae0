"""Folders that are watched since another moment than the linking: what had gathered in them is no new mail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import HistoryPlan, ReadPlan
from tests.connectors.mailbox import Mailbox, read_history, read_messages, subjects

LINKED = datetime.now(UTC).replace(microsecond=0) - timedelta(days=400)
ADDED = datetime.now(UTC).replace(microsecond=0) - timedelta(days=10)


@pytest.fixture(params=["mailbox", "courier_mailbox"])
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Mailbox]:
    box: Mailbox = request.getfixturevalue(request.param)
    if "Spam" not in box.server.folders(box.user):
        box.server.create_folder(box.user, "Spam")
    yield box
    await box.close()


async def fill(box: Mailbox) -> None:
    """Put mail into both folders: from before the linking, between that and the adding, and from after it."""
    for folder in ("INBOX", "Spam"):
        name = folder if folder == "INBOX" else box.server.name_of(folder)
        for age, days in (("old", 500), ("between", 200), ("new", 1)):
            await box.append(f"{folder} {age}", datetime.now(UTC) - timedelta(days=days), name)


BOTH = ReadPlan(folders=("INBOX", "Spam"), start_at=LINKED, starts={"INBOX": LINKED, "Spam": ADDED})


async def test_a_folder_that_is_added_starts_when_it_was(box: Mailbox) -> None:
    await fill(box)
    messages, cursor = await read_messages(box.reader(ReadPlan(start_at=LINKED)), None)
    assert subjects(messages) == ["INBOX between", "INBOX new"]
    messages, cursor = await read_messages(box.reader(BOTH), cursor)
    assert subjects(messages) == ["Spam new"]
    # Moved in later, with its old date: that is new.
    await box.append("Spam moved in", datetime.now(UTC) - timedelta(days=300), box.server.name_of("Spam"))
    assert subjects((await read_messages(box.reader(BOTH), cursor))[0]) == ["Spam moved in"]


async def test_what_came_before_is_the_historys(box: Mailbox) -> None:
    await fill(box)
    wanted = HistoryPlan(before=LINKED, newest_first=False)
    found = [one for batch in await read_history(box.reader(BOTH), wanted) for one in batch.messages]
    assert subjects(found) == ["INBOX old", "Spam old", "Spam between"]


async def test_a_folder_that_is_watched_again_begins_anew(box: Mailbox) -> None:
    inbox = ReadPlan(start_at=LINKED)
    _, cursor = await read_messages(box.reader(ReadPlan(folders=("INBOX", "Spam"), start_at=LINKED)), None)
    _, cursor = await read_messages(box.reader(inbox), cursor)
    await box.append("Spam between", datetime.now(UTC) - timedelta(days=200), box.server.name_of("Spam"))
    await box.append("Spam new", datetime.now(UTC) - timedelta(days=1), box.server.name_of("Spam"))
    messages, cursor = await read_messages(box.reader(BOTH), cursor)
    assert subjects(messages) == ["Spam new"]
    assert (await read_messages(box.reader(BOTH), cursor)) == ([], cursor)


async def test_one_of_two_names_for_a_folder_that_is_watched_since_long_ago_counts(box: Mailbox) -> None:
    await fill(box)
    box.change(role_folders={"junk": "Spam"})
    starts = {"Spam": LINKED, "\\Junk": ADDED}
    twice = ReadPlan(folders=("Spam", "\\Junk"), start_at=LINKED, starts=starts)
    messages, _ = await read_messages(box.reader(twice), None)
    assert subjects(messages) == ["Spam between", "Spam new"]


async def test_a_missing_folder_keeps_its_place_while_others_are_dropped(box: Mailbox) -> None:
    box.server.create_folder(box.user, "Support")
    three = ReadPlan(folders=("INBOX", "Support", "Spam"), start_at=LINKED)
    box.deliver("s1", "Support")
    _, cursor = await read_messages(box.reader(three), None)
    box.server.rename_folder(box.user, "Support", "Elsewhere")
    two = ReadPlan(folders=("INBOX", "Support"), start_at=LINKED)
    _, cursor = await read_messages(box.reader(two), cursor)
    box.server.rename_folder(box.user, "Elsewhere", "Support")
    box.deliver("s2", "Support")
    messages, _ = await read_messages(box.reader(two), cursor)
    assert subjects(messages)[-1] == "s2"
