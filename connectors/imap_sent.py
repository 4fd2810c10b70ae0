"""The Sent folder: looking for a reply in it, and putting a copy there.

It has a connection of its own, opened on demand and closed when idle, because the
reader's waits in IDLE.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from imapclient import SEEN

from connectors.base import OWN_HEADER, FiledCopy, TokenSource
from connectors.idle_timer import IdleTimer
from connectors.imap_access import ImapAccess
from connectors.imap_connection import Connection
from connectors.imap_cursor import Locator
from connectors.imap_fetch import id_item_of, provider_id_of
from connectors.imap_session import ImapSession, ImapTools, Selected

T = TypeVar("T")
COPIES_MAX = 20
"""More copies than this of one reply are not worth looking at."""
_MESSAGE_ID_HEADER = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
_MESSAGE_ID_KEY = b"BODY[HEADER.FIELDS (MESSAGE-ID)]"
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^<>\r\n]{1,998}>|\S{1,998})", re.IGNORECASE | re.MULTILINE)


class SentFolder:
    """Finds and files copies in Sent. One use at a time; the caller need not serialize."""

    def __init__(self, access: ImapAccess, token_source: TokenSource, tools: ImapTools) -> None:
        self._access = access
        self._connection = Connection(access, token_source, tools, message_bytes_max=0)
        self._lock = asyncio.Lock()
        self._idle = IdleTimer(access.connection_idle_seconds, self.close)

    async def find(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        """Return the copies with this Message-ID or with our own header's token, at most COPIES_MAX."""

        async def work(session: ImapSession) -> Sequence[FiledCopy]:
            folder = await session.find_folder("\\Sent", self._access.role_folders)
            if folder is None:
                return []
            selected = await session.select(folder, readonly=True)
            uids: set[int] = set()
            for name, value in (("Message-ID", message_id), (OWN_HEADER, token)):
                if value:
                    uids |= await _search_header(session, name, value)
            return await _describe(session, selected, sorted(uids)[:COPIES_MAX])

        return await self._with_session(work)

    async def file(self, content: bytes, sent_at: datetime) -> FiledCopy:
        r"""APPEND `content` as \Seen, dated `sent_at`; create Sent where there is none. Does not look first."""
        if sent_at.tzinfo is None:
            raise ValueError("sent_at must be aware")

        async def work(session: ImapSession) -> FiledCopy:
            folder = await session.ensure_folder("\\Sent", self._access.role_folders)
            session.take_untagged("APPENDUID")
            date = sent_at.astimezone(UTC)
            await session.run_into(folder, "APPEND", lambda client: client.append(folder, content, [SEEN], date))
            codes = session.take_untagged("APPENDUID")
            return FiledCopy(_appended_to(codes, folder), _message_id_of(content))

        return await self._with_session(work)

    async def close(self) -> None:
        self._idle.stop()
        async with self._lock:
            await self._connection.close()

    async def _with_session(self, work: Callable[[ImapSession], Awaitable[T]]) -> T:
        async with self._lock:
            self._idle.stop()
            try:
                return await work(await self._connection.open())
            finally:
                self._idle.start()


async def _search_header(session: ImapSession, name: str, value: str) -> set[int]:
    """SEARCH HEADER; a value the server cannot take (8-bit, controls) cannot be in its headers as ours either."""
    if not value.isascii() or not value.isprintable():
        return set()
    found = await session.run("SEARCH", lambda client: client.search(["HEADER", name, value]))
    return set(found)


async def _describe(session: ImapSession, selected: Selected, uids: Sequence[int]) -> list[FiledCopy]:
    if not uids:
        return []
    id_item = id_item_of(session)
    items = ["UID", _MESSAGE_ID_HEADER, *([id_item] if id_item else [])]
    rows = await session.run("FETCH", lambda client: client.fetch(list(uids), items))
    return [
        FiledCopy(
            locator=str(Locator(selected.uidvalidity, uid, selected.folder)),
            message_id=_message_id_of(rows[uid].get(_MESSAGE_ID_KEY) or b""),
            provider_id=provider_id_of(rows[uid], id_item),
        )
        for uid in uids
        if uid in rows
    ]


def _message_id_of(content: bytes) -> str | None:
    """Return the Message-ID of a header block or message.

    >>> _message_id_of(b"Message-Id: <a@example.com>\\r\\n\\r\\n")
    '<a@example.com>'
    """
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    # A folded header has its value on the next line (RFC 5322 §2.2.3).
    found = _MESSAGE_ID.search(re.sub(rb"\r?\n[ \t]+", b" ", header))
    return found.group(1).decode("ascii", "replace") if found else None


def _appended_to(codes: Sequence[bytes], folder: str) -> str:
    """Read `[APPENDUID uidvalidity uid]` (RFC 4315 §3); without it the place is unknown, and the locator is "0:0:…"."""
    words = codes[-1].split() if codes else []
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return str(Locator(int(words[0]), int(words[1]), folder))
    return str(Locator(0, 0, folder))
