"""A suspended account: nothing is read or sent, everything is kept, and it goes on where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from ingestd import account_states
from storage import accounts, mailboxes, outbox, pauses
from storage.accounts import AccountStatus
from storage.errors import FenceLost
from storage.mailboxes import MailboxState
from storage.outbox import ReplyStatus
from storage.types import new_id
from tests.crash import story
from tests.crash.world import Daemon, House, Process, World, link, open_world
from tests.office import Office, mail
from tests.stores import Stores


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_world(request.param, tmp_path, server, houses_max=3) as opened:
        yield opened


async def test_a_suspended_account_rests_and_goes_on_without_loss_or_doubles(world: World) -> None:
    async with world.house() as house:
        daemon = Daemon(house)
        try:
            await story.deliver(world, house)
            await daemon.start()
            await daemon.until(lambda: story.has_all(house, daemon), "all mails are taken in")
            before = await story.stored(house)

            assert await _command(house, "account", "suspend", house.account_id) == "suspended\n"
            assert await _command(house, "account", "suspend", house.account_id) == "it was suspended already\n"
            await daemon.until(lambda: _is_let_go(house, daemon), "the running worker lets go of the mailbox")
            late = b"From: anna@example.org\r\nSubject: Late\r\nMessage-ID: <late@example.org>\r\n\r\nStill there?\r\n"
            await world.provider.deliver(house.address, late)
            message_id = await story.reply(house)
            listed, _ = await house.store.desk.reply(house.account_id, message_id)
            assert listed.waits_for_account
            # A new grant, and a restart, change nothing about it.
            await link(house.store, house.account_id, house.address, again=house.mailbox_id)
            await daemon.stop()
            await daemon.start()
            shown = await _command(house, "mailbox", "show", house.mailbox_id)
            assert "The account is suspended" in shown
            assert "Why replies wait" in shown
            assert await story.stored(house) == {"in": before["in"], "out": (await story.stored(house))["out"]}
            waiting = await house.store.content.read(house.account_id, outbox.get_reply, message_id)
            assert (waiting.status, waiting.attempts) == (ReplyStatus.QUEUED, 0)
            await story.check_store(house)

            assert await _command(house, "account", "resume", house.account_id) == "resumed\n"
            await story.after_reply(world, house, daemon, message_id)
            await daemon.until(lambda: _has(house, "<late@example.org>"), "what came meanwhile is read")
            after = await story.stored(house)
            assert after["in"] == before["in"] + type(after["in"])(["<late@example.org>"])
            assert set(after["out"].values()) == {1}
            await story.check_store(house)
        finally:
            await daemon.process.kill()


async def test_no_write_begins_behind_the_commit(stores: Stores) -> None:
    """Of a worker that has not heard of it: the ingest is refused, what came of a send is not."""
    office = await Office.open(stores)
    await office.take(mail(message_id="<1@example.org>"))
    account_id, mailbox_id, fence = office.held.account_id, office.held.mailbox_id, office.held.fence
    assert await stores.content.transaction(account_id, account_states.suspend)
    with pytest.raises(FenceLost):
        await office.take(mail(message_id="<2@example.org>"))
    await stores.content.transaction(account_id, mailboxes.hold_ending, mailbox_id, fence)
    beside = await _second(office)
    await office.check()

    assert await stores.content.transaction(account_id, account_states.resume)
    with pytest.raises(FenceLost):  # it slept through both
        await office.take(mail(message_id="<2@example.org>"))
    found = await stores.content.read(account_id, mailboxes.list_mailboxes)
    assert {one.mailbox_id: one.state for one in found} == {
        mailbox_id: MailboxState.ACTIVE,
        beside: MailboxState.ACTIVE,
    }
    await office.check()


async def test_what_a_person_decided_about_a_mailbox_outlasts_it(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id

    async def change(*functions: object) -> tuple[MailboxState, MailboxState | None]:
        for one in functions:
            where = () if one in {account_states.suspend, account_states.resume} else (mailbox_id,)
            assert await stores.content.transaction(account_id, one, *where)  # type: ignore[call-overload]
        await office.check()
        found = await stores.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        return found.state, found.resumes_as

    assert await change(pauses.pause, account_states.suspend) == (MailboxState.SUSPENDED, MailboxState.PAUSED)
    assert not await stores.content.transaction(account_id, pauses.pause, mailbox_id)
    assert await change(account_states.resume) == (MailboxState.PAUSED, None)
    assert await change(account_states.suspend, pauses.resume) == (MailboxState.SUSPENDED, MailboxState.ACTIVE)
    assert await change(pauses.pause, pauses.resume) == (MailboxState.SUSPENDED, MailboxState.ACTIVE)
    assert await change(account_states.resume) == (MailboxState.ACTIVE, None)


async def _second(office: Office) -> UUID:
    """Link one more mailbox while the account is suspended: it rests as the others do."""
    worker = office.held
    key = await office.keys.create_mailbox_key(worker.account_id, second := new_id())
    record = office.context.record
    await office.stores.content.transaction(
        worker.account_id,
        mailboxes.insert_mailbox,
        second,
        provider="local",
        start_from="now",
        start_days=0,
        sealed=key.seal_record(record.place(second), record),
    )
    one = await office.stores.content.read(worker.account_id, mailboxes.get_mailbox, second)
    assert one.state is MailboxState.SUSPENDED
    return second


async def _command(house: House, *words: object) -> str:
    """Run a command to its good end; return what it printed."""
    process = Process(house, *map(str, words))
    process.log = house.folder / f"command-{new_id()}"
    await process.start()
    assert await process.end() == 0, process.tail()
    return process.log.read_text()


async def _is_let_go(house: House, daemon: Daemon) -> bool:
    account = await house.store.content.read(house.account_id, accounts.get_account)
    assert account.status is AccountStatus.SUSPENDED
    return b'"mailbox.released"' in daemon.process.log.read_bytes()


async def _has(house: House, message_id: str) -> bool:
    return message_id in (await story.stored(house))["in"]
