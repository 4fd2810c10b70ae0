"""Every state that a mailbox can be in, reached from a real cause and left again: what is told of it, and how."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx2
import pytest

from ingestd.demo.authserver import User
from ingestd.desk import MailboxView
from tests.servers.moody import BACKOFF_SECONDS, Mood, Moody, MoodyImap, MoodySmtp
from tests.servers.script import server_context
from tests.stores import sqlite_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail
from tests.story.test_network import own_servers

__all__ = ["own_servers"]

Server = TypeVar("Server", bound=Moody)

QUICK: dict[str, Any] = {
    "inbound": {
        "backoff": {"initial_seconds": 0.2, "max_seconds": 0.4},
        "blocked_retry_seconds": 0.5,
        "suspicions_max": 1,
        "poll_seconds": 0.3,
    },
    "linking": {"rejection_pause_seconds": 0.5},
}
CUSTOMER = "kim@customer.example.net"


@asynccontextmanager
async def running(folder: Path, servers: Servers, **options: Any) -> AsyncIterator[House]:
    async with open_house(folder, sqlite_urls(folder), servers, **(QUICK | options)) as house:
        await house.daemon.start()
        yield house
        assert await house.daemon.stop() == 0


@pytest.fixture
async def house(servers: Servers, tmp_path: Path) -> AsyncIterator[House]:
    async with running(tmp_path, servers) as one:
        yield one


@pytest.fixture
async def imap(servers: Servers) -> AsyncIterator[MoodyImap]:
    async with moody(MoodyImap, servers) as one:
        yield one


@asynccontextmanager
async def moody(kind: Callable[..., Server], servers: Servers) -> AsyncIterator[Server]:
    files = servers.certificates
    server = kind(server_context(str(files.cert_file), str(files.key_file)))
    async with server.running():
        yield server


async def told(house: House, mailbox_id: UUID, state: str, trouble: str, *, cure: str) -> dict[str, Any]:
    """Wait until a mailbox is in this state, and see that everybody is told of it; return what `show` prints."""
    view = await in_trouble(house, mailbox_id, state, trouble)
    shown: dict[str, Any] = await house.daemon.cli("mailbox", "show", mailbox_id)
    assert (shown["state"], shown["trouble"]) == (state, trouble)
    assert shown["since"] == view.mailbox.state_since.isoformat()
    assert shown["reason"]
    assert shown["meaning"]
    assert cure in shown["cure"]
    assert (shown["next_try"] is None) == (state == "reauth_required")
    assert await metric(house, f'ingestd_failures_total{{trouble="{trouble}"}}') >= 1
    logged = [(one["state"], one["trouble"]) for one in house.daemon.logs("mailbox.state_changed")]
    assert (state, trouble) in logged
    return shown


async def in_trouble(house: House, mailbox_id: UUID, state: str, trouble: str) -> MailboxView:
    async def look() -> MailboxView | None:
        view = await house.mailbox(mailbox_id)
        return view if (view.mailbox.state.value, view.mailbox.trouble) == (state, trouble) else None

    return await until(look, f"mailbox {state} because of {trouble}")


async def well_again(house: House, mailbox_id: UUID) -> None:
    view = await house.state(mailbox_id, "active")
    assert (view.mailbox.trouble, view.mailbox.reason, view.mailbox.retry_at) == (None, None, None)


async def metric(house: House, name: str) -> float:
    async with httpx2.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{house.port}/metrics")).text
    return float(next((line.split()[-1] for line in text.splitlines() if line.startswith(name)), "0"))


async def news(house: House) -> list[tuple[str, str | None]]:
    """What the helpdesk was told of the mailbox after its linking."""
    found = [(one.type, one.detail) for one in await house.events() if one.type.startswith("mailbox.")]
    return found[1:]


async def test_a_token_that_ends_early_is_no_news_and_tokens_that_are_dead_at_birth_are(
    house: House, new_user: Callable[[], str]
) -> None:
    user, auth = new_user(), house.servers.auth
    mailbox_id = await house.linked(user)
    auth.expire_access_tokens(user)
    house.servers.dovecot.kick(user)
    house.deliver(user, mail(CUSTOMER, user, "One", "With a fresh token."))
    await house.tickets(mailbox_id, 1)
    assert await news(house) == []
    auth.grants.access_token_seconds = -1
    try:
        auth.expire_access_tokens(user)
        house.servers.dovecot.kick(user)
        house.deliver(user, mail(CUSTOMER, user, "Two", "With none."))
        await told(house, mailbox_id, "failing", "token_expired", cure="tried again by itself")
    finally:
        auth.grants.access_token_seconds = 3600
    await house.tickets(mailbox_id, 2)
    await well_again(house, mailbox_id)
    assert await news(house) == [("mailbox.warning", "token_expired"), ("mailbox.recovered", None)]


async def test_a_revoked_grant_waits_for_its_owner_and_resumes_where_it_stopped(
    house: House, new_user: Callable[[], str]
) -> None:
    user, customer = new_user(), new_user()
    mailbox_id = await house.linked(user)
    house.deliver(user, mail(customer, user, "Before", "All is well."))
    (ticket,) = await house.tickets(mailbox_id, 1)
    house.servers.auth.revoke(user)
    house.servers.dovecot.kick(user)
    for number in range(3):
        house.deliver(user, mail(CUSTOMER, user, f"Meanwhile {number}", "Is anybody there?"))
    shown = await told(house, mailbox_id, "reauth_required", "grant_revoked", cure="ingestd mailbox link --again")
    assert str(mailbox_id) in shown["cure"]
    reply = await house.reply(ticket.ticket.number, "An answer that waits.")
    await house.link(user, again=mailbox_id)
    await house.tickets(mailbox_id, 4)
    await house.reply_at(ticket.ticket.number, reply, "copy:filed")
    await well_again(house, mailbox_id)
    assert await news(house) == [("mailbox.reauth_required", "grant_revoked"), ("mailbox.relinked", None)]


async def test_an_owner_who_must_sign_in_again(house: House, new_user: Callable[[], str]) -> None:
    user, auth = new_user(), house.servers.auth
    mailbox_id = await house.linked(user)
    auth.fail_next("token", "interaction_required")
    auth.expire_access_tokens(user)
    house.servers.dovecot.kick(user)
    await told(house, mailbox_id, "reauth_required", "consent_or_mfa", cure="ingestd mailbox link --again")
    house.deliver(user, mail(CUSTOMER, user, "Meanwhile", "Is anybody there?"))
    await house.link(user, again=mailbox_id)
    await house.tickets(mailbox_id, 1)
    await well_again(house, mailbox_id)


async def test_an_application_that_is_not_let_in_any_more(house: House, new_user: Callable[[], str]) -> None:
    user, auth = new_user(), house.servers.auth
    mailbox_id = await house.linked(user)
    name = f"ingestd-{house.port}"
    registered = auth.clients.pop(name)
    try:
        auth.expire_access_tokens(user)
        house.servers.dovecot.kick(user)
        house.deliver(user, mail(CUSTOMER, user, "Meanwhile", "Is anybody there?"))
        await told(house, mailbox_id, "blocked", "admin_blocked", cure="`oauth.client_secret` under `providers.local`")

        async def counted() -> bool:
            return await metric(house, 'ingestd_mailboxes_in_trouble{trouble="admin_blocked"}') == 1

        await until(counted, "the gauge")
        for_people = (await house.daemon.run_cli("mailbox", "show", mailbox_id)).out
        assert "What to do: See that" in for_people
        (row,) = await house.daemon.cli("mailbox", "list")
        assert (row["state"], row["trouble"]) == ("blocked", "admin_blocked")
    finally:
        auth.clients[name] = registered
    await house.tickets(mailbox_id, 1)
    await well_again(house, mailbox_id)
    assert (await news(house))[-2:] == [("mailbox.blocked", "admin_blocked"), ("mailbox.recovered", None)]


async def test_imap_that_is_switched_off(
    servers: Servers, imap: MoodyImap, new_user: Callable[[], str], tmp_path: Path
) -> None:
    """Yandex says the same of a bad token: whose it is, is asked."""
    async with running(tmp_path, servers, imap_port=imap.port) as house:
        mailbox_id = await house.linked(new_user())
        imap.turn(Mood.OFF)
        await told(house, mailbox_id, "blocked", "protocol_disabled", cure="Switch IMAP on")
        assert servers.auth.requests["userinfo"] > 0
        imap.turn(Mood.WELL)
        await well_again(house, mailbox_id)
        assert (await news(house))[-2:] == [("mailbox.blocked", "protocol_disabled"), ("mailbox.recovered", None)]


async def test_a_grant_of_somebody_else(
    servers: Servers, imap: MoodyImap, new_user: Callable[[], str], tmp_path: Path
) -> None:
    """Microsoft says the same of IMAP that is off, and now and then of nothing at all."""
    async with running(tmp_path, servers, imap_port=imap.port) as house:
        user = new_user()
        mailbox_id = await house.linked(user)
        before = servers.auth.users[user]
        servers.auth.users[user] = User(user, subject="somebody else")
        try:
            imap.turn(Mood.NOT_CONNECTED)
            await told(house, mailbox_id, "blocked", "wrong_mailbox", cure="sign in as the mailbox itself")
        finally:
            servers.auth.users[user] = before
        await in_trouble(house, mailbox_id, "blocked", "protocol_disabled")
        imap.turn(Mood.WELL)
        await well_again(house, mailbox_id)


async def test_a_provider_that_wants_us_to_wait(
    servers: Servers, imap: MoodyImap, new_user: Callable[[], str], tmp_path: Path
) -> None:
    async with running(tmp_path, servers, imap_port=imap.port) as house:
        mailbox_id = await house.linked(new_user())
        imap.turn(Mood.THROTTLED)
        await told(house, mailbox_id, "throttled", "throttled", cure="it goes on by itself")
        imap.mood = Mood.WELL
        await well_again(house, mailbox_id)
        assert imap.hinted_at
        for hinted in imap.hinted_at:
            following = min(one for one in imap.connected_at if one > hinted)
            assert following - hinted >= BACKOFF_SECONDS
        assert await news(house) == [("mailbox.throttled", "throttled"), ("mailbox.recovered", None)]


async def test_a_server_that_is_away(own_servers: Servers, new_user: Callable[[], str], tmp_path: Path) -> None:
    async with running(tmp_path, own_servers) as house:
        user = new_user()
        mailbox_id = await house.linked(user)
        own_servers.dovecot.stop()
        try:
            shown = await told(house, mailbox_id, "failing", "transient", cure="tried again by itself")
            assert f"127.0.0.1:{own_servers.dovecot.port_tls}" in shown["cure"]
        finally:
            own_servers.dovecot.start()
        house.deliver(user, mail(CUSTOMER, user, "Afterwards", "Still there?"))
        await house.tickets(mailbox_id, 1)
        await well_again(house, mailbox_id)
        assert await news(house) == [("mailbox.warning", "transient"), ("mailbox.recovered", None)]


async def test_sending_that_the_tenant_forbids_while_reading_works(
    servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user = new_user()
    async with moody(MoodySmtp, servers) as smtp, running(tmp_path, servers, smtp_port=smtp.port) as house:
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(CUSTOMER, user, "One", "A question."))
        (ticket,) = await house.tickets(mailbox_id, 1)
        smtp.turn(Mood.TENANT)
        reply = await house.reply(ticket.ticket.number, "An answer that waits.")

        async def look() -> bool:
            return (await house.mailbox(mailbox_id)).mailbox.send_trouble is not None

        await until(look, "the trouble of sending")
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert (shown["state"], shown["trouble"], shown["send_trouble"]) == ("active", None, "admin_blocked")
        assert "535" in shown["send_reason"]
        assert shown["send_since"]
        assert "SMTP" in shown["send_cure"]
        assert shown["replies_waiting"] == 1
        house.deliver(user, mail(CUSTOMER, user, "Two", "It is still read."))
        await house.tickets(mailbox_id, 2)
        smtp.turn(Mood.WELL)
        await house.reply_at(ticket.ticket.number, reply, "copy:filed")
        assert len(smtp.accepted) == 1
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert (shown["send_trouble"], shown["send_cure"], shown["replies_waiting"]) == (None, None, 0)
        assert (shown["trouble"], shown["meaning"], shown["cure"]) == (None, None, None)
        first, *others, last = await news(house)
        assert (first, last) == (("mailbox.send_warning", "admin_blocked"), ("mailbox.send_recovered", None))
        # An attempt may have been under way as the server turned.
        assert {one for one, _ in others} <= {"mailbox.send_warning"}


async def test_paused_and_resumed(house: House, new_user: Callable[[], str]) -> None:
    user, customer = new_user(), new_user()
    mailbox_id = await house.linked(user)
    house.deliver(user, mail(customer, user, "Before", "A question."))
    (ticket,) = await house.tickets(mailbox_id, 1)
    assert (await house.daemon.cli("mailbox", "pause", mailbox_id))["state"] == "paused"
    assert (await house.daemon.run_cli("mailbox", "pause", mailbox_id)).out.startswith("it was paused already")
    await house.daemon.wait_log("mailbox.released")
    house.deliver(user, mail(customer, user, "Meanwhile", "Is anybody there?"))
    reply = await house.reply(ticket.ticket.number, "An answer that waits.")
    # A new grant does not undo what a person decided.
    await house.link(user, again=mailbox_id)
    assert (await house.mailbox(mailbox_id)).mailbox.state.value == "paused"
    assert await house.daemon.stop() == 0
    await house.daemon.start()
    assert house.servers.dovecot.connections(user) == 0
    assert len(await house.store.desk.tickets(house.account_id)) == 1
    waiting = await house.reply_at(ticket.ticket.number, reply, "queued")
    assert waiting.reply is not None
    assert not waiting.reply.attempts
    assert (await house.daemon.cli("mailbox", "resume", mailbox_id))["state"] == "active"
    await house.tickets(mailbox_id, 2)
    await house.reply_at(ticket.ticket.number, reply, "copy:filed")
    assert len(await house.received(customer)) == 1
    await well_again(house, mailbox_id)
    assert await news(house) == [("mailbox.paused", None), ("mailbox.relinked", None), ("mailbox.resumed", None)]


async def test_a_folder_that_was_numbered_anew_is_read_anew_and_it_is_told(
    house: House, new_user: Callable[[], str]
) -> None:
    user = new_user()
    mailbox_id = await house.linked(user)
    for number in range(2):
        house.deliver(user, mail(CUSTOMER, user, f"Before {number}", "A question."))
    await house.tickets(mailbox_id, 2)
    await house.daemon.cli("mailbox", "pause", mailbox_id)
    await house.daemon.wait_log("mailbox.released")
    house.deliver(user, mail(CUSTOMER, user, "Meanwhile", "Would be missed."))
    house.servers.dovecot.reset_uidvalidity(user)
    await house.daemon.cli("mailbox", "resume", mailbox_id)
    await house.tickets(mailbox_id, 3)

    async def told_of_it() -> bool:
        return ("mailbox.repaired", "1") in await news(house)

    await until(told_of_it, "mailbox.repaired")
    (logged,) = house.daemon.logs("mailbox.cursor_repaired")
    assert (logged["recovered"], logged["duplicates"]) == (1, 2)
    await house.tickets(mailbox_id, 3)
