"""A helpdesk whose ingestd is killed over a request asks again under the same key: each write is done, once."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from ingestd.access import Scope, make_token
from storage import accounts, events, tokens, webhooks
from storage.accounts import AccountStatus
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
    cut_short: list[bytes] = field(default_factory=list)
    """What there was of answers that broke off."""

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
                await self._start_again()
                continue
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

    async def read(self, path: str, **params: int) -> bytes:
        """Return an answer that has come to its end; one that breaks off is asked for again."""
        headers = {"Authorization": f"Bearer {self.token}"}
        while True:
            had = b""
            try:
                async with (
                    httpx2.AsyncClient(base_url=self._base, trust_env=False, headers=headers) as client,
                    client.stream("GET", path, params=params, timeout=60) as answer,
                ):
                    assert answer.is_success
                    async for portion in answer.aiter_bytes():
                        had += portion
            except httpx2.TransportError:
                assert had, "it was killed before it answered"
                self.cut_short.append(had)
                await self._start_again()
                continue
            return had

    async def _start_again(self) -> None:
        assert await self.process.end() == -signal.SIGKILL, self.process.tail()
        self.kills += 1
        self.process.at = None
        await self.start()

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
    other = (await desk.write("POST", "/accounts", json={"name": "Example Ltd"}))["account_id"]
    for verb in ("suspend", "hold", "release", "resume"):
        await desk.write("POST", f"/accounts/{other}/{verb}")
    await desk.write("DELETE", f"/accounts/{other}")
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
    (other,) = [one for one in await content.read(None, accounts.list_accounts) if one.account_id != house.account_id]
    assert (other.status, other.held_since) == (AccountStatus.CLOSING, None)
    log = await content.read(other.account_id, events.list_events, 0, 100)
    assert [one.type for one in log] == ["account.suspended", "account.resumed", "account.closing"]
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


@pytest.mark.postgresql_is_long
async def test_an_export_that_breaks_off_is_asked_for_again(world: World) -> None:
    async with world.house() as house:
        daemon = Daemon(house)
        try:
            await story.begin(world, house, daemon)
            await daemon.stop()
        finally:
            await daemon.process.kill()
        made = await make_token(house.store.content, None, label="helpdesk", scopes=list(Scope), tokens_max=10)
        whole = await _export(house, made.text, None)
        mails = story.MAILS + story.OLD_MAILS
        assert whole.lines.count(b'"type":"message"') == mails
        assert sum(one.startswith(b"From ") for one in whole.mail.splitlines()) == mails
        for at in (2, mails + 2):  # among the lines, and among the mails
            assert await _export(house, made.text, Point("export", "message", "committed", at)) == whole


@dataclass(frozen=True)
class Exported:
    lines: bytes
    mail: bytes


async def _export(house: House, token: str, at: Point | None) -> Exported:
    """Return what the API exports, in pages of two tickets, without the last line of each."""
    process = Process(house, "run", "--role", "api")
    process.at = at
    desk = Helpdesk(process, token)
    path = f"/accounts/{house.account_id}/export"
    pages, lines, after = [], b"", 0
    try:
        await desk.start()
        while after is not None:
            pages.append(after)
            *page, last = (await desk.read(path, after=after, limit=2)).splitlines(keepends=True)
            end = json.loads(last)
            assert end["type"] == "end"
            lines, after = lines + b"".join(page), end["after"]
        mail = b"".join([await desk.read(f"{path}/mail", after=one, limit=2) for one in pages])
    finally:
        await process.kill()
    assert len(pages) > 1
    assert desk.kills == len(desk.cut_short) == (at is not None)
    assert not any(b'"type":"end"' in one for one in desk.cut_short)
    return Exported(lines, mail)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_over_every_request(world: World) -> None:
    points = await discover(world)
    tally = await campaign.run(world, [killed(one) for one in points])
    print(f"{world.engine}: {tally.kills} kills over requests, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(points)
