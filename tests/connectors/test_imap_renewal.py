"""A connection that ends with its token is opened anew before, between two commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import AccessToken, Envelope, ReadPlan, SendStatus
from tests.connectors.mailbox import Mailbox, raw_mail, read_messages, subjects, until


class EndingTokens:
    """A TokenSource whose tokens all end soon."""

    def __init__(self, box: Mailbox, seconds: float) -> None:
        self._tokens = box.tokens
        self._seconds = seconds
        self.given = 0

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        self.given += 1
        token = await self._tokens(rejected=rejected)
        return AccessToken(token.value, datetime.now(UTC) + timedelta(seconds=self._seconds))


@pytest.fixture
async def box(mailbox: Mailbox) -> AsyncIterator[Mailbox]:
    yield mailbox
    await mailbox.close()


def end_soon(box: Mailbox, *, with_token: bool = True) -> EndingTokens:
    box.change(session_ends_with_token=with_token, token_margin_seconds=0.2)
    source = EndingTokens(box, 0.4)
    box.tokens = source  # type: ignore[assignment]
    return source


async def given(source: EndingTokens, count: int) -> None:
    async with asyncio.timeout(10):
        while source.given < count:
            await asyncio.sleep(0.02)


async def test_idle_wakes_for_it_and_no_mail_is_missed(box: Mailbox) -> None:
    source = end_soon(box)
    reader = box.reader(ReadPlan())
    _, cursor = await read_messages(reader, None)
    waiting = asyncio.create_task(reader.wait(20))
    await given(source, 3)
    assert not waiting.done()
    await asyncio.to_thread(box.deliver, "after two renewals")
    assert await waiting
    assert subjects((await read_messages(reader, cursor))[0]) == ["after two renewals"]
    await until(lambda: box.server.connections(box.user) == 1)  # those before it were closed


async def test_where_sessions_outlast_tokens_nothing_is_renewed(box: Mailbox) -> None:
    source = end_soon(box, with_token=False)
    reader = box.reader(ReadPlan())
    await read_messages(reader, None)
    assert not await reader.wait(0.6)
    assert source.given == 1


async def test_it_happens_between_batches_not_in_one(box: Mailbox) -> None:
    for number in range(4):
        box.deliver(f"m{number}")
    source = end_soon(box)
    reader = box.reader(ReadPlan(start_at=datetime(1990, 1, 1, tzinfo=UTC), batch_messages_max=2))
    got = []
    async for batch in reader.changes(None):
        got += subjects(list(batch.messages))
        await asyncio.sleep(0.45)  # as a commit that takes its time
    assert got == ["m0", "m1", "m2", "m3"]
    assert source.given >= 2


async def test_a_sending_connection_is_renewed_too(box: Mailbox) -> None:
    source = end_soon(box)
    sender = box.sender()
    for number in range(2):
        outcome = await sender.send(Envelope(box.user, [box.user]), raw_mail(f"m{number}"))
        assert outcome.status is SendStatus.ACCEPTED
        assert source.given == number + 1
        await asyncio.sleep(0.45)


async def test_the_connection_to_sent_is_renewed_too(box: Mailbox) -> None:
    source = end_soon(box)
    sender = box.sender()
    for number in range(2):
        await sender.file_in_sent(raw_mail("copy"), datetime.now(UTC))
        assert source.given == number + 1
        await asyncio.sleep(0.45)
