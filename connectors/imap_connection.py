"""A connection that is opened at first use, again after a loss, and before the token ends that opened it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from connectors.base import RawMessage, TemporaryError, TokenSource
from connectors.imap_access import ImapAccess
from connectors.imap_fetch import Listed, fetch_messages
from connectors.imap_session import ImapSession, ImapTools, OversizeLiteral, Selected, open_session


class Connection:
    """Used by one task. Whoever uses it may find another connection beneath than the last time."""

    def __init__(
        self, access: ImapAccess, token_source: TokenSource, tools: ImapTools, *, message_bytes_max: int
    ) -> None:
        self._access = access
        self._token_source = token_source
        self._tools = tools
        self._message_bytes_max = message_bytes_max
        self._session: ImapSession | None = None

    @property
    def alive(self) -> bool:
        return self._session is not None and self._session.alive

    async def open(self) -> ImapSession:
        """Return the connection, a new one where it was lost or its token is about to end: call it between commands."""
        if self._session is not None and self._session.alive and time.monotonic() >= self._session.renew_at:
            await self._session.close()
        if self._session is None or not self._session.alive:
            self._session = await open_session(self._access, self._token_source, self._tools)
        return self._session

    async def find(self, wanted: str) -> str | None:
        """Return the server's name of a folder of the plan, None where there is none."""
        return await (await self.open()).find_folder(wanted, self._access.role_folders)

    async def select(self, folder: str) -> tuple[ImapSession, Selected]:
        """SELECT anew, also where it is selected already: it is the cheap way to a true UIDNEXT."""
        session = await self.open()
        return session, await session.select(folder)

    async def same(self, selected: Selected) -> ImapSession:
        """Return to the folder where the connection was used for something else, or lost, between two batches."""
        session = await self.open()
        if session.selected is None or session.selected.folder != selected.folder:
            await session.select(selected.folder)
        if session.selected is None or session.selected.uidvalidity != selected.uidvalidity:
            # The next reading starts the folder again.
            raise TemporaryError(f"SELECT at {session.where}: UIDVALIDITY changed")
        return session

    async def fetch(self, selected: Selected, items: Sequence[Listed]) -> list[RawMessage]:
        session = await self.same(selected)
        try:
            return await fetch_messages(session, selected, items, self._message_bytes_max)
        except OversizeLiteral:
            # The server lied about a size. One message must not stop the mailbox: one by one, then.
            return [message for item in items for message in await self._fetch_alone(selected, item)]

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fetch_alone(self, selected: Selected, item: Listed) -> list[RawMessage]:
        session = await self.same(selected)
        try:
            return await fetch_messages(session, selected, [item], self._message_bytes_max)
        except OversizeLiteral:
            return await fetch_messages(await self.same(selected), selected, [item], -1)
