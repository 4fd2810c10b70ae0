"""Who is suspended for long is warned, each time once, and erased in the end; a hold keeps everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from config.settings import Retention, SuspendedRule
from ingestd import account_states
from ingestd.privacy.account_retention import AccountRetention
from ingestd.privacy.requests import request_close
from ingestd.privacy.rules import Facts, Rule, Rules, decide
from storage import accounts, closures
from storage.accounts import AccountStatus
from storage.errors import Conflict
from storage.tables import accounts as accounts_table
from storage.tables import events
from tests.backup.desk import configure, done
from tests.office import Office, mail
from tests.stores import Stores, StoreUrls
from tests.test_maintenance import maintenance

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = Rules([Rule(0, 92), Rule(100_000, 31)], (30, 7, 1))


def test_the_defaults_are_three_months_and_one_for_the_large() -> None:
    assert Retention().suspended == (SuspendedRule(tickets_min=0, days=92), SuspendedRule(tickets_min=100_000, days=31))
    assert Retention().warn_days == (30, 7, 1)


def _days(tickets: int, *, every: timedelta = DAY, until: int = 200, rules: Rules = RULES) -> Mapping[str, float]:
    """Live through the days; return on which of them what happened first."""
    warned: dict[int, datetime] = {}
    happened: dict[str, float] = {}
    now = BEGIN
    while now < BEGIN + until * DAY:
        verdict = decide(Facts(BEGIN, tickets, warned=warned), rules, now)
        if verdict.warn is not None:
            assert verdict.warn not in warned, "each warning once"
            warned[verdict.warn] = now
            happened[f"warned {verdict.warn}"] = (now - BEGIN) / DAY
        if verdict.erase:
            return {**happened, "erased": (now - BEGIN) / DAY}
        now += every
    return happened


@pytest.mark.parametrize(
    ("tickets", "expected"),
    [
        (99_999, {"warned 30": 62, "warned 7": 85, "warned 1": 91, "erased": 92}),
        (100_000, {"warned 30": 1, "warned 7": 24, "warned 1": 30, "erased": 31}),
    ],
)
def test_warnings_come_before(tickets: int, expected: Mapping[str, float]) -> None:
    assert _days(tickets) == expected


def test_who_was_never_warned_is_warned_first() -> None:
    """The daemon was away for long, or the rule is new."""
    late = decide(Facts(BEGIN, 1), RULES, BEGIN + 400 * DAY)
    assert (late.warn, late.erase, late.erase_at) == (30, False, BEGIN + 430 * DAY)
    away = decide(Facts(BEGIN, 1, warned={30: BEGIN + 62 * DAY}), RULES, BEGIN + 100 * DAY)
    assert (away.warn, away.erase, away.erase_at) == (1, False, BEGIN + 101 * DAY)


def test_no_rule_and_no_warning() -> None:
    assert decide(Facts(BEGIN, 1), Rules([], (30,)), BEGIN + 9999 * DAY).erase_at is None
    assert decide(Facts(BEGIN, 1), Rules([Rule(5, 1)], ()), BEGIN + 9999 * DAY).erase_at is None
    assert decide(Facts(BEGIN, 5), Rules([Rule(5, 1)], ()), BEGIN + DAY).erase


@given(
    every=st.floats(0.2, 60),
    days=st.lists(st.integers(1, 120), min_size=1, max_size=4, unique=True),
    warn_days=st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_nobody_is_erased_without_notice(every: float, days: list[int], warn_days: list[int]) -> None:
    """However seldom the daemon looks, and whatever the rules are."""
    rules = Rules([Rule(0, one) for one in days], warn_days)
    happened = _days(1, every=every * DAY, until=1000, rules=rules)
    erased, warned = happened["erased"], {name: when for name, when in happened.items() if name != "erased"}
    assert erased >= min(days)
    assert erased - min(warned.values()) >= max(warn_days) - 1e-6
    assert erased - max(warned.values()) >= min(warn_days) - 1e-6


@pytest.fixture
async def office(stores: Stores) -> AsyncIterator[Office]:
    office = await Office.open(stores)
    await office.take(mail())
    yield office
    await office.check()


async def _suspend(office: Office) -> datetime:
    await office.stores.content.transaction(office.held.account_id, account_states.suspend)
    return (await office.stores.content.read(office.held.account_id, accounts.get_account)).since


async def _warnings(office: Office) -> list[str]:
    def read(conn: Connection) -> list[str]:
        told = select(events.c.detail).where(events.c.type == "account.erasure_warning").order_by(events.c.sequence)
        return [str(one) for one in conn.execute(told).scalars()]

    return await office.stores.content.read(None, read)


async def test_an_account_is_warned_and_erased_by_the_clock(office: Office) -> None:
    content, account_id = office.stores.content, office.held.account_id
    engine = AccountRetention(content, lambda: RULES)
    assert await engine.run(BEGIN) == []
    since = await _suspend(office)
    assert [one.word for one in await engine.run(since + 61 * DAY)] == ["wait"]
    for day, left in ((62, "30"), (85, "7"), (91, "1")):
        # Two replicas look at the same time, and again a little later.
        await asyncio.gather(engine.run(since + day * DAY), engine.run(since + day * DAY))
        await engine.run(since + (day + 0.1) * DAY)
        assert (await _warnings(office))[-1] == left
    assert await _warnings(office) == ["30", "7", "1"]
    await office.check()
    # What is only planned is not done.
    (planned,) = await engine.plan(since + 93 * DAY)
    assert (planned.word, planned.account.tickets) == ("erase", 1)
    assert await content.read(None, _statuses) == ["suspended"]

    await asyncio.gather(engine.run(since + 93 * DAY), engine.run(since + 93 * DAY))
    assert await content.read(None, _statuses) == ["closing"]
    await maintenance(office).erase()
    assert await content.read(None, _statuses) == ["closed"]
    assert await content.read(account_id, closures.count_rows) == {}


async def test_a_hold_keeps_it_and_the_notice_begins_anew(office: Office) -> None:
    content, account_id = office.stores.content, office.held.account_id
    engine = AccountRetention(content, lambda: RULES)
    since = await _suspend(office)
    await engine.run(since + 91 * DAY)
    assert await content.transaction(account_id, account_states.hold)
    assert not await content.transaction(account_id, account_states.hold)
    assert [one.word for one in await engine.run(since + 900 * DAY)] == ["held"]
    with pytest.raises(Conflict, match="held"):
        await content.transaction(account_id, request_close, "operator")
    await office.check()

    assert await content.transaction(account_id, account_states.release)
    (planned,) = await engine.run(since + 901 * DAY)
    assert (planned.word, planned.verdict.erase_at) == ("warn", since + 931 * DAY)
    assert await _warnings(office) == ["30", "30"]
    # Renewed at last: the warnings are over, and the next suspension begins with none.
    await content.transaction(account_id, account_states.resume)
    assert await engine.run(since + 999 * DAY) == []
    await office.check()


async def test_who_was_resumed_meanwhile_is_left_alone(office: Office) -> None:
    """Between the look and the act; the act looks again."""
    content, account_id = office.stores.content, office.held.account_id
    engine = AccountRetention(content, lambda: Rules([Rule(0, 1)], ()))
    since = await _suspend(office)
    planned = await engine.plan(since + 2 * DAY)
    await content.transaction(account_id, account_states.resume)
    await engine._do(planned[0].account.account_id, since + 2 * DAY)
    assert await content.read(None, _statuses) == ["active"]


def _statuses(conn: Connection) -> list[str]:
    return [one.status.value for one in accounts.list_accounts(conn)]


def test_the_command_shows_and_does_it(store_urls: StoreUrls, tmp_path: Path) -> None:
    async def fill() -> UUID:
        stores = await Stores.open(store_urls)
        try:
            office = await Office.open(stores)
            await _suspend(office)

            def age(conn: Connection) -> None:
                conn.execute(update(accounts_table).values(status_since=datetime.now(UTC) - 80 * DAY))

            await stores.content.transaction(None, age)
            return office.held.account_id
        finally:
            await stores.close()

    account_id = str(asyncio.run(fill()))
    config = configure(tmp_path / "desk", store_urls)
    for _ in range(2):
        (row,) = json.loads(done(config, "retention", "--dry-run", "--json"))
        assert (row["account"], row["now"], row["warned"]) == (account_id, "warn: 30 days", None)
    assert "warn: 30 days" in done(config, "retention", "--dry-run")
    done(config, "retention")
    (row,) = json.loads(done(config, "retention", "--dry-run", "--json", "--at", "2100-01-01"))
    assert (row["now"], row["warned"]) == ("warn: 1 days", 30)
    assert json.loads(done(config, "account", "show", account_id, "--json"))["erased_at"] is not None
    assert done(config, "account", "hold", account_id) == "held\n"
    (row,) = json.loads(done(config, "retention", "--json"))
    assert (row["now"], row["erased_at"]) == ("held", None)
    (shown,) = json.loads(done(config, "account", "list", "--json"))
    assert (shown["status"], bool(shown["held"])) == ("suspended", True)
    assert done(config, "account", "release", account_id) == "released\n"
    assert done(config, "account", "set", account_id, "--solved-days", "365") == "set\n"
    shown = json.loads(done(config, "account", "show", account_id, "--json"))
    assert (bool(shown["solved_kept_since"]), shown["solved_over_age"]) == (True, 0)
    done(config, "account", "set", account_id, "--solved-days", "default")
    assert json.loads(done(config, "account", "show", account_id, "--json"))["solved_kept_since"] is None


def test_statuses_are_known() -> None:
    assert {one.value for one in AccountStatus} == {one.value for one in account_states.MEANINGS}
