"""What the daemon does in a mailbox after import, and people with its quarantine while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.servers.process import children_of
from tests.stores import StoreUrls, sqlite_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail


async def test_mail_is_moved_and_later_only_marked(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user = new_user()
    async with open_house(
        tmp_path, store_urls, servers, mailbox_defaults={"after_import": "move:Done"}, inbound={"poll_seconds": 30.0}
    ) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        for number in range(3):
            house.deliver(user, mail("rosa@customer.example.net", user, f"Printer number {number}", "It is broken."))
        tickets = await house.tickets(mailbox_id, 3)
        await house.received(user, 3, "Done")
        assert servers.dovecot.mails(user) == []
        await settled(house, mailbox_id)
        view = await house.ticket(tickets[0].ticket.number)
        assert view.messages[0].record.folder == "Done"

        done = await house.daemon.run_cli("mailbox", "set", mailbox_id, "--after-import", "seen")
        assert done.status == 0, done.err
        house.deliver(user, mail("rosa@customer.example.net", user, "Printer number 4", "It is broken, too."))
        await house.tickets(mailbox_id, 4)

        async def seen() -> bool:
            return [one.split() for one in await asyncio.to_thread(servers.dovecot.flags, user)] == [["\\Seen"]]

        await until(seen, "the mail is marked as read")
        assert len(servers.dovecot.mails(user, "Done")) == 3
        assert await house.daemon.stop() == 0


async def test_what_agents_do_is_done_in_the_mailbox_at_once(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    """Not when mail comes or the next poll is: the mailbox's task is woken out of IDLE."""
    user = new_user()
    mirror = {"read": "seen", "spam": "junk", "delete": "trash", "solved": "keyword:Solved"}
    async with open_house(
        tmp_path,
        store_urls,
        servers,
        mailbox_defaults={"mirror": mirror},
        inbound={"poll_seconds": 600.0, "idle_renew_seconds": 600.0},
    ) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail("rosa@customer.example.net", user, "Printer", "It is broken."))
        number = (await house.tickets(mailbox_id, 1))[0].ticket.number
        for action, folder, flag in (
            ("close", "INBOX", "Solved"),
            ("spam", "Junk", ""),
            ("delete", "Trash", ""),
            ("read", "Trash", "\\Seen"),
            ("reopen", "INBOX", "\\Seen"),
        ):
            done = await house.daemon.run_cli("ticket", action, number)
            assert done.status == 0, done.err
            await house.received(user, 1, folder)
            await settled(house, mailbox_id)
            assert flag in (await asyncio.to_thread(servers.dovecot.flags, user, folder))[0]
        assert len(await house.tickets(mailbox_id, 1)) == 1
        assert await house.daemon.stop() == 0


async def test_a_quarantined_mail_is_replayed_while_the_daemon_runs(
    servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user = new_user()
    async with open_house(
        tmp_path,
        sqlite_urls(tmp_path),
        servers,
        parser={"seconds_max": 1.0},
        mailbox_defaults={"after_import": "keyword:Ticketed"},
    ) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        (parser,) = children_of(house.daemon.pid)
        os.kill(parser, signal.SIGSTOP)  # a parser that hangs, for whatever reason
        house.deliver(user, mail("sven@customer.example.net", user, "Hangs for a while", "And comes back."))

        async def held() -> list[dict[str, str]]:
            found: list[dict[str, str]] = (await house.daemon.run_cli("quarantine", "list", "--json")).json()
            return found

        (row,) = await until(held, "quarantine")
        assert servers.dovecot.flags(user) == [""], "it was edited while in quarantine"
        replayed = await house.daemon.run_cli("quarantine", "replay", row["quarantine"])
        assert replayed.status == 0, replayed.err
        (ticket,) = await house.tickets(mailbox_id, 1)
        assert ticket.record.subject == "Hangs for a while"

        async def marked() -> bool:
            return [one.split() for one in await asyncio.to_thread(servers.dovecot.flags, user)] == [["Ticketed"]]

        await until(marked, "the replayed mail is edited like any other")
        assert await house.daemon.stop() == 0


async def settled(house: House, mailbox_id: object) -> None:
    """Wait until the daemon has written down what it did."""

    async def done() -> bool:
        shown = (await house.daemon.run_cli("mailbox", "show", mailbox_id, "--json")).json()
        return (shown["edits_due"], shown["edits_failed"]) == (0, 0)

    await until(done, "no edit waits")
