"""Killed while a folder is read again whose UIDs have come to mean other messages: nothing lost, nothing twice."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.points import SIGNAL_AT
from tests.servers.fixtures import auth_server, certificates, dovecot, postfix
from tests.stores import StoreUrls
from tests.story.conftest import new_user, servers
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail

__all__ = ["auth_server", "certificates", "dovecot", "new_user", "postfix", "servers"]

PROGRAM = (sys.executable, "-m", "tests.crash.launcher")
ROOT = Path(__file__).parents[2]
MAILS = 12
POINTS = ("content:commit_batch:committing:2", "content:commit_batch:committed:5")


async def killed_at(house: House, point: str) -> None:
    """Run the daemon until it kills itself there."""
    house.daemon.env[SIGNAL_AT] = point
    await house.daemon.start(ready=False)
    assert await house.daemon.wait_exit() == -9
    del house.daemon.env[SIGNAL_AT]


@pytest.mark.parametrize("point", POINTS)
async def test_killed_while_a_folder_is_read_again(
    point: str, servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(tmp_path, store_urls, servers, program=PROGRAM, inbound={"batch_messages_max": 3}) as house:
        house.daemon.env["PYTHONPATH"] = os.fspath(ROOT)
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        for number in range(MAILS):
            house.deliver(user, mail(customer, user, f"Request {number}", f"Please do {number}."))
        await house.tickets(mailbox_id, MAILS)
        assert await house.daemon.stop() == 0

        servers.dovecot.reset_uidvalidity(user)
        house.deliver(user, mail(customer, user, "While it was away", "And this."))
        await killed_at(house, point)
        await house.daemon.start()
        await house.tickets(mailbox_id, MAILS + 1)

        async def lie_where_they_are() -> bool:
            """The server's UIDs have another order now: the new mail may not be the last that is read."""
            tickets = await house.tickets(mailbox_id, MAILS + 1)
            assert all(len(one.messages) == 1 for one in tickets)
            locators = {one.messages[0].record.locator for one in tickets}
            return len(locators) == MAILS + 1 and len({locator.split(":")[0] for locator in locators}) == 1

        await until(lie_where_they_are, "all messages are known where the server has them")
        assert await house.daemon.stop() == 0
