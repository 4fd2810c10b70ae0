"""What an operator says to the running daemon by signals: reload, stop, stop at once."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.stores import StoreUrls
from tests.story.house import House, Servers, open_house
from tests.story.mails import mail
from tests.story.settings import merged, write_settings


def rewrite(house: House, **sections: object) -> None:
    """Change the daemon's configuration file, section by section."""
    path = house.daemon.config
    write_settings(path, merged(yaml.safe_load(path.read_text()), sections))


async def reload(house: House, event: str) -> dict[str, object]:
    after = len(house.daemon.log_text())
    house.daemon.signal(signal.SIGHUP)
    return (await house.daemon.wait_log(event, after=after))[0]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


async def test_sighup_takes_over_what_it_can_and_says_what_it_cannot(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path, silent_port: int
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(tmp_path, store_urls, servers, smtp_port=silent_port) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "Before", "The port of SMTP is wrong."))
        (ticket,) = await house.tickets(mailbox_id)

        rewrite(
            house,
            providers={"local": {"smtp": {"port": servers.postfix.port_tls}}},
            logging={"level": "debug"},
            api={"requests_max": 7},
        )
        after = len(house.daemon.log_text())
        assert (await reload(house, "config.reloaded"))["settings"] == ["providers", "logging"]
        assert (await house.daemon.wait_log("config.kept", after=after))[0]["settings"] == ["api"]
        await house.daemon.wait_log("mailbox.claimed", after=after)

        reply = await house.reply(ticket.ticket.number, "Over the right port.")
        await house.reply_at(ticket.ticket.number, reply, "copy:filed")
        house.deliver(user, mail(customer, user, "After", "Still read."))
        await house.tickets(mailbox_id, 2)
        assert await house.daemon.stop() == 0


async def test_a_wrong_configuration_changes_nothing(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(tmp_path, store_urls, servers) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        good = house.daemon.config.read_text()
        house.daemon.config.write_text(good.replace("imap:", "imapp:"))
        await reload(house, "config.refused")
        house.deliver(user, mail(customer, user, "All the same", "Nothing has changed."))
        await house.tickets(mailbox_id)
        house.daemon.config.write_text(good)
        assert (await reload(house, "config.reloaded"))["settings"] == []
        assert await house.daemon.stop() == 0


async def test_a_second_sigterm_ends_it_at_once(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path, silent_port: int
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(
        tmp_path,
        store_urls,
        servers,
        smtp_port=silent_port,
        outbound={"connect_timeout_seconds": 60.0},
        shutdown_seconds=60.0,
    ) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "Question", "Are you there?"))
        (ticket,) = await house.tickets(mailbox_id)
        reply = await house.reply(ticket.ticket.number, "It hangs in the connection.")
        await house.reply_at(ticket.ticket.number, reply, "sending")
        house.daemon.signal(signal.SIGTERM)
        await house.daemon.wait_log("daemon.stopping")
        house.daemon.signal(signal.SIGTERM)
        assert await house.daemon.wait_exit(seconds=5) == 1

        rewrite(house, providers={"local": {"smtp": {"port": servers.postfix.port_tls}}})
        await house.daemon.start()
        # It cannot know that nothing was sent: a person decides, it is not sent again by itself.
        await house.reply_at(ticket.ticket.number, reply, "unknown")
        assert await house.daemon.stop() == 0
