"""Tokens that end, grants that are taken back, and linking again; on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest

from storage import flows
from tests.stores import StoreUrls
from tests.story.house import House, Servers, open_house
from tests.story.mails import mail

pytestmark = pytest.mark.postgresql_is_long


@pytest.fixture
async def house(servers: Servers, store_urls: StoreUrls, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, store_urls, servers) as one:
        await one.daemon.start()
        yield one
        assert await one.daemon.stop() == 0


def refreshes(house: House) -> int:
    return house.servers.auth.requests["token.refresh_token"]


async def ask(house: House, user: str, mailbox_id: UUID, customer: str, tickets: int = 1) -> int:
    house.deliver(user, mail(customer, user, f"Question number {tickets}", "May I ask you something?"))
    return (await house.tickets(mailbox_id, tickets))[-1].ticket.number


async def test_an_expired_token_is_renewed_once_and_the_rotated_one_is_kept(
    house: House, new_user: Callable[[], str]
) -> None:
    user, customer = new_user(), new_user()
    mailbox_id = await house.linked(user)
    number = await ask(house, user, mailbox_id, customer)
    before = refreshes(house)
    house.servers.auth.expire_access_tokens(user)
    # The reader and two replies need a token at the same moment.
    house.servers.dovecot.kick(user)
    replies = [await house.reply(number, f"Answer number {one}.") for one in range(2)]
    for reply in replies:
        await house.reply_at(number, reply, "copy:filed")
    await ask(house, user, mailbox_id, customer, tickets=2)
    assert refreshes(house) - before == 1
    # A refresh token that was not stored would be used a second time now, which ends the grant.
    assert await house.daemon.stop() == 0
    house.servers.auth.expire_access_tokens(user)
    await house.daemon.start()
    await ask(house, user, mailbox_id, customer, tickets=3)
    assert refreshes(house) - before == 2
    assert house.servers.auth.grants.living_grants(user) == 1


async def test_a_revoked_grant_waits_for_its_owner_and_loses_nothing(house: House, new_user: Callable[[], str]) -> None:
    user, customer, other = new_user(), new_user(), new_user()
    mailbox_id = await house.linked(user)
    number = await ask(house, user, mailbox_id, customer)
    house.servers.auth.revoke(user)
    house.servers.dovecot.kick(user)
    view = await house.state(mailbox_id, "reauth_required")
    assert (view.mailbox.trouble, bool(view.mailbox.reason)) == ("grant_revoked", True)
    shown = await house.daemon.cli("mailbox", "show", mailbox_id)
    assert (shown["state"], shown["trouble"], shown["since"]) == (
        "reauth_required",
        "grant_revoked",
        view.mailbox.state_since.isoformat(),
    )
    assert [one.type for one in await house.events()].count("mailbox.reauth_required") == 1
    house.deliver(user, mail(customer, user, "Meanwhile", "Is anybody there?"))
    reply = await house.reply(number, "An answer that has to wait.")

    await relinks_that_are_refused(house, mailbox_id, user, other)
    waiting = await house.reply_at(number, reply, "queued")
    assert waiting.reply is not None
    assert not waiting.reply.attempts
    assert await house.link(user, again=mailbox_id) == mailbox_id
    await house.tickets(mailbox_id, 2)
    done = await house.reply_at(number, reply, "copy:filed")
    assert done.reply is not None
    assert [one.outcome for one in done.reply.attempts] == ["accepted"]
    assert len(await house.received(customer)) == 1
    assert (await house.mailbox(mailbox_id)).mailbox.state.value == "active"


async def relinks_that_are_refused(house: House, mailbox_id: UUID, user: str, other: str) -> None:
    flow_id, _ = await house.try_link(other, again=mailbox_id)
    assert (await house.read(flows.get_flow, flow_id)).reason == "wrong_mailbox"
    # What is not used is given back.
    assert house.servers.auth.grants.living_grants(other) == 0
    house.servers.auth.fail_next("authorize", "partial_scopes")
    flow_id, _ = await house.try_link(user, again=mailbox_id)
    assert (await house.read(flows.get_flow, flow_id)).reason == "partial_consent"
    assert house.servers.auth.grants.living_grants(user) == 0
    assert (await house.mailbox(mailbox_id)).mailbox.state.value == "reauth_required"


async def test_a_mailbox_is_linked_once_and_by_who_consents(house: House, new_user: Callable[[], str]) -> None:
    user = new_user()
    await house.linked(user)
    flow_id, _ = await house.try_link(user)
    assert (await house.read(flows.get_flow, flow_id)).reason == "already_linked"
    assert house.servers.auth.grants.living_grants(user) == 1
    assert len(await house.store.desk.mailboxes(house.account_id)) == 1
