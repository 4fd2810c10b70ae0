"""A helpdesk whose ingestd is killed over a request asks again under the same key: each write is done, once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from ingestd.access import Scope, make_token
from storage import accounts, tokens, webhooks
from tests.crash import campaign, story
from tests.crash.campaign import Iteration
from tests.crash.points import Point, spread
from tests.crash.world import Daemon, House, Process, World, open_world, until
from tests.servers.postgres import PostgresServer

KILLS: Final = 4
"""On each engine, in `make test`."""
EXPECTED: Final = {"insert_key", "once_of_operator", "once", "write"}
"""Names without which the discovery itself would be broken."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server: PostgresServer | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_world(request.param, tmp_path, server, houses_max=200) as opened:
        yield opened


@dataclass
class Helpdesk:
    """What asks, and asks again where no answer came."""

    process: Process
    token: str
    kills: int = 0

    async def start(self) -> None:
        await self.process.start()
        await until(self._listens, "the API listens")

    async def write(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer of a write that is repeated, under its own key, until there is one."""
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": f"{method} {path}"}
        while True:
            try:
                async with httpx2.AsyncClient(base_url=self._base, trust_env=False, headers=headers) as client:
                    answer = await client.request(method, path, timeout=60, **body)
            except httpx2.TransportError:
                assert await self.process.end() == -signal.SIGKILL, self.process.tail()
                self.kills += 1
                self.process.at = None
                await self.start()
                continue
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

    async def _listens(self) -> bool:
        assert self.process.returncode is None, self.process.tail()
        port = self.process.port()
        self._base = f"http://127.0.0.1:{port}/v1"
        return port is not None


@asynccontextmanager
async def helpdesk(world: World, process: Process) -> AsyncIterator[Helpdesk]:
    """Yield a helpdesk whose mailbox has one ticket."""
    house = process.house
    daemon = Daemon(house)
    await world.provider.deliver(house.address, story.mails(house.address)[0])
    await daemon.start()
    await daemon.until(lambda: _has_a_ticket(house), "there is a ticket")
    await daemon.stop()
    made = await make_token(house.store.content, None, label="helpdesk", scopes=list(Scope), tokens_max=10)
    try:
        yield Helpdesk(process, made.text)
    finally:
        await process.kill()


async def tell(house: House, desk: Helpdesk) -> None:
    """Every kind of write: what belongs to an account, to the operator, to the key store as well, and to no body."""
    here = f"/accounts/{house.account_id}"
    await desk.write("POST", "/accounts", json={"name": "Example Ltd"})
    await desk.write("POST", "/tokens", json={"label": "console", "scopes": ["read"]})
    await desk.write("POST", f"{here}/tokens", json={"label": "reports", "scopes": ["read"]})
    hook = (await desk.write("POST", f"{here}/webhooks", json={"url": "https://desk.example.com/hook"}))["webhook_id"]
    await desk.write("POST", f"{here}/webhooks/{hook}/rotate-secret")
    ticket = f"{here}/tickets/1"
    file = await desk.write("POST", f"{ticket}/uploads", params={"name": "manual.txt"}, content=b"On, then off.")
    reply = {"text": "Switch it on.", "attachments": [{"upload_id": file["upload_id"]}]}
    await desk.write("POST", f"{ticket}/replies", json=reply)
    await desk.write("PATCH", ticket, json={"status": "closed"})
    await desk.write("DELETE", f"{here}/webhooks/{hook}")


async def check(house: House) -> None:
    """Nothing lost, nothing twice."""
    content = house.store.content
    assert len(await content.read(None, accounts.list_accounts)) == 2
    assert sorted(one.label for one in await content.read(None, tokens.list_tokens, None)) == ["console", "helpdesk"]
    assert [one.label for one in await content.read(house.account_id, tokens.list_tokens)] == ["reports"]
    assert await content.read(house.account_id, webhooks.list_webhooks) == []
    view = await house.store.desk.ticket(house.account_id, 1)
    assert view.ticket.status == "closed"
    replies = [one for one in view.messages if one.row.direction == "out"]
    assert [len(one.attachments) for one in replies] == [1]
    await story.check_store(house)


async def _has_a_ticket(house: House) -> bool:
    return len(await house.store.desk.tickets(house.account_id, mailbox_id=house.mailbox_id)) == 1


async def discover(world: World) -> list[Point]:
    async with world.house() as house:
        process = Process(house, "run", "--role", "api")
        process.record = house.folder / "points"
        async with helpdesk(world, process) as desk:
            await desk.start()
            await tell(house, desk)
            await check(house)
        # No clock runs beside them: each passing is a sure point, not only the first ones.
        points = [Point.parse(line) for line in process.record.read_text().splitlines()]
    names = {one.name for one in points}
    assert names >= EXPECTED, f"not discovered: {EXPECTED - names}"
    return points


def killed(at: Point) -> tuple[str, Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            process = Process(house, "run", "--role", "api")
            process.at = at
            async with helpdesk(world, process) as desk:
                await desk.start()
                await tell(house, desk)
                await check(house)
            assert desk.kills == 1, "the point was not reached"

    return str(at), iteration


@pytest.mark.postgresql_is_long  # the statements are those of tests/api, and test_kills kills on PostgreSQL
@pytest.mark.timeout(300)
async def test_killed_over_a_request(world: World) -> None:
    points = await discover(world)
    chosen = spread(points, KILLS, 0 if world.engine == "sqlite" else 0.5)
    tally = await campaign.run(world, [killed(one) for one in chosen])
    assert tally.failures == []
    assert tally.kills == KILLS


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_over_every_request(world: World) -> None:
    points = await discover(world)
    tally = await campaign.run(world, [killed(one) for one in points])
    print(f"{world.engine}: {tally.kills} kills over requests, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(points)
