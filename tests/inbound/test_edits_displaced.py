"""Edits whose messages do not lie where they were: their folder is missing, or was numbered anew."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from connectors.base import Edit, RateLimited, RawMessage, Reader
from ingestd.inbound.reader import MailboxReader
from storage import edits
from tests.connectors.mailbox import EVERYTHING, Mailbox
from tests.inbound.test_edits import SETTINGS, ScriptedServer, edits_of, mails, make_due, not_asked, rows, tools_of
from tests.office import Office
from tests.stores import Stores


class Emptied(ScriptedServer):
    """A server on which some places are none at present."""

    def __init__(self, *gone: str) -> None:
        super().__init__()
        self.gone = set(gone)

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        return {where: at for where, at in (await super().edit(locators, edit)).items() if where not in self.gone}


async def test_an_edit_whose_place_is_none_is_kept_and_done_where_the_message_turns_up(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(3))
    server = Emptied("1:1:INBOX", "1:2:INBOX")
    steps = edits_of(office, server)
    assert await steps.run_due() is not None
    assert {(row.status, row.attempts, row.reason) for row in await rows(office)} == {("due", 1, "displaced")}
    assert len(await rows(office)) == 2
    for _ in range(SETTINGS.edit_attempts_max - 1):
        await make_due(office)
        await steps.run_due()
    assert {(row.status, row.reason, row.due_at) for row in await rows(office)} == {("failed", "displaced", None)}
    raw = mails(2)[1]
    await office.take_fetched([RawMessage("2:7:INBOX", "INBOX", len(raw), datetime.now(UTC), raw, raw)])
    assert await steps.run_due() is None, "what was read again is not done at once"
    assert server.calls[-1][0] == ["2:7:INBOX"]
    assert [row.status for row in await rows(office)] == ["failed"]
    server.gone.clear()
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    assert await stores.content.transaction(account_id, edits.revive_displaced, mailbox_id) == 1
    await steps.run_due()
    assert await rows(office) == []
    await office.check()


class Unwilling:
    """A connection on which nothing can be edited for now."""

    def __init__(self, reader: Reader) -> None:
        self.changes, self.wait, self.close = reader.changes, reader.wait, reader.close
        self.missing_folders, self.reads_ahead = reader.missing_folders, reader.reads_ahead

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        raise RateLimited("STORE: throttled", retry_after=3600)


async def read_until(office: Office, reader: Any, condition: Callable[[], Awaitable[bool]]) -> None:
    """Let the mailbox's task work on a connection until the condition holds."""
    work = MailboxReader(office.held, office.context, reader, tools_of(office), not_asked)
    running = asyncio.create_task(work.run())
    async with asyncio.timeout(20):
        while not await condition():
            assert not running.done(), running
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_to_be_edited_outlives_a_new_numbering(stores: Stores, mailbox: Mailbox) -> None:
    """Batch by batch a folder is read anew: an edit of a later batch has no place until that batch came."""
    office = await Office.open(stores, after_import="seen")
    for number in range(3):
        mailbox.deliver(f"Printer {number}")
    plan = dataclasses.replace(EVERYTHING, batch_messages_max=1)

    async def taken() -> bool:
        waiting = await rows(office)
        return len(waiting) == 3 and all(row.reason == "throttled" for row in waiting)

    await read_until(office, Unwilling(mailbox.reader(plan)), taken)
    await asyncio.to_thread(mailbox.dovecot.reset_uidvalidity, mailbox.user)
    await make_due(office)

    async def done() -> bool:
        return await rows(office) == []

    await read_until(office, mailbox.reader(plan), done)
    flags = await asyncio.to_thread(mailbox.server.flags, mailbox.user)
    assert ["\\Seen" in one for one in flags] == [True] * 3
    assert len([one for one in await office.event_types() if one == "ticket.created"]) == 3
    await office.check()
    await mailbox.close()
