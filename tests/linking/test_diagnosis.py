"""Each verdict on a refused token, asked of the demo's authorization server in its providers' ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from connectors.base import AuthError, ConnectorError, PermanentError, RateLimited, TemporaryError, Trouble
from ingestd.demo.authserver import Failure
from ingestd.demo.certificates import make_certificates
from ingestd.linking.diagnosis import Diagnostician
from ingestd.records import MailboxRecord
from storage import mailboxes
from storage.types import new_id
from tests.linking.bench import ADDRESS, OTHER, Bench, running_bench
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long

ASKED = ["local", "yandex", "mailru"]
"""Providers that tell whose an access token is, each in its own way."""


@pytest.fixture
async def bench(stores: Stores, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(stores, make_certificates(tmp_path)) as made:
        yield made


async def verdict(bench: Bench, mailbox_id: UUID, provider: str) -> ConnectorError:
    asked = Diagnostician(bench.stores.content, bench.keys, bench.clients, bench.keeper)
    return await asked.why_refused(bench.account_id, mailbox_id, provider)


@pytest.mark.parametrize("provider", ASKED)
async def test_a_living_token_of_this_mailbox(bench: Bench, provider: str) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider=provider)
    found = await verdict(bench, mailbox_id, provider)
    assert isinstance(found, PermanentError)
    assert found.trouble is Trouble.PROTOCOL_DISABLED
    assert bench.server.requests["token.refresh_token"] == 0


@pytest.mark.parametrize("provider", ASKED)
async def test_a_living_token_of_another_mailbox(bench: Bench, provider: str) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider=provider)
    await bench.put_grant(mailbox_id, access_token=bench.server.issue(OTHER).access_token)
    assert (await verdict(bench, mailbox_id, provider)).trouble is Trouble.WRONG_MAILBOX


@pytest.mark.parametrize("provider", ASKED)
async def test_a_dead_token_of_a_living_grant(bench: Bench, provider: str) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider=provider)
    old = await bench.grant(mailbox_id)
    bench.server.expire_access_tokens(ADDRESS)
    found = await verdict(bench, mailbox_id, provider)
    assert isinstance(found, AuthError)
    assert found.trouble is Trouble.TOKEN_EXPIRED
    fresh = await bench.grant(mailbox_id)
    assert fresh.refresh_token != old.refresh_token  # rotated, and kept
    assert bench.server.check(fresh.access_token) is not None


@pytest.mark.parametrize("provider", ASKED)
async def test_only_the_token_endpoint_calls_a_grant_revoked(bench: Bench, provider: str) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider=provider)
    bench.server.revoke(ADDRESS)
    bench.server.fail_next("token", Failure.SERVER_ERROR)
    found = await verdict(bench, mailbox_id, provider)
    assert isinstance(found, TemporaryError)
    assert (await verdict(bench, mailbox_id, provider)).trouble is Trouble.GRANT_REVOKED


async def test_no_answer_says_nothing(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    bench.server.fail_next("userinfo", Failure.SERVER_ERROR, times=3)
    assert isinstance(await verdict(bench, mailbox_id, "local"), TemporaryError)
    bench.server.retry_after_seconds = 60
    bench.server.fail_next("userinfo", Failure.TOO_MANY_REQUESTS)
    found = await verdict(bench, mailbox_id, "local")
    assert isinstance(found, RateLimited)
    assert found.retry_after == 60
    bench.server.fail_next("userinfo", Failure.GARBAGE)
    assert isinstance(await verdict(bench, mailbox_id, "local"), TemporaryError)
    assert bench.server.requests["token.refresh_token"] == 0


async def test_where_userinfo_is_a_wrong_address_nothing_is_concluded(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    assert isinstance(await verdict(bench, mailbox_id, "blind"), TemporaryError)


async def test_what_the_token_endpoint_wants_is_told(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    bench.server.expire_access_tokens(ADDRESS)
    bench.server.fail_next("token", Failure.INTERACTION_REQUIRED)
    assert (await verdict(bench, mailbox_id, "local")).trouble is Trouble.CONSENT_OR_MFA
    bench.server.fail_next("token", Failure.INVALID_CLIENT)
    assert (await verdict(bench, mailbox_id, "local")).trouble is Trouble.ADMIN_BLOCKED


async def test_microsoft_tells_by_the_id_token_of_a_refresh(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="microsoft")
    old = await bench.grant(mailbox_id)
    assert (await verdict(bench, mailbox_id, "microsoft")).trouble is Trouble.PROTOCOL_DISABLED
    assert (await bench.grant(mailbox_id)).refresh_token != old.refresh_token
    bench.server.entra_error = 50173
    assert (await verdict(bench, mailbox_id, "microsoft")).trouble is Trouble.GRANT_REVOKED
    bench.server.entra_error = 90094
    assert (await verdict(bench, mailbox_id, "microsoft")).trouble is Trouble.ADMIN_BLOCKED
    bench.server.entra_error = 50076
    assert (await verdict(bench, mailbox_id, "microsoft")).trouble is Trouble.CONSENT_OR_MFA


async def test_microsofts_owner_was_renamed_or_is_another(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="microsoft")
    record = await bench.record(mailbox_id)
    await _put_record(bench, mailbox_id, msgspec.structs.replace(record, address="old@example.com"))
    found = await verdict(bench, mailbox_id, "microsoft")
    assert (found.trouble, "another address" in str(found)) == (Trouble.WRONG_MAILBOX, True)
    await _put_record(bench, mailbox_id, msgspec.structs.replace(record, subject="somebody"))
    assert "another mailbox" in str(await verdict(bench, mailbox_id, "microsoft"))


async def test_a_provider_or_mailbox_that_is_gone(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    assert (await verdict(bench, mailbox_id, "gone")).trouble is Trouble.ADMIN_BLOCKED
    assert isinstance(await verdict(bench, new_id(), "local"), AuthError)


async def _put_record(bench: Bench, mailbox_id: UUID, record: MailboxRecord) -> None:
    key = await bench.keys.mailbox(bench.account_id, mailbox_id)
    sealed = key.seal_record(MailboxRecord.place(mailbox_id), record)
    await bench.stores.content.transaction(bench.account_id, mailboxes.relink, mailbox_id, sealed)
