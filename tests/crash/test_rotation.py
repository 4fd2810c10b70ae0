"""A refresh token that rotates, and a crash around its storing.

Between the provider's answer and our commit lies a window that nobody can close from this
side: the old token is spent, the new one is lost. Then the mailbox says that its owner must
link it again. What must never be is a mailbox that is dead and says nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import mailboxes
from storage.mailboxes import MailboxState
from tests.crash import story
from tests.crash.points import Point
from tests.crash.world import Daemon, House, World, link, open_world

_TOKEN_SECONDS = 30
"""Shorter than `refresh_ahead_seconds`: each use of a token refreshes it first."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_world(request.param, tmp_path, server, houses_max=5, access_token_seconds=_TOKEN_SECONDS) as opened:
        yield opened


@pytest.mark.parametrize("phase", ["committing", "committed"])
async def test_killed_while_a_rotated_token_is_stored(world: World, phase: str) -> None:
    async with world.house() as house:
        daemon = Daemon(house, at=Point("content", "replace_grant", phase))
        try:
            await story.deliver(world, house)
            await daemon.start()
            outcome = ""

            async def told() -> bool:
                nonlocal outcome
                outcome = await _outcome(house, daemon)
                return daemon.kills == 1 and outcome != ""

            await daemon.until(told, "the mailbox works, or says that it must be linked again")
            if phase == "committed":
                assert outcome == "works"
            if outcome == "lost":
                await link(house.store, house.account_id, house.address, again=house.mailbox_id)
            told_at_last = await _tell_on(world, house, daemon)
            await story.check_told(world, house, told_at_last)
        finally:
            await daemon.process.kill()


async def _tell_on(world: World, house: House, daemon: Daemon) -> story.Told:
    await daemon.until(lambda: story.has_all(house, daemon), "all mails are taken in")
    return await story.after_reply(world, house, daemon, await story.reply(house))


async def _outcome(house: House, daemon: Daemon) -> str:
    mailbox = await house.store.content.read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)
    if mailbox.state is MailboxState.REAUTH_REQUIRED:
        assert mailbox.trouble == "grant_revoked"
        return "lost"
    return "works" if await story.has_all(house, daemon) else ""
