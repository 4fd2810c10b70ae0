"""Comparing a mailbox with the store: is every message accounted for that lies there and that reading has passed?

Each is a message here, a copy of a reply, quarantined, or was deleted here: most are recognised by where they lie. Of
the others (moved, numbered anew, deleted here) the header is asked for, and they are recognised by the provider's id
or by that header; only what is still unknown then is fetched whole, as its identity has the last word. What is left is
*unaccounted*: reading has passed it, and it is nowhere here.

What has only just come is not behind the cursors, so nobody takes it for lost. Nothing is written, here or there; who
asks for it has what is unaccounted taken in as it is found.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from connectors.base import ConnectorError, HistoryPlan, RawMessage, Reader
from ingestd.inbound.commit import Committed, commit_missed
from ingestd.inbound.identity import header_key, identity_of_bytes
from ingestd.inbound.intake import MailboxContext, identities, read_batch, seal_batch
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.places import Places
from ingestd.records import CursorRecord, HistoryRecord, MessageRecord, QuarantineRecord
from storage import audits, backfills, mailboxes
from storage.audits import Fate, StoredPlace
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import SealBroken
from storage.messages import Identities, by_header

_PAGE: Final = 200
"""Stored messages whose records are in memory together."""


@dataclass(frozen=True, slots=True)
class Audited:
    """Two readers of one mailbox, which mark nothing; each connects when it is used first."""

    headers: Reader
    """Its plan has no message whole."""
    whole: Reader
    entries: Sequence[str] = ()
    """The folders that are watched, as their plans have them."""

    async def close(self) -> None:
        for reader in (self.headers, self.whole):
            with contextlib.suppress(ConnectorError):
                await reader.close()


@dataclass(slots=True)
class Audit:
    """What a comparison found."""

    listed: int = 0
    """Messages that lie on the server and that reading has passed."""
    fetched: int = 0
    """Those of them that were not recognised by where they lie."""
    fates: Counter[Fate] = field(default_factory=Counter)
    """What became of them."""
    unaccounted: list[str] = field(default_factory=list)
    """Locators of those of which nothing is known."""
    repaired: int = 0
    """Those of them that were taken in now."""
    complete: bool = True
    """False where there was more to ask for than the limit."""


@dataclass(frozen=True, slots=True)
class AuditTools:
    content: Database
    blobs: Blobs
    parser: ParserPool
    blob_bytes_min: int
    fetches_max: int
    ticket_status: str
    """Of the tickets that old mail opens."""


async def audit(
    tools: AuditTools,
    context: MailboxContext,
    readers: Audited,
    *,
    repair: bool = False,
    unaccounted_max: int = 1000,
    passed: Callable[[int], Awaitable[None]] | None = None,
) -> Audit:
    """Compare a mailbox with the store; with `repair`, take in what is unaccounted, as reading would have.

    It ends, incomplete, after `unaccounted_max` of those. `passed` is told, page by page, how many messages were
    compared; what it raises ends the comparison. Raises ConnectorError, StorageError, ParserUnavailable.
    """
    return await _Comparison(tools, context, readers, repair, unaccounted_max).run(passed)


@dataclass(slots=True)
class _Comparison:
    tools: AuditTools
    context: MailboxContext
    readers: Audited
    repair: bool
    unaccounted_max: int
    found: Audit = field(default_factory=Audit)

    async def run(self, passed: Callable[[int], Awaitable[None]] | None) -> Audit:
        # The cursors first, then the rows: whatever they have passed was committed together with them.
        pages = await self._claimed()
        places = await self._places()
        for imported, claimed in pages:
            async with contextlib.aclosing(claimed) as some:  # type: ignore[type-var]
                async for locators in some:
                    for locator in locators:
                        if self._is_full():
                            self.found.complete = False
                            return self.found
                        await self._account_for(locator, places.find(locator), imported=imported)
                    if passed is not None:
                        await passed(len(locators))
        return self.found

    def _is_full(self) -> bool:
        return self.found.fetched >= self.tools.fetches_max or len(self.found.unaccounted) >= self.unaccounted_max

    async def _claimed(self) -> list[tuple[bool, AsyncIterator[Sequence[str]]]]:
        """Return what the server is to be asked for: whether it is old mail, and its locators, page by page."""
        account_id, mailbox_id, key = self.context.account_id, self.context.mailbox_id, self.context.key
        mailbox = await self.tools.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        old = await self.tools.content.read(account_id, backfills.find_backfill, mailbox_id)
        if mailbox.cursor_sealed is None:
            return []
        changes = key.open_record(CursorRecord.place(mailbox_id), mailbox.cursor_sealed, CursorRecord).cursor
        pages = [(False, self.readers.headers.claimed(changes))]
        if old is not None and old.cursor_sealed is not None:
            cursor = key.open_record(HistoryRecord.place(mailbox_id), old.cursor_sealed, HistoryRecord).cursor
            plan = HistoryPlan(before=old.before, since=old.since, newest_first=old.newest_first)
            pages.append((True, self.readers.headers.claimed_history(plan, cursor, changes)))
        return pages

    async def _places(self) -> Places:
        """Return where the stored messages lay when they were read, or were moved to by us."""
        mailbox = (self.context.account_id, self.context.mailbox_id)
        places = Places(await self.tools.content.read(mailbox[0], audits.count_places, mailbox[1]))
        for quarantined in (False, True):
            after = b""
            while rows := await self.tools.content.read(
                mailbox[0], audits.page_of_places, mailbox[1], quarantined=quarantined, after=after, limit=_PAGE
            ):
                await asyncio.to_thread(self._keep, places, rows, quarantined=quarantined)
                after = rows[-1].identity_key
        return places

    def _keep(self, places: Places, rows: Sequence[StoredPlace], *, quarantined: bool) -> None:
        of = QuarantineRecord.place if quarantined else MessageRecord.place
        for row in rows:
            # One that does not open is known by its identity.
            with contextlib.suppress(SealBroken):
                places.add(self.context.key.open_record(of(row.owner_id), row.sealed, _Place).locator, row.fate)

    async def _account_for(self, locator: str, fate: Fate | None, *, imported: bool) -> None:
        self.found.listed += 1
        if fate is None:
            self.found.fetched += 1
            message = await self.readers.headers.fetch(locator)
            if message is None:
                self.found.listed -= 1  # it went while we looked
                return
            fate = await fate_by_header(self.tools.content, self.context, message)
        if fate is None:
            message = await self.readers.whole.fetch(locator)
            if message is None:
                self.found.listed -= 1
                return
            fate = await fate_of(self.tools, self.context, message)
            if fate is None and self.repair:
                committed = await take_missed(self.tools, self.context, message, imported=imported)
                self.found.repaired += committed.known == 0
        if fate is None:
            self.found.unaccounted.append(locator)
        else:
            self.found.fates[fate] += 1


class _Place(msgspec.Struct, frozen=True):
    """Of a record what is wanted here: the rest is passed over."""

    locator: str = ""


async def fate_by_header(content: Database, context: MailboxContext, message: RawMessage) -> Fate | None:
    """Return what became of a message of which only the header was read; None where that does not tell."""
    if message.provider_id:
        wanted = Identities([identity_of_bytes(context.key, b"", message.provider_id)])
    elif (key := header_key(context.key, message.header)) is not None:
        # Known as one that was read whole, or of which only the header had been, too.
        wanted = Identities([key], [key])
    else:
        return None
    found = await content.read(context.account_id, audits.fates_of, context.mailbox_id, wanted)
    return _first(found, [*wanted.keys, *map(by_header, wanted.header_keys)])


async def fate_of(tools: AuditTools, context: MailboxContext, message: RawMessage) -> Fate | None:
    """Return what became of a message that was fetched whole; None where nothing is known of it."""
    (read,) = await read_batch(tools.parser, context, [message], live=False)
    found = await tools.content.read(context.account_id, audits.fates_of, context.mailbox_id, identities([read]))
    return _first(found, read.all_keys())


async def take_missed(tools: AuditTools, context: MailboxContext, message: RawMessage, *, imported: bool) -> Committed:
    """Take in a message that no reading took, once, whoever does the same meanwhile. Raises as `commit_missed`."""
    reads = await read_batch(tools.parser, context, [message], live=not imported)
    prepared = await seal_batch(tools.blobs, context, reads, (), tools.blob_bytes_min)
    return await tools.content.transaction(
        context.account_id,
        commit_missed,
        context,
        prepared,
        imported=imported,
        ticket_status=tools.ticket_status,
    )


def _first(found: Mapping[bytes, Fate], keys: Sequence[bytes]) -> Fate | None:
    return next((found[key] for key in keys if key in found), None)
