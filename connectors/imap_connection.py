"""A connection that is opened at first use, again after a loss, and before the token ends that opened it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from connectors.base import ConnectorError, PermanentError, RawMessage, TemporaryError, TokenSource
from connectors.imap_access import ImapAccess
from connectors.imap_cursor import Locator
from connectors.imap_errors import OWN_TROUBLES
from connectors.imap_fetch import (
    Fetched,
    Listed,
    fetch_headers,
    fetch_messages,
    fetch_rows,
    list_messages,
    still_there,
    withheld_message,
)
from connectors.imap_session import ImapSession, ImapTools, Selected, open_session
from connectors.imap_thread import OversizeLiteral

LOSSES_MAX = 2
"""So often may the connection be lost over the same messages before they are asked for one by one; who then ends
it once more is taken for the cause."""
_LOSSES_KEPT = 1000
_HEADER_ALONE = -1
"""A limit that every message is over."""
_SPLITS_MAX = 64
"""Refused commands while the messages of one list are told apart; what is left then is not told of."""


class Connection:
    """Used by one task. Whoever uses it may find another connection beneath than the last time."""

    def __init__(
        self,
        access: ImapAccess,
        token_source: TokenSource,
        tools: ImapTools,
        *,
        message_bytes_max: int,
        readonly: bool = False,
    ) -> None:
        self._access = access
        self._token_source = token_source
        self._tools = tools
        self._message_bytes_max = message_bytes_max
        self._readonly = readonly
        self._session: ImapSession | None = None
        self._losses: dict[tuple[str, int, int], int] = {}
        """How often the connection was lost while a message was fetched, by folder, UIDVALIDITY and UID."""

    @property
    def where(self) -> str:
        return f"{self._access.imap.host}:{self._access.imap.port}"

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
        return session, await session.select(folder, readonly=self._readonly)

    async def same(self, selected: Selected) -> ImapSession:
        """Return to the folder where the connection was used for something else, or lost, between two batches."""
        session = await self.open()
        if session.selected is None or session.selected.folder != selected.folder:
            await session.select(selected.folder, readonly=self._readonly)
        if session.selected is None or session.selected.uidvalidity != selected.uidvalidity:
            # The next reading starts the folder again.
            raise TemporaryError(f"SELECT at {session.where}: UIDVALIDITY changed")
        return session

    async def describe(self, selected: Selected, uids: Sequence[int]) -> list[Listed]:
        """Ask size, date and lasting id; of those that the server will not tell of, the UID alone is known."""
        listed: list[Listed] = []
        parts, splits = [list(uids)] if uids else [], 0
        while parts:
            part = parts.pop()
            try:
                listed += await list_messages(await self.same(selected), part)
            except (TemporaryError, PermanentError) as error:
                self._require_own(error, selected, part)
                splits += 1
                middle = len(part) // 2
                if splits > _SPLITS_MAX or not middle:
                    listed += [Listed(uid) for uid in part]
                else:
                    parts += [part[middle:], part[:middle]]
        return listed

    async def fetch(self, selected: Selected, items: Sequence[Listed]) -> Fetched:
        """Fetch messages together; where that does not work, one by one, as one must not stop the others."""
        if all(self._lost(selected, item.uid) < LOSSES_MAX for item in items):
            session = await self.same(selected)
            try:
                return self._given(selected, await fetch_messages(session, selected, items, self._message_bytes_max))
            except OversizeLiteral:
                pass  # the server lied about a size
            except (TemporaryError, PermanentError) as error:
                self._require_own(error, selected, [item.uid for item in items])
        fetched = Fetched()
        for item in items:
            fetched.add(await self._fetch_alone(selected, item))
        return fetched

    async def headers(self, selected: Selected, uids: Sequence[int]) -> dict[int, bytes]:
        """Fetch headers together; those that the server does not give are left out, and cost no other its own."""
        if not uids:
            return {}
        try:
            return await fetch_headers(await self.same(selected), uids)
        except OversizeLiteral:
            pass  # together they are more than they may be
        except (TemporaryError, PermanentError) as error:
            self._require_own(error, selected, uids)
        middle = len(uids) // 2
        if not middle:
            return {}
        return await self.headers(selected, uids[:middle]) | await self.headers(selected, uids[middle:])

    async def fetch_withheld(self, selected: Selected, item: Listed) -> RawMessage | None:
        """Return what there is of a message whose body the server does not give; None where it is gone."""
        headers: dict[int, bytes] = {}
        try:
            headers = await fetch_headers(await self.same(selected), [item.uid])
        except (TemporaryError, PermanentError) as error:
            self._require_own(error, selected, [item.uid])
        if item.uid not in headers and not await still_there(await self.same(selected), [item.uid]):
            return None
        return withheld_message(selected, item, headers.get(item.uid, b""))

    async def gives_others(self, selected: Selected, withheld: Collection[int], witness: int | None) -> bool:
        """Whether the server gives any message of the folder but those; also where there is none to ask for.

        A few are tried: the `witness`, which it has given before, and those at both ends of the folder.
        """
        others = [uid for uid in await self._some(selected, witness) if uid not in withheld]
        refused = False
        for uid in dict.fromkeys(others):
            session = await self.same(selected)
            try:
                rows = await fetch_rows(session, [uid], ["BODY.PEEK[]<0.1>"])
            except (TemporaryError, PermanentError):
                if not self.alive:
                    raise
                refused = True
                continue
            if uid in rows and rows[uid].get(b"BODY[]<0>") is not None:
                return True
            refused = refused or uid in rows
        return not refused

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fetch_alone(self, selected: Selected, item: Listed) -> Fetched:
        for bytes_max in (self._message_bytes_max, _HEADER_ALONE):
            session = await self.same(selected)
            try:
                return self._given(selected, await fetch_messages(session, selected, [item], bytes_max))
            except OversizeLiteral:
                continue  # the server lied about its size
            except (TemporaryError, PermanentError) as error:
                self._require_own(error, selected, [item.uid], losses_max=LOSSES_MAX + 1)
                break
        return Fetched(withheld=[item])

    async def _some(self, selected: Selected, witness: int | None) -> Sequence[int]:
        session = await self.same(selected)
        exists = session.selected.exists if session.selected else 0
        ends = dict.fromkeys(number for number in (exists, exists - 1, 1, 2) if 0 < number <= exists)
        found: list[int] = []
        if ends:
            asked = ",".join(map(str, ends))
            found = list(await session.run("SEARCH", lambda client: client.search([asked])))
        return [*([witness] if witness else []), *found[-2:], *found[:2]]

    def _require_own(
        self, error: ConnectorError, selected: Selected, uids: Sequence[int], losses_max: int = LOSSES_MAX
    ) -> None:
        """Return where a failure may be that of the messages that were asked for; else raise it.

        A refusal is. A lost connection is a blip, until it was lost over the same messages again and again.
        """
        if error.trouble not in OWN_TROUBLES:
            raise error
        if self.alive:
            return
        if len(self._losses) > _LOSSES_KEPT:
            self._losses.clear()
        for uid in uids:
            self._losses[selected.folder, selected.uidvalidity, uid] = self._lost(selected, uid) + 1
        if any(self._lost(selected, uid) < losses_max for uid in uids):
            raise error

    def _lost(self, selected: Selected, uid: int) -> int:
        return self._losses.get((selected.folder, selected.uidvalidity, uid), 0)

    def _given(self, selected: Selected, fetched: Fetched) -> Fetched:
        if self._losses:
            for message in fetched.messages:
                self._losses.pop((selected.folder, selected.uidvalidity, Locator.parse(message.locator).uid), None)
        return fetched
