"""Waiting in IDLE without a thread, against a scripted server: what imapclient's own idle_check gets wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from connectors.base import AccessToken, RateLimited, ReadPlan, TemporaryError, Trouble
from connectors.imap import ImapReader
from connectors.imap_access import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.imap_idle import Woken, wait_in_idle
from connectors.imap_session import ImapSession, ImapTools, open_session
from tests.connectors.mailbox import Mailbox, raw_mail, read_all, read_messages, subjects, until
from tests.servers.certs import Certificates
from tests.servers.script import Peer, ScriptedFolder, scripted, server_context


async def token(*, rejected: str | None = None) -> AccessToken:
    return AccessToken("token")


def access_to(port: int, **changes: float) -> ImapAccess:
    limits = {"connect_seconds": 5.0, "read_seconds": 5.0, **changes}
    return ImapAccess("a@example.com", ImapEndpoint("localhost", port), SmtpEndpoint("localhost"), **limits)  # type: ignore[arg-type]


Use = Callable[[ImapSession], Awaitable[None]]


@pytest.fixture
def idle_on(
    tools: ImapTools, certificates: Certificates
) -> Callable[[Callable[[Peer], Awaitable[None]], Use], Awaitable[None]]:
    async def play(script: Callable[[Peer], Awaitable[None]], use: Use) -> None:
        async def whole(peer: Peer) -> None:
            await peer.greet_and_log_in()
            await peer.select()
            await script(peer)

        context = server_context(str(certificates.cert_file), str(certificates.key_file))
        async with scripted(whole, context) as port:
            tools.guard.permit("localhost", port)
            session = await open_session(access_to(port), token, tools)
            try:
                await session.select("INBOX")
                await use(session)
            finally:
                session.discard()

    return play


async def idle(peer: Peer, *segments: bytes, pause: float = 0.02) -> None:
    tag = await peer.hear(b"IDLE")
    await peer.say(*segments, pause=pause)
    await peer.hear(b"DONE")
    await peer.say(tag + b" OK done\r\n")
    tag = await peer.hear(b"NOOP")
    await peer.say(tag + b" OK alive\r\n")


async def expect_news(session: ImapSession) -> None:
    assert await wait_in_idle(session, 5) is Woken.NEWS
    assert session.alive
    await session.run("NOOP", lambda client: client.noop())


async def test_an_update_in_the_segment_of_the_continuation(idle_on: Callable[..., Awaitable[None]]) -> None:
    await idle_on(lambda peer: idle(peer, b"+ idling\r\n* 1 EXISTS\r\n"), expect_news)


async def test_an_update_before_the_continuation(idle_on: Callable[..., Awaitable[None]]) -> None:
    await idle_on(lambda peer: idle(peer, b"* 1 EXISTS\r\n+ idling\r\n"), expect_news)


async def test_a_line_in_many_packets(idle_on: Callable[..., Awaitable[None]]) -> None:
    await idle_on(lambda peer: idle(peer, b"+ idling\r\n", b"* 1", b"2 EXI", b"STS\r", b"\n"), expect_news)


async def test_half_a_line_with_the_continuation(idle_on: Callable[..., Awaitable[None]]) -> None:
    await idle_on(lambda peer: idle(peer, b"+ idling\r\n* 1 EX", b"ISTS\r\n"), expect_news)


async def test_what_follows_the_news_is_not_lost(idle_on: Callable[..., Awaitable[None]]) -> None:
    await idle_on(
        lambda peer: idle(peer, b"+ idling\r\n", b"* 1 EXISTS\r\n* 1 RECENT\r\n* OK st", b"ill\r\n"), expect_news
    )


async def test_flags_and_expunges_are_no_news(idle_on: Callable[..., Awaitable[None]]) -> None:
    async def quiet(session: ImapSession) -> None:
        assert await wait_in_idle(session, 0.3) is Woken.TIMEOUT
        await session.run("NOOP", lambda client: client.noop())

    lines = b"* 1 FETCH (FLAGS (\\Seen))\r\n* 2 EXPUNGE\r\n* OK Still here\r\n* 1 EX"

    # The rest of the torn line comes with the answer to DONE.
    async def script(peer: Peer) -> None:
        tag = await peer.hear(b"IDLE")
        await peer.say(b"+ idling\r\n", lines)
        await peer.hear(b"DONE")
        await peer.say(b"PUNGE\r\n" + tag + b" OK done\r\n")
        tag = await peer.hear(b"NOOP")
        await peer.say(tag + b" OK alive\r\n")

    await idle_on(script, quiet)


@pytest.mark.parametrize("last_words", [b"", b"* BYE shutting down\r\n", b"* 1 EXI"])
async def test_the_end_of_the_connection_is_told(idle_on: Callable[..., Awaitable[None]], last_words: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear(b"IDLE")
        await peer.say(b"+ idling\r\n")
        await asyncio.sleep(0.05)
        await peer.say(last_words)

    async def use(session: ImapSession) -> None:
        assert await wait_in_idle(session, 5) is Woken.LOST
        assert not session.alive

    await idle_on(script, use)


async def test_an_alert_in_idle_is_counted(tools: ImapTools, idle_on: Callable[..., Awaitable[None]]) -> None:
    counts: list[int] = []

    async def use(session: ImapSession) -> None:
        session.client.wire._alerted = counts.append
        await expect_news(session)

    await idle_on(lambda peer: idle(peer, b"+ idling\r\n", b"* OK [ALERT] read me\r\n", b"* 1 EXISTS\r\n"), use)
    assert counts == [1]


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_a_goodbye_with_a_reason_is_obeyed(idle_on: Callable[..., Awaitable[None]], pause: float) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear(b"IDLE")
        await peer.say(
            b"+ idling\r\n", b"* BYE Request is throttled. Suggested Backoff Time: 5000 milliseconds\r\n", pause=pause
        )

    async def use(session: ImapSession) -> None:
        with pytest.raises(RateLimited) as error:
            await wait_in_idle(session, 5)
        assert error.value.retry_after == 5.0
        assert not session.alive

    await idle_on(script, use)


async def test_a_goodbye_instead_of_the_continuation(idle_on: Callable[..., Awaitable[None]]) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear(b"IDLE")
        await peer.say(b"* BYE Too many simultaneous connections\r\n")

    async def use(session: ImapSession) -> None:
        with pytest.raises(TemporaryError) as error:
            await wait_in_idle(session, 5)
        assert error.value.trouble is Trouble.THROTTLED

    await idle_on(script, use)


@pytest.mark.parametrize("answer", [b"NO [CANNOT] not here", b"NO switched off", b"BAD unknown command"])
async def test_where_idle_is_refused_the_mailbox_is_polled(
    tools: ImapTools, certificates: Certificates, answer: bytes
) -> None:
    asked = 0

    async def script(peer: Peer) -> None:
        nonlocal asked
        await peer.greet_and_log_in()
        await peer.select()
        tag = await peer.hear(b"IDLE")
        asked += 1
        await peer.say(tag + b" " + answer + b"\r\n")
        await peer.select()
        tag = await peer.hear(b"LOGOUT")
        await peer.say(b"* BYE\r\n" + tag + b" OK bye\r\n")

    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with scripted(script, context) as port:
        tools.guard.permit("localhost", port)
        reader = ImapReader(access_to(port, poll_seconds=0.5), token, tools, ReadPlan())
        assert [batch.messages async for batch in reader.changes(None)] == [()]
        assert not await reader.wait(0.1)
        assert await reader.wait(20)
        async for _ in reader.changes(None):
            pass
        assert not await reader.wait(0.1)
        await reader.close()
    assert asked == 1


@pytest.mark.parametrize(
    "answer", [b"NO Request is throttled. Suggested Backoff Time: 5000 milliseconds", b"NO [LIMIT]"]
)
async def test_a_throttle_instead_of_idle_is_obeyed(idle_on: Callable[..., Awaitable[None]], answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        tag = await peer.hear(b"IDLE")
        await peer.say(tag + b" " + answer + b"\r\n")

    async def use(session: ImapSession) -> None:
        with pytest.raises((RateLimited, TemporaryError)) as error:
            await wait_in_idle(session, 5)
        assert error.value.trouble is Trouble.THROTTLED

    await idle_on(script, use)


async def test_a_cancelled_wait_breaks_the_connection(idle_on: Callable[..., Awaitable[None]]) -> None:
    idling = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.hear(b"IDLE")
        await peer.say(b"+ idling\r\n")
        idling.set()
        await peer.reader.read()

    async def use(session: ImapSession) -> None:
        waiting = asyncio.create_task(wait_in_idle(session, 30))
        await idling.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not session.alive

    await idle_on(script, use)


async def test_idle_is_renewed_until_the_timeout(tools: ImapTools, certificates: Certificates) -> None:
    renewals = 0

    async def script(peer: Peer) -> None:
        nonlocal renewals
        await peer.greet_and_log_in()
        await peer.select()
        while True:
            tag = await peer.hear(b"IDLE")
            await peer.say(b"+ idling\r\n")
            await peer.hear(b"DONE")
            renewals += 1
            await peer.say(tag + b" OK done\r\n")

    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with scripted(script, context) as port:
        tools.guard.permit("localhost", port)
        reader = ImapReader(access_to(port, idle_renew_seconds=0.2), token, tools, ReadPlan())
        assert [batch.messages async for batch in reader.changes(None)] == [()]
        assert not await reader.wait(1.0)
        waiting = asyncio.create_task(reader.wait(30))
        await asyncio.sleep(0)
        waiting.cancel()  # breaks the connection: the script knows no LOGOUT
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert renewals >= 4


async def test_the_slow_poll_ends_a_silent_wait(tools: ImapTools, certificates: Certificates) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        await peer.select()
        tag = await peer.hear(b"IDLE")
        await peer.say(b"+ idling\r\n")
        await peer.hear(b"DONE")
        await peer.say(tag + b" OK done\r\n")
        tag = await peer.hear(b"LOGOUT")
        await peer.say(b"* BYE\r\n" + tag + b" OK bye\r\n")

    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with scripted(script, context) as port:
        tools.guard.permit("localhost", port)
        reader = ImapReader(access_to(port, poll_seconds=2.0), token, tools, ReadPlan())
        assert [batch.messages async for batch in reader.changes(None)] == [()]
        assert await reader.wait(20)
        await reader.close()


class _TellsNothing(ScriptedFolder):
    """Takes IDLE, and announces nothing: as servers do with what came in the moment before it."""

    async def __call__(self, peer: Peer) -> None:
        await peer.greet_and_log_in()
        while line := await peer.reader.readline():
            tag, _, command = line.rstrip(b"\r\n").partition(b" ")
            if command == b"IDLE":
                await peer.say(b"+ idling\r\n")
                await peer.hear(b"DONE")
            else:
                for answer in self._answers(command.upper()):
                    await peer.say(b"* " + answer + b"\r\n")
            await peer.say(tag + b" OK done\r\n")


async def test_what_came_on_the_heels_of_a_mail_is_looked_for_soon(
    tools: ImapTools, certificates: Certificates
) -> None:
    folder = _TellsNothing()
    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with scripted(folder, context) as port:
        tools.guard.permit("localhost", port)
        access = access_to(port, poll_seconds=0.5, idle_poll_seconds=1500.0)
        reader = ImapReader(access, token, tools, ReadPlan())
        _, cursor = await read_all(reader, None)
        folder.put(raw_mail("first"), datetime.now(UTC))
        messages, cursor = await read_messages(reader, cursor)
        folder.put(raw_mail("on its heels"), datetime.now(UTC))
        assert await reader.wait(20), "nobody looked"
        later, cursor = await read_messages(reader, cursor)
        assert subjects(messages + later) == ["first", "on its heels"]
        assert await read_messages(reader, cursor) == ([], cursor)
        assert not await reader.wait(1.0), "a quiet mailbox is looked at seldom"
        await reader.close()


async def test_many_waits_hold_no_thread(mailbox: Mailbox) -> None:
    """Twenty connections in IDLE on a pool of one thread, and the pool is free."""
    with ThreadPoolExecutor(1) as executor:
        tools = ImapTools(mailbox.tools.ssl_context, mailbox.tools.guard, executor)
        readers = [ImapReader(mailbox.access, mailbox.tokens, tools, ReadPlan()) for _ in range(20)]
        for reader in readers:
            async for _ in reader.changes(None):
                pass
        waits = [asyncio.create_task(reader.wait(30)) for reader in readers]
        await until(lambda: executor._work_queue.qsize() == 0)
        async with asyncio.timeout(2):
            assert await asyncio.get_running_loop().run_in_executor(executor, lambda: "free") == "free"
        assert not any(wait.done() for wait in waits)
        await asyncio.to_thread(mailbox.deliver, "for all")
        async with asyncio.timeout(10):
            assert await asyncio.gather(*waits) == [True] * 20
        for reader in readers:
            await reader.close()
