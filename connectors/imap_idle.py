"""Waiting in IDLE (RFC 2177) without a thread: the socket is registered with the event loop.

IDLE and DONE are commands, run in the pool. In between only `_read_news` looks
at the connection: into the buffer first (an update can arrive in the same segment
as `+ idling`), then at the socket; lines stay in the buffer until they are whole;
the end of the file is reported. As all reads of the connection go through one
buffer (imap_wire.py), there is nothing to hand back after DONE.
"""

from __future__ import annotations

import asyncio
import enum

from connectors.base import PermanentError, TemporaryError
from connectors.imap_errors import OWN_TROUBLES, farewell
from connectors.imap_session import ImapSession
from connectors.imap_wire import WireClient


class Woken(enum.Enum):
    """Why a wait in IDLE ended."""

    NEWS = "news"
    TIMEOUT = "timeout"
    LOST = "lost"
    REFUSED = "refused"


async def wait_in_idle(
    session: ImapSession, timeout_seconds: float, *, woken: asyncio.Future[Woken] | None = None
) -> Woken:
    """Stay in IDLE on the selected folder until news, a loss, or the timeout.

    Who gives `woken` can end it by setting that to NEWS.
    After NEWS, TIMEOUT and REFUSED the connection is ready for commands, after LOST it is
    gone. Who is refused asks no more on this connection: servers offer IDLE in all folders and
    take it in some, or switch it off for an account; reading works all the same. Raises RateLimited
    and the like where the server wants us to stay away, TemporaryError where the connection is lost.
    """
    try:
        tag = await session.run("IDLE", _begin)
    except (TemporaryError, PermanentError) as error:
        if not session.alive or error.trouble not in OWN_TROUBLES:
            raise
        session.refuses_idle = True
        return Woken.REFUSED
    woken = woken or asyncio.get_running_loop().create_future()
    try:
        result = await _watch(session, woken, timeout_seconds)
    except BaseException:
        # Cancelled while the server is in IDLE: the next command would be refused.
        session.discard()
        raise
    if result is Woken.LOST:
        session.discard()
        return result
    await session.run("DONE", lambda client: _end(client, tag))
    return Woken.NEWS if session.take_news() else result


def _begin(client: WireClient) -> str:
    imap = client._imap
    tag: str = imap._command("IDLE")
    # Updates may come before the "+"; imaplib keeps them as untagged responses.
    while imap._get_response() is not None:
        if imap.tagged_commands[tag]:
            status, data = imap.tagged_commands.pop(tag)
            text = data[-1].decode("utf-8", "replace") if data and data[-1] else ""
            raise imap.error(f"IDLE {status}: {text}")
    return tag


def _end(client: WireClient, tag: str) -> None:
    imap = client._imap
    imap.send(b"DONE\r\n")
    while not imap.tagged_commands[tag]:
        imap._get_response()
    imap.tagged_commands.pop(tag)


async def _watch(session: ImapSession, woken: asyncio.Future[Woken], timeout_seconds: float) -> Woken:
    if session.take_news():
        return Woken.NEWS
    loop = asyncio.get_running_loop()
    wire = session.client.wire
    _read_lines(session, woken)
    if woken.done():
        return woken.result()

    def readable() -> None:
        open_ = wire.receive_now()
        _read_lines(session, woken)
        if not open_ and not woken.done():
            woken.set_result(Woken.LOST)
        if woken.done():
            # At once, not when the waiting task runs: a closed socket would spin the loop until then.
            loop.remove_reader(fd)

    fd = wire.sock.fileno()
    if fd < 0:
        return Woken.LOST
    loop.add_reader(fd, readable)
    # What TLS has decrypted already makes no socket readable.
    loop.call_soon(lambda: None if woken.done() else readable())
    try:
        async with asyncio.timeout(timeout_seconds):
            return await woken
    except TimeoutError:
        return Woken.TIMEOUT
    finally:
        if not woken.done():
            woken.cancel()
        loop.remove_reader(fd)
        wire.report_alerts()


def _read_lines(session: ImapSession, woken: asyncio.Future[Woken]) -> None:
    """Take whole lines from the buffer: a new message wakes, BYE loses, the rest (flags, EXPUNGE) is no news.

    Stops at the first line that decides; what lies behind it is read with DONE's answer.
    """
    while not woken.done() and (line := session.client.wire.take_line()) is not None:
        words = line.split()
        if len(words) >= 3 and words[0] == b"*" and words[2].upper() == b"EXISTS":
            woken.set_result(Woken.NEWS)
        elif len(words) >= 2 and words[0] == b"*" and words[1].upper() == b"BYE":
            asks = farewell(line.decode("utf-8", "replace"), session.where)
            if asks is None:
                woken.set_result(Woken.LOST)
            else:
                woken.set_exception(asks)
