"""Machines whose clocks differ work together all the same: the database's clock counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from ingestd.desk import ReplyView
from ingestd.outbound.reply import ReplyDraft, create_reply
from tests.conftest import missing
from tests.servers.faketime import wrong_clock
from tests.servers.postfix import DEFERRED
from tests.servers.postgres import PostgresServer
from tests.stores import postgres_urls
from tests.story.daemon import DaemonProcess
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail
from tests.story.replicas import divided, replica

_OFF_SECONDS: Final = 1200.0
"""More than any slack that is allowed for between our clock and a provider's."""
_MAILBOXES: Final = 3
_AHEAD: Final = timedelta(seconds=3)
_SOON: Final = timedelta(seconds=10)


def _wrong(house: House, name: str, seconds: float) -> DaemonProcess:
    env = wrong_clock(seconds)
    if env is None:
        missing("libfaketime", "faketime")
    return replica(house, name, env=env)


@pytest.mark.long
async def test_clocks_that_differ_do_no_harm(
    servers: Servers, new_user: Callable[[], str], postgres: PostgresServer, tmp_path: Path
) -> None:
    """Of three processes one is twenty minutes ahead, and one as many behind."""
    users, customer = [new_user() for _ in range(_MAILBOXES)], new_user()
    urls = postgres_urls(postgres.create_database, tmp_path)
    async with (
        open_house(tmp_path, urls, servers) as house,
        _wrong(house, "fast", _OFF_SECONDS) as fast,
        _wrong(house, "slow", -_OFF_SECONDS) as slow,
    ):
        daemons = [house.daemon, fast, slow]
        await asyncio.gather(*(one.start() for one in daemons))
        off = [(_clock_of(one) - datetime.now(UTC)).total_seconds() for one in (fast, slow)]
        assert off[0] > _OFF_SECONDS / 2 > -_OFF_SECONDS / 2 > off[1]
        linked = {user: await house.linked(user) for user in users}
        held = await divided(house, [1, 1, 1])

        for user in users:
            house.deliver(user, mail(customer, user, "Of the right time", "What time is it?"))
            house.deliver(user, mail(DEFERRED, user, "Not now", "Answer me later."))
        replies: dict[tuple[int, UUID], tuple[str, datetime]] = {}
        for mailbox_id in linked.values():
            for view in await house.tickets(mailbox_id, 2):
                number, waits = view.ticket.number, view.record.requester.addr == DEFERRED
                at = datetime.now(UTC) if waits else datetime.now(UTC) + _AHEAD
                draft = ReplyDraft("It is time.", send_at=at)
                created = await create_reply(house.store.desk, house.settings.outbound, house.account_id, number, draft)
                replies[number, created.message_id] = "deferred" if waits else "sent", at
        for (number, reply_id), (status, at) in replies.items():

            async def done(number: int = number, reply_id: UUID = reply_id, status: str = status) -> ReplyView | None:
                reply = (await house.reply_at(number, reply_id, status, "sending")).reply
                assert reply is not None
                tried = len(reply.attempts) > 2 if status == "deferred" else reply.reply.status == "sent"
                return reply if tried else None

            reply = await until(done, f"a reply that is {status}")
            started = [one.started_at for one in reply.attempts]
            assert at <= started[0] < at + _SOON
            assert all(timedelta(seconds=0.05) < later - one < _SOON for one, later in itertools.pairwise(started))
        assert held == await divided(house, [1, 1, 1])  # for several times the lease: nobody seems dead to anybody

        await fast.kill()
        await divided(house, [1, 2])
        after = len(house.daemon.log_text())
        assert await slow.stop() == 0
        await house.daemon.wait_log("mailbox.claimed", after=after)
        for user, mailbox_id in linked.items():
            house.deliver(user, mail(customer, user, "Of the right time again", "Who reads this?"))
            await house.tickets(mailbox_id, 3)
        assert not [one.log_file.name for one in daemons if "lease.lost" in one.log_text()]
        assert await house.daemon.stop() == 0


def _clock_of(daemon: DaemonProcess) -> datetime:
    """Return what time it was for a process when it had just started."""
    return datetime.fromisoformat(daemon.logs("daemon.started")[-1]["timestamp"])
