"""Linking and keeping tokens, on real databases with the authorization server of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.base import AuthError, PermanentError, TemporaryError, Trouble
from ingestd.demo.authserver import Failure
from ingestd.linking.client import Revocation
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.privacy.revocation import read_revocable, revocable_text
from ingestd.records import FlowRecord
from storage import accounts, events, flows, keystore, mailboxes
from storage.errors import NotFound
from storage.types import new_id
from tests.linking.bench import ADDRESS, OTHER, Bench, running_bench
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    async with running_bench(stores) as made:
        yield made


async def test_the_provider_says_whose_mailbox_it_is(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    record = await bench.record(mailbox_id)
    assert (record.address, record.login) == (ADDRESS, ADDRESS)
    assert (await bench.grant(mailbox_id)).refresh_token
    found = await bench.stores.content.read(bench.account_id, events.list_events, 0, 10)
    assert [one.type for one in found] == ["mailbox.linked"]


async def test_a_state_is_good_once_and_in_one_browser(bench: Bench) -> None:
    code, state, iss = await bench.code(ADDRESS)
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.complete(state=state, browser="another", code=code, error=None, iss=iss)
    await bench.linking.complete(state=state, browser="b", code=code, error=None, iss=iss)
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.complete(state=state, browser="b", code=code, error=None, iss=iss)


async def test_a_callback_of_another_issuer_is_refused(bench: Bench) -> None:
    code, state, _ = await bench.code(ADDRESS)
    with pytest.raises(LinkRefused, match="callback_rejected"):
        await bench.linking.complete(state=state, browser="b", code=code, error=None, iss="https://evil.example.net")


async def test_a_mailbox_is_linked_once_in_an_account(bench: Bench) -> None:
    await bench.consent(ADDRESS)
    with pytest.raises(LinkRefused, match="already_linked"):
        await bench.consent(ADDRESS)
    assert bench.server.grants.living_grants(ADDRESS) == 1  # what is not used is given back
    assert len(await bench.stores.content.read(bench.account_id, mailboxes.list_mailboxes)) == 1


async def test_a_refused_grant_takes_no_linked_mailbox_along(bench: Bench) -> None:
    """Google ends all that an owner gave to a client at once."""
    await bench.consent(ADDRESS, provider="sweeping")
    with pytest.raises(LinkRefused, match="already_linked"):
        await bench.consent(ADDRESS, provider="sweeping")
    bench.server.fail_next("authorize", Failure.PARTIAL_SCOPES)
    with pytest.raises(LinkRefused, match="partial_consent"):
        await bench.consent(ADDRESS, provider="sweeping")
    assert bench.server.requests["revoke"] == 0
    bench.server.fail_next("authorize", Failure.PARTIAL_SCOPES)
    with pytest.raises(LinkRefused, match="partial_consent"):
        await bench.consent(OTHER, provider="sweeping")
    assert bench.server.grants.living_grants(OTHER) == 0


async def test_linking_again_keeps_the_mailbox_and_refuses_another_identity(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    before = await bench.grant(mailbox_id)
    with pytest.raises(LinkRefused, match="wrong_mailbox"):
        await bench.consent(OTHER, mailbox_id=mailbox_id)
    assert await bench.grant(mailbox_id) == before
    assert not bench.server.grants.living_grants(OTHER)  # what could not be used was given back
    fence = (await bench.state(mailbox_id)).fence
    assert await bench.consent(ADDRESS, mailbox_id=mailbox_id) == mailbox_id
    assert (await bench.state(mailbox_id)).fence == fence + 1


async def test_a_mailbox_that_is_being_forgotten_is_not_linked_again(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    await bench.stores.content.transaction(bench.account_id, mailboxes.start_disconnect, mailbox_id)
    with pytest.raises(NotFound):
        await bench.linking.start(bench.account_id, LinkRequest(provider="local", mailbox_id=mailbox_id))


async def test_an_owner_who_was_renamed_signs_in_by_the_new_address(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    subject = bench.server.users[ADDRESS].sub
    bench.server.users[OTHER] = replace(bench.server.users[OTHER], subject=subject)
    assert await bench.consent(OTHER, mailbox_id=mailbox_id) == mailbox_id
    record = await bench.record(mailbox_id)
    assert (record.address, record.login, record.addresses) == (OTHER, OTHER, (ADDRESS,))


async def test_a_grant_whose_owner_nobody_names_is_given_back(bench: Bench) -> None:
    bench.server.fail_next("userinfo", Failure.SERVER_ERROR, times=3)
    with pytest.raises(LinkRefused, match="provider_unavailable"):
        await bench.consent(ADDRESS)
    assert bench.server.grants.living_grants(ADDRESS) == 0


async def test_partial_consent_is_refused_and_given_back(bench: Bench) -> None:
    bench.server.fail_next("authorize", Failure.PARTIAL_SCOPES)
    with pytest.raises(LinkRefused, match="partial_consent"):
        await bench.consent(ADDRESS)
    assert not bench.server.grants.living_grants(ADDRESS)
    assert await bench.stores.content.read(bench.account_id, mailboxes.list_mailboxes) == []


async def test_consent_that_was_refused(bench: Bench) -> None:
    _, state, iss = await bench.code(ADDRESS)
    with pytest.raises(LinkRefused, match="consent_refused"):
        await bench.linking.complete(state=state, browser="b", code=None, error="access_denied", iss=iss)


async def test_a_flow_that_failed_says_why(bench: Bench) -> None:
    bench.server.consent_as = ADDRESS
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="local"))
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    await bench.linking.open(state, "b")
    with pytest.raises(LinkRefused):
        await bench.linking.complete(state=state, browser="b", code="wrong", error=None, iss=None)
    flow = await bench.stores.content.read(bench.account_id, flows.get_flow, started.flow_id)
    assert flow.status == "failed"
    assert flow.reason in {"code_refused", "callback_rejected"}


async def test_linking_an_unknown_mailbox_again(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.linking.start(bench.account_id, LinkRequest(provider="local", mailbox_id=new_id()))


async def test_many_ask_and_one_refresh_is_made(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    source = bench.keeper.source(bench.account_id, mailbox_id, "local")
    old = await bench.grant(mailbox_id)
    assert (await source()).value == old.access_token
    fresh = {one.value for one in await asyncio.gather(*(source(rejected=old.access_token) for _ in range(20)))}
    stored = await bench.grant(mailbox_id)
    assert fresh == {stored.access_token}
    assert stored.refresh_token != old.refresh_token  # rotated, and kept
    assert bench.server.requests["token.refresh_token"] == 1


async def test_a_token_is_refreshed_ahead_of_its_end(bench: Bench) -> None:
    bench.server.grants.access_token_seconds = 30  # less than refresh_ahead_seconds
    mailbox_id = await bench.consent(ADDRESS)
    old = await bench.grant(mailbox_id)
    bench.server.grants.access_token_seconds = 3600
    fresh = await bench.keeper.source(bench.account_id, mailbox_id, "local")()
    assert fresh.value != old.access_token


async def test_a_server_that_refuses_fresh_tokens_costs_one(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    source = bench.keeper.source(bench.account_id, mailbox_id, "local")
    fresh = await source(rejected=(await bench.grant(mailbox_id)).access_token)
    with pytest.raises(AuthError):
        await source(rejected=fresh.value)
    assert bench.server.requests["token.refresh_token"] == 1


async def test_only_invalid_grant_means_that_the_grant_is_gone(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    source = bench.keeper.source(bench.account_id, mailbox_id, "local")
    old = (await bench.grant(mailbox_id)).access_token
    bench.server.fail_next("token", Failure.SERVER_ERROR, times=1)
    with pytest.raises(TemporaryError):
        await source(rejected=old)
    bench.server.revoke(ADDRESS)
    bench.keeper.forget(mailbox_id)
    with pytest.raises(PermanentError) as caught:
        await source(rejected=old)
    assert caught.value.trouble is Trouble.GRANT_REVOKED


async def test_a_refused_linking_leaves_no_key_behind_for_long(bench: Bench) -> None:
    """A key whose mailbox never came to be is only ever one that nothing was sealed with."""
    bench.server.fail_next("authorize", Failure.PARTIAL_SCOPES)
    with pytest.raises(LinkRefused):
        await bench.consent(ADDRESS)
    keys = await bench.stores.keystore.read(None, keystore.list_keys)
    assert {one.owner_id for one in keys} == {bench.account_id}


async def test_a_link_that_is_opened_twice_leads_to_the_same_place(bench: Bench) -> None:
    bench.server.consent_as = ADDRESS
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="local"))
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    first, second = await asyncio.gather(bench.linking.open(state, "b"), bench.linking.open(state, "b"))
    assert first == second == await bench.linking.open(state, "b")


async def test_a_provider_that_is_configured_no_more(bench: Bench) -> None:
    with pytest.raises(LinkRefused, match="provider_unavailable"):
        await bench.linking.start(bench.account_id, LinkRequest(provider="gone"))


async def test_yandex_knows_each_linking_by_a_device_of_its_own(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="yandex")
    record, grant = await bench.record(mailbox_id), await bench.grant(mailbox_id)
    assert (record.address, record.subject.isdigit()) == (ADDRESS, True)
    assert len(grant.device_id) == 36
    assert bench.server.grants.device_of(grant.access_token) == grant.device_id
    other = await bench.grant(await bench.consent(OTHER, provider="yandex"))
    assert other.device_id != grant.device_id


async def test_a_device_stays_when_its_token_is_refreshed_and_when_it_is_linked_again(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="yandex")
    first = await bench.grant(mailbox_id)
    await bench.keeper.source(bench.account_id, mailbox_id, "yandex")(rejected=first.access_token)
    refreshed = await bench.grant(mailbox_id)
    assert refreshed.access_token != first.access_token
    assert refreshed.device_id == first.device_id
    with pytest.raises(LinkRefused, match="wrong_mailbox"):
        await bench.consent(OTHER, provider="yandex", mailbox_id=mailbox_id)
    assert await bench.consent(ADDRESS, provider="yandex", mailbox_id=mailbox_id) == mailbox_id
    assert (await bench.grant(mailbox_id)).device_id == first.device_id


async def test_yandex_revokes_by_the_access_token_and_only_what_has_a_device(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="yandex")
    client = await bench.clients.get("yandex")
    kept = read_revocable(revocable_text(await bench.grant(mailbox_id)))
    assert await client.revoke(kept) is Revocation.REVOKED
    assert bench.server.grants.living_grants(ADDRESS) == 0
    assert await client.revoke(kept) is Revocation.REVOKED  # dead already
    bare = bench.server.issue(ADDRESS)
    without = read_revocable("old-refresh-token")
    assert without.refresh_token == "old-refresh-token"
    without = type(kept)(bare.access_token, bare.refresh_token, ())
    assert await client.revoke(without) is Revocation.UNSUPPORTED
    assert bench.server.grants.living_grants(ADDRESS) == 1


async def test_mailru_tells_whose_token_it_is(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="mailru")
    assert (await bench.record(mailbox_id)).address == ADDRESS
    client = await bench.clients.get("mailru")
    assert await client.revoke(await bench.grant(mailbox_id)) is Revocation.UNSUPPORTED


async def test_what_a_linking_remembers_is_sealed(bench: Bench) -> None:
    bench.server.consent_as = ADDRESS
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="yandex"))
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    await bench.linking.open(state, "b")
    flow = await bench.stores.content.read(bench.account_id, flows.get_flow, started.flow_id)
    key = await bench.keys.account(bench.account_id)
    record = key.open_record(FlowRecord.place(started.flow_id), flow.sealed, FlowRecord)
    for secret in (record.state, record.verifier, record.device_id):
        assert secret
        assert secret.encode() not in flow.sealed


async def test_nothing_is_linked_of_an_account_that_is_pinned_elsewhere(bench: Bench) -> None:
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="local"))
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    code, waiting, iss = await bench.code(ADDRESS)
    await bench.stores.content.transaction(bench.account_id, accounts.set_location, "eu")
    with pytest.raises(LinkRefused, match="location_differs"):
        await bench.linking.start(bench.account_id, LinkRequest(provider="local"))
    with pytest.raises(LinkRefused, match="location_differs"):
        await bench.linking.open(state, "another")
    with pytest.raises(LinkRefused, match="location_differs"):
        await bench.linking.complete(state=waiting, browser="b", code=code, error=None, iss=iss)
    assert bench.server.grants.living_grants(ADDRESS) == 0  # what is not used is given back
    assert await bench.stores.content.read(bench.account_id, mailboxes.list_mailboxes) == []
    await bench.stores.content.transaction(bench.account_id, accounts.set_location, None)
    await bench.consent(ADDRESS)
