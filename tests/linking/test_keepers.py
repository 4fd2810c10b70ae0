"""Two processes that want a fresh token of one mailbox: the refresh token is used once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from connectors.base import PermanentError, TemporaryError, Trouble
from ingestd.demo.authserver import Failure
from ingestd.linking.keeper import TokenKeeper
from ingestd.telemetry.metrics import Metrics
from storage import grants
from tests.linking.bench import ADDRESS, Bench, running_bench
from tests.stores import Stores


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    async with running_bench(stores) as made:
        yield made


def another(bench: Bench, *, seconds: float = 20) -> TokenKeeper:
    """The keeper of another process."""
    return TokenKeeper(
        bench.stores.content,
        bench.keys,
        bench.clients,
        Metrics(version="0", python_version="3"),
        refresh_ahead_seconds=60,
        renewal_seconds_max=seconds,
    )


async def claim(bench: Bench, mailbox_id: UUID, *, seconds: float) -> None:
    """Begin a refresh that nobody ends."""
    assert await bench.stores.content.transaction(
        bench.account_id, grants.claim_renewal, mailbox_id, version=1, seconds=seconds
    )


async def test_two_keepers_refresh_once_and_both_have_the_token(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    old = (await bench.grant(mailbox_id)).access_token
    sources = [one.source(bench.account_id, mailbox_id, "local") for one in (bench.keeper, another(bench))]
    fresh = {one.value for one in await asyncio.gather(*(source(rejected=old) for source in sources))}
    assert fresh == {(await bench.grant(mailbox_id)).access_token}
    assert bench.server.requests["token.refresh_token"] == 1


async def test_a_refresh_that_failed_leaves_the_next_one_to_whoever_asks(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    old = (await bench.grant(mailbox_id)).access_token
    bench.server.fail_next("token", Failure.SERVER_ERROR)
    with pytest.raises(TemporaryError):
        await bench.keeper.source(bench.account_id, mailbox_id, "local")(rejected=old)
    async with asyncio.timeout(5):
        fresh = await another(bench).source(bench.account_id, mailbox_id, "local")(rejected=old)
    assert fresh.value != old


async def test_a_process_that_died_in_a_refresh_blocks_the_others_for_a_bounded_time(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    old = (await bench.grant(mailbox_id)).access_token
    await claim(bench, mailbox_id, seconds=1)
    fresh = await another(bench).source(bench.account_id, mailbox_id, "local")(rejected=old)
    assert fresh.value != old


async def test_a_claim_that_never_ends_is_no_verdict_about_the_grant(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    old = (await bench.grant(mailbox_id)).access_token
    await claim(bench, mailbox_id, seconds=600)
    with pytest.raises(TemporaryError):
        await another(bench, seconds=0.2).source(bench.account_id, mailbox_id, "local")(rejected=old)
    assert bench.server.requests["token.refresh_token"] == 0


async def test_a_verdict_about_a_token_that_was_replaced_meanwhile_ends_nothing(bench: Bench) -> None:
    """One process is so slow that its claim runs out, and the other uses the token up."""
    mailbox_id = await bench.consent(ADDRESS)
    old = (await bench.grant(mailbox_id)).access_token
    slow, quick = another(bench, seconds=0.1), another(bench)
    asked = bench.server.requests["token"]
    bench.server.fail_next("token", Failure.HANG)
    late = asyncio.create_task(slow.source(bench.account_id, mailbox_id, "local")(rejected=old))
    async with asyncio.timeout(10):
        while bench.server.requests["token"] == asked:
            await asyncio.sleep(0.01)
        fresh = await quick.source(bench.account_id, mailbox_id, "local")(rejected=old)
    assert fresh.value == (await bench.grant(mailbox_id)).access_token
    bench.server.release()
    with pytest.raises(TemporaryError):
        await late


async def test_a_grant_without_refresh_token_is_not_called_revoked(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    await bench.put_grant(mailbox_id, refresh_token=None)
    with pytest.raises(PermanentError) as caught:
        await bench.keeper.source(bench.account_id, mailbox_id, "local")(
            rejected=(await bench.grant(mailbox_id)).access_token
        )
    assert caught.value.trouble is Trouble.CONSENT_OR_MFA
