"""The route that Graph posts to: its handshake, and its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import httpx2
import pytest

from ingestd.api.app import create_app
from ingestd.api.edge import Edge
from ingestd.telemetry.health import Health
from storage.errors import StorageUnavailable
from tests.api.conftest import Linking, serving

MAILBOX = UUID(int=7)


@dataclass
class Desk:
    taken: list[tuple[UUID, bytes]] = field(default_factory=list)
    away: bool = False

    async def take(self, mailbox_id: UUID, body: bytes) -> None:
        if self.away:
            raise StorageUnavailable("content: locked")
        self.taken.append((mailbox_id, body))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def client(desk: Desk, health: Health, linking: Linking) -> AsyncIterator[httpx2.AsyncClient]:
    edge = Edge(
        health=health,
        metrics=None,
        linking=linking,
        public_url="https://mail.example.com",
        notifications=desk,
        notifications_per_second_max=2.0,
    )
    async with serving(create_app(edge)) as client:
        yield client


async def test_the_handshake_is_answered_in_plain_text_and_reads_nothing(
    client: httpx2.AsyncClient, desk: Desk
) -> None:
    text = "Validation: <script>1 & 2</script>"
    answer = await client.post(f"/push/graph/{MAILBOX}", params={"validationToken": text})
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert desk.taken == []


async def test_what_is_posted_is_taken_and_answered_quickly(client: httpx2.AsyncClient, desk: Desk) -> None:
    answer = await client.post(f"/push/graph/{MAILBOX}", content=b"{}")
    assert (answer.status_code, answer.content) == (202, b"")
    assert desk.taken == [(MAILBOX, b"{}")]
    assert (await client.get(f"/push/graph/{MAILBOX}")).status_code == 405
    assert (await client.post("/push/graph/none", content=b"{}")).status_code == 404
    desk.away = True  # Graph tries again
    assert (await client.post(f"/push/graph/{MAILBOX}", content=b"{}")).status_code == 503


async def test_a_body_over_the_limit_is_refused_also_in_pieces(client: httpx2.AsyncClient, desk: Desk) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 64 * 1024

    assert (await client.post(f"/push/graph/{MAILBOX}", content=pieces())).status_code == 413
    assert desk.taken == []


async def test_faster_posts_than_allowed_are_refused(client: httpx2.AsyncClient, desk: Desk) -> None:
    answers = [await client.post(f"/push/graph/{MAILBOX}", content=b"{}") for _ in range(20)]
    refused = [one for one in answers if one.status_code == 429]
    assert 10 <= len(desk.taken) <= 18
    assert len(refused) == 20 - len(desk.taken)
    assert {one.headers["retry-after"] for one in refused} == {"1"}
