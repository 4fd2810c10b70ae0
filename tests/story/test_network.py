"""Connections that end where it hurts: kicked, cut in a literal, lost behind the final dot."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from connectors.tls import client_context
from ingestd.desk import MessageView
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import introspection_url
from tests.servers.proxy import Fault, Proxy
from tests.servers.script import server_context
from tests.stores import sqlite_urls
from tests.story.house import House, Servers, open_house
from tests.story.mails import mail


@pytest.fixture
def contexts(servers: Servers) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    files = servers.certificates
    return server_context(str(files.cert_file), str(files.key_file)), client_context(files.ca_file)


@asynccontextmanager
async def proxied(port: int, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[Proxy]:
    async with Proxy(port, server_context=contexts[0], upstream_context=contexts[1]).running() as proxy:
        yield proxy


@asynccontextmanager
async def running(folder: Path, servers: Servers, **options: object) -> AsyncIterator[House]:
    async with open_house(folder, sqlite_urls(folder), servers, **options) as house:  # type: ignore[arg-type]
        await house.daemon.start()
        yield house
        assert await house.daemon.stop() == 0


@pytest.fixture
def own_servers(servers: Servers) -> Iterator[Servers]:
    """With a Dovecot that may be stopped: Postfix remembers its lost connection to the one that it asks for SASL."""
    own = Dovecot(servers.certificates, introspection_url(servers.auth))
    try:
        own.start()
        yield dataclasses.replace(servers, dovecot=own)
    finally:
        own.destroy()


async def test_a_kick_and_an_outage_of_the_server_lose_nothing(
    own_servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user, dovecot = new_user(), own_servers.dovecot
    async with running(tmp_path, own_servers) as house:
        mailbox_id = await house.linked(user)
        dovecot.kick(user)
        house.deliver(user, mail("kim@customer.example.net", user, "After the kick", "Still there?"))
        await house.tickets(mailbox_id, 1)
        dovecot.stop()
        try:
            view = await house.state(mailbox_id, "failing")
            assert (view.mailbox.trouble, bool(view.mailbox.reason)) == ("transient", True)
        finally:
            dovecot.start()
        house.deliver(user, mail("kim@customer.example.net", user, "After the outage", "And now?"))
        await house.tickets(mailbox_id, 2)
        await house.state(mailbox_id, "active")
        types = [one.type for one in await house.events() if one.type in {"mailbox.warning", "mailbox.recovered"}]
        assert types == ["mailbox.warning", "mailbox.recovered"]


async def test_a_connection_cut_in_a_literal_is_read_again(
    servers: Servers, new_user: Callable[[], str], contexts: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    user = new_user()
    async with (
        proxied(servers.dovecot.port_tls, contexts) as proxy,
        running(tmp_path, servers, imap_port=proxy.port) as house,
    ):
        mailbox_id = await house.linked(user)
        proxy.fault = Fault("server", marker=b"Half of this line", keep=10)
        body = "Half of this line is lost.\r\n" + "and more of it\r\n" * 5000
        house.deliver(user, mail("lea@customer.example.net", user, "A long mail", body))
        (ticket,) = await house.tickets(mailbox_id)
        assert proxy.fault.happened
        assert ticket.messages[0].record.mail.text.count("and more of it") == 5000
        raw = await house.store.desk.raw(house.account_id, ticket.messages[0].row.message_id)
        assert len(raw) > 80_000


async def lost_behind_the_dot(house: House, proxy: Proxy, user: str, customer: str) -> tuple[UUID, int, UUID]:
    """Return mailbox, ticket and reply, which left, but of which nobody was told."""
    mailbox_id = await house.linked(user)
    house.deliver(user, mail(customer, user, "Does it arrive", "Once or twice?"))
    (ticket,) = await house.tickets(mailbox_id)
    proxy.fault = Fault("server", marker=b"250 2.0.0 Ok: queued")
    reply = await house.reply(ticket.ticket.number, "It arrives once only.")
    await house.reply_at(ticket.ticket.number, reply, "unknown")
    return mailbox_id, ticket.ticket.number, reply


def outcomes(view: MessageView) -> list[str | None]:
    """What came of the attempts; those that never reached the server's MAIL command do not count."""
    assert view.reply is not None
    return [one.outcome for one in view.reply.attempts if one.outcome != "not_sent"]


async def test_an_unknown_reply_that_is_found_in_sent_was_sent(
    servers: Servers, new_user: Callable[[], str], contexts: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with (
        proxied(servers.postfix.port_tls, contexts) as proxy,
        running(tmp_path, servers, smtp_port=proxy.port) as house,
    ):
        _, number, reply = await lost_behind_the_dot(house, proxy, user, customer)
        (arrived,) = await house.received(customer)
        servers.dovecot.deliver(user, arrived, "Sent")
        view = await house.reply_at(number, reply, "sent")
        assert view.reply is not None
        assert (view.reply.reply.reason, view.reply.reply.sent_copy.value) == ("found_in_sent", "filed")
        assert outcomes(view) == ["unknown"]
        assert len(servers.dovecot.mails(customer)) == 1
        assert len(servers.dovecot.mails(user, "Sent")) == 1


async def test_an_unknown_reply_that_is_not_in_sent_is_a_persons_to_decide(
    servers: Servers, new_user: Callable[[], str], contexts: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with (
        proxied(servers.postfix.port_tls, contexts) as proxy,
        running(tmp_path, servers, smtp_port=proxy.port) as house,
    ):
        _, number, reply = await lost_behind_the_dot(house, proxy, user, customer)
        await house.received(customer)

        assert "reply.unknown" in [one.type for one in await house.events() if one.message_id == reply]
        done = await house.daemon.run_cli("reply", "resolve", reply, "sent")
        assert done.status == 0, done.err
        view = await house.reply_at(number, reply, "copy:filed")
        assert view.reply is not None
        assert view.reply.reply.status.value == "sent"
        assert outcomes(view) == ["unknown"]
        assert len(await house.received(user, folder="Sent")) == 1
        assert len(servers.dovecot.mails(customer)) == 1


# -- stopping ------------------------------------------------------------------------------------


async def test_a_stop_lets_a_send_in_flight_end(
    servers: Servers, new_user: Callable[[], str], contexts: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with (
        proxied(servers.postfix.port_tls, contexts) as proxy,
        running(tmp_path, servers, smtp_port=proxy.port) as house,
    ):
        number, reply = await sending(house, proxy, user, customer, delay_seconds=0.15)
        assert await house.daemon.stop(seconds=house.settings.shutdown_seconds) == 0
        view = await house.reply_at(number, reply, "sent")
        assert outcomes(view) == ["accepted"]
        proxy.delay_seconds = 0.0
        await house.daemon.start()
        await house.reply_at(number, reply, "copy:filed")
        assert len(servers.dovecot.mails(customer)) == 1


async def test_a_stop_ends_within_its_limit_and_what_it_cut_off_is_unknown(
    servers: Servers, new_user: Callable[[], str], contexts: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with (
        proxied(servers.postfix.port_tls, contexts) as proxy,
        running(tmp_path, servers, smtp_port=proxy.port, shutdown_seconds=1.0) as house,
    ):
        proxy.fault = Fault("server", marker=b"250 2.0.0 Ok: queued", action="hang")
        number, reply = await sending(house, proxy, user, customer)
        (arrived,) = await house.received(customer)
        assert await house.daemon.stop(seconds=5.0) == 0
        await house.reply_at(number, reply, "unknown")
        servers.dovecot.deliver(user, arrived, "Sent")
        await house.daemon.start()
        view = await house.reply_at(number, reply, "sent")
        assert outcomes(view) == ["unknown"]
        assert len(servers.dovecot.mails(customer)) == 1


async def sending(
    house: House, proxy: Proxy, user: str, customer: str, *, delay_seconds: float = 0.0
) -> tuple[int, UUID]:
    """Return ticket and reply, at the moment in which it is being sent."""
    mailbox_id = await house.linked(user)
    house.deliver(user, mail(customer, user, "Are you closing", "I need an answer today."))
    (ticket,) = await house.tickets(mailbox_id)
    proxy.delay_seconds = delay_seconds
    reply = await house.reply(ticket.ticket.number, "Just before we close.")
    await house.reply_at(ticket.ticket.number, reply, "sending")
    return ticket.ticket.number, reply
