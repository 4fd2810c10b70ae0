"""Device codes of a provider that speaks RFC 8628, and the waiting for their owners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from ingestd.demo.authserver import Failure
from ingestd.linking.client import DeviceCode, Pending
from ingestd.linking.device import await_consent
from ingestd.linking.errors import (
    ClientRejected,
    CodeRefused,
    ConsentNeeded,
    LinkingError,
    NoDeviceCode,
    RequestNotSent,
    TokenEndpointBusy,
    TokenEndpointDown,
)
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.linking.oauth import OAuthClient, read_device_code
from ingestd.linking.tokens import TokenSet
from tests.linking.bench import ADDRESS, Bench, running_bench
from tests.linking.conftest import ALICE, Setting
from tests.stores import Stores

TOKENS = TokenSet("a", "r", None, None)


@dataclass
class Clock:
    """Time that passes only by waiting; what is to happen while somebody waits."""

    seconds: float = 0.0
    waited: list[float] = field(default_factory=list)
    then: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.waited.append(seconds)
        self.then()


class Answering(OAuthClient):
    """A client whose provider answers what the test says, in turn."""

    def __init__(self, *answers: TokenSet | Pending | LinkingError) -> None:
        self.answers = list(answers)

    async def ask_device(self, code: DeviceCode) -> TokenSet | Pending:
        answer = self.answers.pop(0)
        if isinstance(answer, LinkingError):
            raise answer
        return answer


def code(*, expires: float = 900, interval: float = 5) -> DeviceCode:
    return DeviceCode("ABCD", "https://id.example.com/device", expires, interval, {})


async def test_a_code_is_asked_for_until_its_owner_consents(setting: Setting) -> None:
    given = await setting.client.start_device()
    assert given.address == f"{setting.server.issuer}/device"
    assert given.interval_seconds == 5
    clock = Clock()
    clock.then = lambda: setting.server.approve_device(given.user_code, ALICE) if len(clock.waited) == 3 else None
    tokens = await await_consent(setting.client, given, sleep=clock.sleep, now=clock.now)
    assert clock.waited == [5, 5, 5]
    setting.client.require_all(tokens)
    assert (await setting.client.identity(tokens, None)).address == ALICE
    with pytest.raises(CodeRefused):  # it was good once
        await setting.client.ask_device(given)


async def test_the_owners_no(setting: Setting) -> None:
    given = await setting.client.start_device()
    setting.server.refuse_device(given.user_code)
    with pytest.raises(ConsentNeeded):
        await setting.client.ask_device(given)


async def test_a_provider_without_device_codes(setting: Setting) -> None:
    with pytest.raises(NoDeviceCode):
        await setting.client_with(device=None).start_device()
    setting.server.fail_next("device", Failure.INVALID_CLIENT)
    with pytest.raises(ClientRejected):
        await setting.client.start_device()


async def test_the_provider_sets_the_pace() -> None:
    clock = Clock()
    client = Answering(
        Pending.WAIT,
        Pending.SLOW_DOWN,
        Pending.WAIT,
        TokenEndpointDown("token: no whole answer"),
        RequestNotSent("token: no connection"),
        TokenEndpointBusy("token: status 429", retry_after=50),
        TOKENS,
    )
    assert await await_consent(client, code(), sleep=clock.sleep, now=clock.now) is TOKENS
    assert clock.waited == [5, 5, 10, 10, 20, 40, 50]


async def test_the_time_of_a_code_is_limited() -> None:
    clock = Clock()
    client = Answering(*[Pending.WAIT] * 100)
    with pytest.raises(CodeRefused):
        await await_consent(client, code(expires=60), sleep=clock.sleep, now=clock.now)
    assert 50 <= clock.seconds < 60


@pytest.mark.parametrize(
    "changes",
    [
        {"device_code": None},
        {"user_code": ""},
        {"user_code": "A\x1b[2J"},
        {"user_code": "A" * 600},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": 5},
    ],
)
def test_what_people_would_read_is_looked_at(changes: dict[str, object]) -> None:
    good = {"device_code": "d", "user_code": "U", "verification_uri": "https://id.example.com/device"}
    assert read_device_code(good).user_code == "U"
    with pytest.raises(TokenEndpointDown):
        read_device_code(good | changes)


@pytest.mark.parametrize(("value", "expected"), [(7, 7), (1e9, 60), ("5", 5), (-1, 5), (True, 5), (float("nan"), 5)])
def test_the_interval_is_bounded(value: object, expected: float) -> None:
    good = {"device_code": "d", "user_code": "U", "verification_url": "https://id.example.com/device"}
    assert read_device_code(good | {"interval": value}).interval_seconds == expected


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    async with running_bench(stores) as made:
        made.server.device_interval_seconds = 1
        yield made


async def test_a_mailbox_is_linked_by_a_device_code_and_kept(bench: Bench) -> None:
    started = await bench.linking.start_device(bench.account_id, LinkRequest(provider="local"))
    bench.server.approve_device(started.code.user_code, ADDRESS)
    mailbox_id = await asyncio.wait_for(bench.linking.finish_device(started), 30)
    assert mailbox_id == started.mailbox_id
    kept = await bench.grant(mailbox_id)
    assert kept.by_device_code
    await bench.keeper.source(bench.account_id, mailbox_id, "local")(rejected=kept.access_token)
    renewed = await bench.grant(mailbox_id)
    assert (renewed.by_device_code, renewed.access_token != kept.access_token) == (True, True)


async def test_a_code_that_its_owner_refuses_links_nothing(bench: Bench) -> None:
    started = await bench.linking.start_device(bench.account_id, LinkRequest(provider="local"))
    bench.server.refuse_device(started.code.user_code)
    with pytest.raises(LinkRefused, match="consent_refused"):
        await asyncio.wait_for(bench.linking.finish_device(started), 30)


async def test_a_provider_that_gives_no_codes_says_so(bench: Bench) -> None:
    with pytest.raises(LinkRefused, match="no_device_code"):
        await bench.linking.start_device(bench.account_id, LinkRequest(provider="yandex"))
