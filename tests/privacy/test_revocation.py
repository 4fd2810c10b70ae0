"""A revocation is believed once a refresh is refused; where there is none, the ledger names the owner's page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Connection, update

import ingestd.privacy.revocation
from connectors.base import TokenSource
from ingestd.demo.authserver import Failure
from ingestd.demo.certificates import make_certificates
from ingestd.linking.link import LinkRequest
from ingestd.privacy.revocation import Revoker, read_revocable, revocable_text
from ingestd.records import RevocableRecord
from storage import keystore
from storage.keystore import Revocation
from storage.keystore_tables import revocations
from tests.clocks import DayAhead
from tests.linking.bench import ADDRESS, Bench, running_bench
from tests.stores import Stores

PAGE = "https://account.example.com/applications"


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    async with running_bench(stores) as made:
        yield made


def revoker(bench: Bench) -> Revoker:
    return Revoker(bench.stores.keystore, bench.keys, bench.clients, lambda _: PAGE)


async def forget(bench: Bench, provider: str = "local", **changes: Any) -> UUID:
    """Link a mailbox, and destroy its key as a disconnect does."""
    return await forget_linked(bench, await bench.consent(ADDRESS, provider=provider), provider, **changes)


async def forget_linked(bench: Bench, mailbox_id: UUID, provider: str, **changes: Any) -> UUID:
    kept = RevocableRecord(**msgspec.structs.asdict(await bench.grant(mailbox_id)))
    record = msgspec.structs.replace(kept, **changes)
    await bench.stores.keystore.transaction(
        bench.account_id,
        keystore.destroy_key,
        mailbox_id,
        detail={},
        provider=provider,
        wrapped_refresh_token=bench.keys.wrap_token(bench.account_id, mailbox_id, revocable_text(record)),
    )
    return mailbox_id


async def waiting(bench: Bench) -> list[Revocation]:
    return await bench.stores.keystore.read(None, keystore.list_revocations)


async def told(bench: Bench) -> list[dict[str, Any]]:
    entries = await bench.stores.keystore.read(None, keystore.list_ledger)
    return [msgspec.json.decode(one.detail) for one in entries if one.entry == "revocation"]


def refreshes(bench: Bench) -> int:
    return bench.server.requests["token.refresh_token"]


@pytest.mark.parametrize("provider", ["local", "yandex"])
async def test_a_refresh_after_the_revocation_is_tried_and_refused(bench: Bench, provider: str) -> None:
    mailbox_id = await forget(bench, provider)
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    assert await told(bench) == [{"outcome": "revoked", "attempts": 1, "refresh_after": "refused"}]
    assert await waiting(bench) == []
    assert refreshes(bench) == 1
    assert bench.server.grants.living_grants(ADDRESS) == 0


async def test_a_provider_that_says_revoked_and_gives_tokens_is_asked_again_with_those(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox_id = await forget(bench)
    before = read_revocable(bench.keys.unwrap_token(bench.account_id, mailbox_id, (await waiting(bench))[0].wrapped))
    with monkeypatch.context() as lying:
        lying.setattr(bench.server.grants, "revoke_token", lambda *_args, **_kwargs: None)
        await revoker(bench).revoke(bench.account_id, mailbox_id)
    (kept,) = await waiting(bench)
    grant = read_revocable(bench.keys.unwrap_token(bench.account_id, mailbox_id, kept.wrapped))
    assert await told(bench) == []
    assert kept.attempts == 1
    assert grant.access_token != before.access_token
    assert bench.server.grants.check(grant.access_token) is not None
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    assert await told(bench) == [{"outcome": "revoked", "attempts": 2, "refresh_after": "refused"}]
    assert bench.server.grants.living_grants(ADDRESS) == 0


async def test_a_grant_that_still_gives_tokens_when_the_time_is_over_is_not_called_revoked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox_id = await forget(bench)
    monkeypatch.setattr(bench.server.grants, "revoke_token", lambda *_args, **_kwargs: None)
    await bench.stores.keystore.transaction(None, _expire)
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    (detail,) = await told(bench)
    assert detail == {"outcome": "failed", "attempts": 1, "refresh_after": "accepted", "removal_page": PAGE}
    assert await waiting(bench) == []


@pytest.mark.parametrize("failure", [Failure.SERVER_ERROR, Failure.INVALID_CLIENT, Failure.INTERACTION_REQUIRED])
async def test_what_says_nothing_about_the_grant_is_no_proof(bench: Bench, failure: Failure) -> None:
    mailbox_id = await forget(bench)
    bench.server.fail_next("token", failure)
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    assert (await told(bench), len(await waiting(bench))) == ([], 1)
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    assert await told(bench) == [{"outcome": "revoked", "attempts": 2, "refresh_after": "refused"}]


async def test_the_databases_clock_says_when_it_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox_id = await forget(bench)
    bench.server.fail_next("token", Failure.SERVER_ERROR)
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    (kept,) = await waiting(bench)
    monkeypatch.setattr(ingestd.privacy.revocation, "datetime", DayAhead, raising=False)
    await revoker(bench).revoke_due()
    assert await waiting(bench) == [kept]


async def test_without_a_refresh_token_there_is_nothing_to_try(bench: Bench) -> None:
    mailbox_id = await forget(bench, refresh_token=None)
    await revoker(bench).revoke(bench.account_id, mailbox_id)
    assert await told(bench) == [{"outcome": "revoked", "attempts": 1, "refresh_after": "not_tried"}]
    assert refreshes(bench) == 0


async def test_where_nothing_can_be_revoked_the_owners_page_is_named_and_no_grant_lengthened(
    stores: Stores, tmp_path: Path
) -> None:
    async with running_bench(stores, make_certificates(tmp_path)) as bench:
        mailbox_id = await forget(bench, "microsoft")
        await revoker(bench).revoke(bench.account_id, mailbox_id)
        assert await told(bench) == [
            {"outcome": "unsupported", "attempts": 1, "refresh_after": "not_tried", "removal_page": PAGE}
        ]
        assert refreshes(bench) == 0


async def test_a_provider_tells_of_news_no_more_before_the_grant_is_gone(bench: Bench) -> None:
    """With its last access token; where that is dead, with another."""
    mailbox_id = await forget(bench, access_token="dead", read_way="gmail")
    seen: list[str] = []

    async def end_push(provider: str, record: RevocableRecord, tokens: TokenSource) -> None:
        first = await tokens()
        assert (provider, record.read_way, first.value) == ("local", "gmail", "dead")
        fresh = await tokens(rejected=first.value)
        seen.append(fresh.value)
        assert bench.server.grants.check(fresh.value) is not None

    await Revoker(bench.stores.keystore, bench.keys, bench.clients, end_push=end_push).revoke(
        bench.account_id, mailbox_id
    )
    assert len(seen) == 1
    assert bench.server.grants.check(seen[0]) is None
    assert await told(bench) == [{"outcome": "revoked", "attempts": 1, "refresh_after": "refused"}]


async def test_an_application_gets_another_token_to_end_what_is_told(stores: Stores, tmp_path: Path) -> None:
    """That lengthens no grant, as there is none."""
    async with running_bench(stores, make_certificates(tmp_path)) as bench:
        request = LinkRequest(provider="organisation", mailbox=ADDRESS)
        linked = (await bench.linking.start(bench.account_id, request)).mailbox_id
        mailbox_id = await forget_linked(bench, linked, "organisation", access_token="dead", read_way="graph")
        seen: list[str] = []

        async def end_push(_provider: str, _record: RevocableRecord, tokens: TokenSource) -> None:
            seen.append((await tokens(rejected=(await tokens()).value)).value)

        made = Revoker(bench.stores.keystore, bench.keys, bench.clients, end_push=end_push)
        await made.revoke(bench.account_id, mailbox_id)
        assert len(seen) == 1
        assert bench.server.check(seen[0]) is not None
        assert await told(bench) == [
            {"outcome": "nothing_to_revoke", "attempts": 1, "refresh_after": "no_refresh_token"}
        ]


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_provider_that_does_not_stop_telling_keeps_no_grant_from_being_revoked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("ingestd.privacy.revocation._END_PUSH_SECONDS", 0.05)

    async def end_push(_provider: str, _record: RevocableRecord, _tokens: TokenSource) -> None:
        if hangs:
            await asyncio.Event().wait()
        raise KeyError("a defect")

    mailbox_id = await forget(bench, read_way="graph", subscription_id="s")
    await Revoker(bench.stores.keystore, bench.keys, bench.clients, end_push=end_push).revoke(
        bench.account_id, mailbox_id
    )
    assert (await told(bench))[-1]["outcome"] == "revoked"


def _expire(conn: Connection) -> None:
    conn.execute(update(revocations).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
