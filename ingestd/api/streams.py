"""Events as a stream that stays open: Server-Sent Events, as the HTML standard spells them (§9.2)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingestd.api.line import Line, gone
from ingestd.api.problems import SECURITY_HEADERS
from ingestd.events.feed import EventFeed, Page, Reader, Told
from ingestd.events.polling import wanted
from storage.errors import EventsGone, StorageUnavailable

MEDIA_TYPE: Final = "text/event-stream"
_ALIVE: Final = b": alive\n"
"""A comment. No blank line ends it: some clients would take that for an event without data."""
_END_SECONDS: Final = 1.0
"""How long a reader may take to take the end."""


class _Stalled(Exception):
    """The reader takes nothing."""


class EventStream(Response):
    """The events behind a page, and that page's own, until the client goes, the server stops, or the token ends.

    Raises FeedFull, LimitReached before anything is sent.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        feed: EventFeed,
        account_id: UUID,
        page: Page,
        types: Collection[str],
        line: Line,
        still_opens: Callable[[], Awaitable[bool]],
    ) -> None:
        # A proxy that collects what it passes on would hold events back (nginx).
        super().__init__(headers={**SECURITY_HEADERS, "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._settings = feed.settings()
        self._account_id = account_id
        self._page = page
        self._types = types
        self._line = line
        self._still_opens = still_opens
        self._named = 0
        """The last cursor that the client was told."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._feed.follow(self._account_id, self._page) as reader, self._line.stay():
            self._line.lift()
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._line.while_wanted(receive, self._pump(reader, send))
                async with asyncio.timeout(_END_SECONDS):
                    await send({"type": "http.response.body", "body": b""})
            except (_Stalled, TimeoutError):
                self._line.cut()
                await gone(receive)

    async def _pump(self, reader: Reader, send: Send) -> None:
        """Send what comes until the token opens nothing any more, or the log cannot be read: the client asks again."""
        loop, settings = asyncio.get_running_loop(), self._settings
        # At random, as many streams may have begun at once.
        check_at = loop.time() + settings.token_check_seconds * random.uniform(0.5, 1)  # noqa: S311
        alive_at = loop.time() + settings.keep_alive_seconds
        await self._send(send, [_ALIVE, *self._frames(self._page.events)])
        with suppress(EventsGone, StorageUnavailable):
            while True:
                frames = self._frames(await reader.next(max(0.0, alive_at - loop.time())))
                if loop.time() >= check_at:
                    if not await self._still_opens():
                        return
                    check_at = loop.time() + settings.token_check_seconds
                if not frames and loop.time() >= alive_at:
                    frames = [self._alive(reader.cursor)]
                if frames:
                    await self._send(send, frames)
                    alive_at = loop.time() + settings.keep_alive_seconds

    def _frames(self, events: Sequence[Told]) -> list[bytes]:
        chosen = wanted(events, self._types)
        if chosen:
            self._named = chosen[-1].sequence
        return [frame(told.sequence, told.type, told.json) for told in chosen]

    def _alive(self, cursor: int) -> bytes:
        """Say that the stream lives; where only events passed that are not wanted, also how far it is."""
        if not self._types or cursor <= self._named:
            return _ALIVE
        self._named = cursor
        return frame(cursor, "cursor", b'{"next":%d}' % cursor)

    async def _send(self, send: Send, frames: Sequence[bytes]) -> None:
        """Send it piece by piece, so that little waits in memory for a reader that is slow. Raises _Stalled."""
        for chunk in _chunks(frames, self._settings.chunk_bytes_max):
            try:
                async with asyncio.timeout(self._settings.stall_seconds_max):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                raise _Stalled from None


def frame(sequence: int, kind: str, data: bytes) -> bytes:
    """Spell one event of a stream."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, kind.encode(), data)


def _chunks(frames: Sequence[bytes], bytes_max: int) -> Iterator[bytes]:
    """Join frames to chunks up to a size; a larger frame is a chunk by itself.

    >>> list(_chunks([b"aa", b"b", b"cccc"], 3))
    [b'aab', b'cccc']
    """
    chunk: list[bytes] = []
    size = 0
    for frame in frames:
        if chunk and size + len(frame) > bytes_max:
            yield b"".join(chunk)
            chunk, size = [], 0
        chunk.append(frame)
        size += len(frame)
    if chunk:
        yield b"".join(chunk)
