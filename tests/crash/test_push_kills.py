"""Graph tells of news, and the daemon is killed over a subscription: one of ours lives on, others end by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ingestd.demo import graph_push
from ingestd.demo.graph_push import Subscription
from ingestd.demo.graphprovider import GraphProvider
from ingestd.records import PushRecord
from storage import pushes
from tests.crash import campaign, story
from tests.crash.campaign import Iteration
from tests.crash.points import STAGE, Point
from tests.crash.world import Daemon, House, World, open_world, until
from tests.servers.postgres import PostgresServer
from tests.servers.process import free_port

TRANSACTIONS: Final = {"want", "take", "tell", "note_made", "note_renewed", "note_failed"}
SURE: Final = (
    Point("content", "take", "committed"),
    # It stands at Graph, and nobody here knows of it.
    Point("content", "note_made", "committing"),
    Point("content", "note_renewed", "committing"),
    Point("content", "note_failed", "committed"),
)
"""Where `make test` kills."""
_LIFETIME_MAX: Final = timedelta(days=3)
_NEVER: Final = "2100-01-01T00:00:00Z"


@dataclass
class Refusing:
    """Where the fake finds nobody: addresses that a notification cannot be posted to."""

    ports: set[int]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    refused, validates = Refusing(set()), graph_push._validates

    async def answer(url: str) -> bool:
        return not any(f":{port}/" in url for port in refused.ports) and await validates(url)

    monkeypatch.setattr(graph_push, "_validates", answer)
    return refused


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server: PostgresServer | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_world(request.param, tmp_path, server, houses_max=100, way="graph") as opened:
        yield opened


class Subscribed:
    """A house whose mailbox Graph tells of, and what stands there of its subscriptions."""

    def __init__(self, world: World, house: House, daemon: Daemon, refusing: Refusing) -> None:
        assert isinstance(world.provider, GraphProvider)
        self._provider = world.provider
        self._house = house
        self._daemon = daemon
        self._refusing = refusing
        self._port = free_port()
        text = house.config.read_text()
        for old, new in (
            (
                "listen_port: 0, public_url: http://127.0.0.1:8025",
                f"listen_port: {self._port}, public_url: {self._url}",
            ),
            ('"kind": "microsoft"', '"kind": "microsoft", "graph_push": "always"'),
            ("inbound:\n", "inbound:\n  push_backoff: {initial_seconds: 0.5, max_seconds: 1}\n"),
        ):
            assert old in text
            text = text.replace(old, new)
        house.config.write_text(text)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def tell(self) -> None:
        """A subscription is made, tells of news, is renewed, is removed and cannot be made, is made, is forgotten."""
        daemon = self._daemon
        try:
            daemon.stage("make")
            await daemon.start()
            await daemon.until(self._stands, "a subscription stands, and is known")

            daemon.stage("news")
            await self._provider.deliver(self._house.address, story.mails(self._house.address)[0])
            await daemon.until(self._has_a_ticket, "what was told of is read")
            await daemon.until(self._stands, "what was told is looked at")

            daemon.stage("renew")
            self._standing()[await self._known_id()].fields["expirationDateTime"] = _NEVER
            await self._lifecycle("reauthorizationRequired", self._is_renewed, "it is renewed")
            # Where a kill came over it, that was told twice.
            await daemon.until(self._stands, "what was told is looked at")

            daemon.stage("fail")
            self._refusing.ports.add(self._port)
            await self._lifecycle("subscriptionRemoved", self._has_failed, "it cannot be made")
            self._refusing.ports.discard(self._port)
            await daemon.until(self._stands, "another one stands, and is known")
            await story.check_store(self._house)

            known, unknown = await self._known_id(), self._standing()
            unknown.pop(known)
            at = daemon.at
            assert len(unknown) == (at is not None and (at.name, at.phase) == ("note_made", "committing"))
            await story.forget(self._house, daemon)
            await self._check_left_alone(known, unknown)
            await daemon.stop()
        finally:
            await daemon.process.kill()

    async def _check_left_alone(self, known: str, unknown: dict[str, Subscription]) -> None:
        """The one that was known is gone with its mailbox; another one that Graph still has nobody prolongs."""
        read, account_id = self._house.store.content.read, self._house.account_id
        assert await read(account_id, pushes.find_push, self._house.mailbox_id) is None
        assert known not in self._standing()
        assert self._standing().keys() == unknown.keys()
        subscriptions = self._provider.graph.subscriptions
        for identity, one in unknown.items():
            ends = one.expires_at
            assert ends <= datetime.now(UTC) + _LIFETIME_MAX
            before = len(subscriptions.told)
            subscriptions.lifecycle(identity, "reauthorizationRequired")
            await until(partial(self._is_told, before), "it was told of")
            assert one.expires_at == ends
        assert await read(account_id, pushes.find_push, self._house.mailbox_id) is None

    async def _is_told(self, before: int) -> bool:
        return len(self._provider.graph.subscriptions.told) > before

    async def _lifecycle(self, event: str, condition: Callable[[], Awaitable[bool]], said: str) -> None:
        """Tell of the subscription itself, and again where the daemon was killed over it, as Graph does."""
        identity = await self._known_id()
        subscriptions = self._provider.graph.subscriptions
        known, kills = subscriptions.standing[identity], -1

        async def told() -> bool:
            nonlocal kills
            if kills != self._daemon.kills and self._daemon.process.port() is not None:
                kills = self._daemon.kills
                subscriptions.standing[identity] = known
                subscriptions.lifecycle(identity, event)
            return await condition()

        await self._daemon.until(told, said)

    def _standing(self) -> dict[str, Subscription]:
        found = self._provider.graph.subscriptions.standing.items()
        return {identity: one for identity, one in found if one.mailbox.address == self._house.address}

    async def _known_id(self) -> str:
        identity = await self._find_known()
        assert identity is not None
        return identity

    async def _find_known(self) -> str | None:
        """Return the id of the subscription that the store has; None while it has none, or has to look."""
        house = self._house
        push = await house.store.content.read(house.account_id, pushes.find_push, house.mailbox_id)
        if push is None or push.sealed is None or push.told is not None or push.renew_at <= datetime.now(UTC):
            return None
        key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
        return key.open_record(PushRecord.place(house.mailbox_id), push.sealed, PushRecord).subscription_id

    async def _stands(self) -> bool:
        return await self._find_known() in self._standing()

    async def _is_renewed(self) -> bool:
        identity = await self._find_known()
        standing = self._standing()
        return identity in standing and standing[identity].fields["expirationDateTime"] != _NEVER

    async def _has_failed(self) -> bool:
        house = self._house
        push = await house.store.content.read(house.account_id, pushes.find_push, house.mailbox_id)
        return push is not None and push.failures > 0

    async def _has_a_ticket(self) -> bool:
        return len(await self._house.store.desk.tickets(self._house.account_id)) == 1


def killed(at: Point, refusing: Refusing) -> tuple[str, Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            daemon = Daemon(house, at=at)
            await Subscribed(world, house, daemon, refusing).tell()
            assert daemon.kills == 1, "the point was not reached"

    return str(at), iteration


@pytest.mark.postgresql_is_long
@pytest.mark.timeout(300)
async def test_killed_over_a_subscription(world: World, refusing: Refusing) -> None:
    tally = await campaign.run(world, [killed(one, refusing) for one in SURE])
    assert tally.failures == []
    assert tally.kills == len(SURE)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_over_every_subscription(world: World, refusing: Refusing) -> None:
    async with world.house() as house:
        daemon = Daemon(house, record=house.folder / "points")
        await Subscribed(world, house, daemon, refusing).tell()
        assert daemon.record is not None
        lines = daemon.record.read_text().splitlines()
    passed = [Point.parse(line) for line in lines if not line.startswith(STAGE)]
    # How often it is tried again differs from run to run.
    failed = passed.index(Point("content", "note_failed", "committed"))
    sure = [*passed[: failed + 1], *(one for one in passed[failed + 1 :] if one.name == "note_made")]
    points = [one for one in sure if one.name in TRANSACTIONS]
    assert {one.name for one in points} == TRANSACTIONS
    assert set(SURE) <= set(points)
    tally = await campaign.run(world, [killed(one, refusing) for one in points])
    print(f"{world.engine}: {tally.kills} kills over subscriptions, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(points)
