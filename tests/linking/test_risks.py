"""What will end the access to a mailbox: seen in time, said in words, told once, and over when it is cured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from config import Provider, Settings
from config.presets import PRESETS
from config.providers import GenericProvider, resolve
from ingestd.linking.foresight import Foreseen, Foresight, foreseen
from ingestd.linking.risk_words import WORDS, explain_risk
from ingestd.linking.risks import Risk, Threat, risks_of
from ingestd.linking.tokens import read_tokens
from storage import access_warnings, events, grants
from storage.access_warnings import Access
from storage.mailboxes import MailboxState
from storage.tables import grants as grants_table
from storage.types import new_id
from tests.linking.bench import ADDRESS, OTHER, Bench, running_bench
from tests.stores import Stores

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
GMAIL = ("openid", "https://www.googleapis.com/auth/userinfo.email", "https://mail.google.com/")


def provider(kind: str, **oauth: Any) -> Provider:
    model: type[GenericProvider] = PRESETS[kind]
    values = {"kind": kind, "oauth": {"client_id": "c", "client_secret": "s", **oauth}}
    return resolve("work", model.model_validate(values), sent_wait_seconds=1)


def access(**changes: Any) -> Access:
    values: dict[str, Any] = {
        "account_id": new_id(),
        "mailbox_id": new_id(),
        "provider": "work",
        "state": MailboxState.ACTIVE,
        "refreshed_at": NOW - timedelta(minutes=30),
        "scopes": None,
        "refresh_ends_at": None,
    }
    return Access(**{**values, **changes})


def risks(one: Provider, given: Access, at: datetime = NOW) -> Mapping[Risk, Threat]:
    return risks_of(one, given, at, warning_days=30)


@pytest.mark.parametrize("kind", PRESETS)
def test_a_fresh_grant_of_a_configured_provider_is_at_no_risk(kind: str) -> None:
    assert risks(provider(kind), access()) == {}


@pytest.mark.parametrize(("days", "warned"), [(31, False), (30, True), (1, True), (-3, True)])
def test_a_secret_is_warned_of_from_a_month_before_its_last_day(days: int, *, warned: bool) -> None:
    one = provider("microsoft", client_secret_expires_at=NOW.date() + timedelta(days=days))
    assert (Risk.CLIENT_SECRET_EXPIRING in risks(one, access())) is warned


@pytest.mark.parametrize(
    ("kind", "days"), [("google", 180), ("microsoft", 90), ("yandex", 365), ("mailru", None), ("fastmail", None)]
)
def test_an_unused_grant_is_warned_of_before_its_provider_ends_it(kind: str, days: int | None) -> None:
    one = provider(kind)
    if days is None:
        assert risks(one, access(refreshed_at=NOW - timedelta(days=3000))) == {}
        return
    assert risks(one, access(refreshed_at=NOW - timedelta(days=days - 31))) == {}
    given = access(refreshed_at=NOW - timedelta(days=days - 29))
    assert risks(one, given) == {Risk.GRANT_IDLE: Threat(NOW + timedelta(days=29))}


def test_a_short_life_is_no_warning_from_its_first_day_on() -> None:
    one = provider("microsoft", refresh_idle_days=10)
    assert risks(one, access(refreshed_at=NOW - timedelta(days=4))) == {}
    assert set(risks(one, access(refreshed_at=NOW - timedelta(days=6)))) == {Risk.GRANT_IDLE}


def test_an_application_in_testing_is_known_by_the_setting_or_by_the_end_of_googles_tokens() -> None:
    ends_at = NOW + timedelta(days=6)
    seen = access(refresh_ends_at=ends_at)
    assert risks(provider("google", testing=True), access()) == {Risk.APP_IN_TESTING: Threat()}
    assert risks(provider("google"), seen) == {Risk.APP_IN_TESTING: Threat(ends_at)}
    # Elsewhere the same answer means no more than it says.
    assert risks(provider("yandex"), seen) == {Risk.GRANT_ENDING: Threat(ends_at)}
    assert risks(provider("google"), access(refresh_ends_at=NOW + timedelta(days=200))) == {}


def test_scopes_that_are_missing_are_told_by_their_names() -> None:
    assert risks(provider("google"), access(scopes=GMAIL)) == {}
    assert risks(provider("google"), access(scopes=GMAIL[:2])) == {Risk.SCOPE_MISSING: Threat(scopes=GMAIL[2:])}
    # Microsoft's answers spell the resource as they like, and name no offline_access.
    graph = ("Mail.ReadWrite", "Mail.Send", "offline_access", "User.Read")
    answer = ("https://graph.microsoft.com/mail.readwrite", "https://graph.microsoft.com/User.Read")
    found = risks(provider("microsoft", scopes=graph), access(scopes=answer))
    assert found == {Risk.SCOPE_MISSING: Threat(scopes=("Mail.Send",))}


def test_a_grant_that_is_gone_is_at_no_risk_but_the_application_is() -> None:
    one = provider("google", publisher_verified=False, testing=True)
    given = access(refreshed_at=NOW - timedelta(days=200), scopes=(), state=MailboxState.REAUTH_REQUIRED)
    assert set(risks(one, given)) == {Risk.PUBLISHER_UNVERIFIED}


@pytest.mark.parametrize("kind", ["google", "microsoft", "yandex"])
@pytest.mark.parametrize("risk", Risk)
def test_each_risk_has_words_and_a_cure(kind: str, risk: Risk) -> None:
    assert set(WORDS) == set(Risk)
    mailbox_id = new_id()
    for ends_at in (None, NOW - timedelta(days=1), NOW + timedelta(days=1)):
        threat = Threat(ends_at, ("mail",))
        words = explain_risk(risk, threat, provider(kind), mailbox_id, NOW)
        assert words.meaning
        assert words.cure
        assert "{" not in words.meaning + words.cure


def test_the_end_of_a_refresh_token_is_read_from_the_answer() -> None:
    answer = {"access_token": "a", "refresh_token": "r", "refresh_token_expires_in": 604_799}
    assert read_tokens(answer, NOW).refresh_ends_at == NOW + timedelta(seconds=604_799)
    assert read_tokens({"access_token": "a", "refresh_token_expires_in": "soon"}, NOW).refresh_ends_at is None


# -- told --------------------------------------------------------------------------------------------


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    async with running_bench(stores) as made:
        yield made


def settings_with(providers: Mapping[str, GenericProvider]) -> Settings:
    return Settings.model_validate({"keys": {"master_key": "A" * 43 + "="}, "providers": providers})


def configured(bench: Bench, **oauth: Any) -> Settings:
    """Return settings with the provider that the bench links with."""
    issuer = bench.providers["local"].oauth.issuer
    server = {"host": "mail.example.com"}
    given = {"issuer": issuer, "client_id": "c", "client_secret": "s", "scopes": ("openid", "email", "mail"), **oauth}
    one = GenericProvider.model_validate({"kind": "generic", "imap": server, "smtp": server, "oauth": given})
    return settings_with({"local": one})


async def told(bench: Bench, mailbox_id: UUID) -> list[tuple[str, str | None]]:
    log = await bench.stores.content.read(bench.account_id, events.read_log, after=0, limit=100)
    found = [
        one for one in log.events if one.mailbox_id == mailbox_id and one.type.startswith("mailbox.access_warning")
    ]
    return [(one.type.removeprefix("mailbox.access_warning"), one.detail) for one in found]


async def seen(bench: Bench, settings: Settings, mailbox_id: UUID) -> list[Foreseen]:
    (found,) = await foreseen(bench.stores.content, settings, bench.account_id, [mailbox_id])
    return found


async def counted(bench: Bench) -> Mapping[str, int]:
    return await bench.stores.content.read(None, access_warnings.count_by_risk)


async def test_a_risk_is_told_once_by_whoever_looks_and_once_more_when_it_is_over(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    settings = [configured(bench, client_secret_expires_at=date(2020, 1, 1))]
    watchers = [Foresight(bench.stores.content, lambda: settings[-1]) for _ in range(2)]
    assert [one.since for one in await seen(bench, settings[-1], mailbox_id)] == [None]
    for one in (*watchers, *watchers):
        await one.look()
    assert await told(bench, mailbox_id) == [("", "client_secret_expiring")]
    assert await counted(bench) == {"client_secret_expiring": 1}
    (now_seen,) = await seen(bench, settings[-1], mailbox_id)
    assert now_seen.since is not None
    assert "2020-01-01" in now_seen.meaning
    settings.append(configured(bench, client_secret_expires_at=date(2999, 1, 1)))
    for one in watchers:
        await one.look()
    assert await told(bench, mailbox_id) == [("", "client_secret_expiring"), ("_ended", "client_secret_expiring")]
    assert await counted(bench) == {}
    assert await seen(bench, settings[-1], mailbox_id) == []


async def test_a_scope_that_the_configuration_asks_for_anew_is_missing_until_the_mailbox_is_linked_again(
    bench: Bench,
) -> None:
    mailbox_id, other = await bench.consent(ADDRESS), await bench.consent(OTHER)
    settings = configured(bench, scopes=("openid", "email", "mail", "send"))
    foresight = Foresight(bench.stores.content, lambda: settings)
    await foresight.look()
    assert await told(bench, mailbox_id) == await told(bench, other) == [("", "scope_missing")]

    def grant(conn: Connection, account_id: UUID) -> None:
        grants.put_grant(conn, account_id, mailbox_id, None, b"sealed", scopes=("mail", "send"))

    await bench.stores.content.transaction(bench.account_id, grant)
    await foresight.look()
    assert (await told(bench, mailbox_id))[1:] == [("_ended", "scope_missing")]
    assert len(await told(bench, other)) == 1


async def test_a_refresh_ends_the_warning_of_an_unused_grant_and_keeps_what_is_granted(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    settings = configured(bench, refresh_idle_days=90)
    foresight = Foresight(bench.stores.content, lambda: settings)
    before = await bench.stores.content.read(bench.account_id, grants.get_grant, mailbox_id)
    assert before.scopes is not None
    assert "mail" in before.scopes

    def age(conn: Connection, _: UUID) -> None:
        conn.execute(update(grants_table).values(refreshed_at=datetime.now(UTC) - timedelta(days=80)))

    await bench.stores.content.transaction(bench.account_id, age)
    await foresight.look()
    assert await told(bench, mailbox_id) == [("", "grant_idle")]
    await bench.keeper.renew(bench.keeper.source(bench.account_id, mailbox_id, "local"))
    await foresight.look()
    assert await told(bench, mailbox_id) == [("", "grant_idle"), ("_ended", "grant_idle")]
    after = await bench.stores.content.read(bench.account_id, grants.get_grant, mailbox_id)
    assert after.scopes is not None
    assert set(after.scopes) == set(before.scopes)


async def test_nothing_is_over_because_a_provider_is_configured_no_more(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    settings = [configured(bench, publisher_verified=False)]
    foresight = Foresight(bench.stores.content, lambda: settings[-1])
    await foresight.look()
    settings.append(settings_with({}))
    await foresight.look()
    assert await told(bench, mailbox_id) == [("", "publisher_unverified")]
    assert await seen(bench, settings[-1], mailbox_id) == []


def test_what_a_shared_mailbox_lacks_is_warned_of_and_what_is_nobodys_is_not() -> None:
    graph = "https://graph.microsoft.com/"
    values = {"kind": "microsoft", "shared_mailboxes": True, "oauth": {"client_id": "c", "client_secret": "s"}}
    shared = resolve("work", PRESETS["microsoft"].model_validate(values), sent_wait_seconds=1)
    assert risks(shared, access(scopes=(f"{graph}Mail.ReadWrite.Shared", f"{graph}Mail.Send.Shared"))) == {}
    lacks = {Risk.SCOPE_MISSING: Threat(scopes=(f"{graph}Mail.Send.Shared",))}
    assert risks(shared, access(scopes=("Mail.ReadWrite.Shared",))) == lacks
    # A mailbox of a user's own that was linked before goes on to be good.
    assert risks(shared, access(scopes=("Mail.ReadWrite", "Mail.Send"))) == {}
    named = {"flow": "application", "tenant": "example.com", "mailboxes": {ADDRESS: "*"}}
    old = access(refreshed_at=NOW - timedelta(days=300), scopes=(f"{graph}.default",))
    assert risks(provider("microsoft", **named), old) == {}, "there is no refresh token that could lie idle"
