"""Comparing a mailbox with the store: is every message accounted for that lies there and that reading has passed?

Each is a message here, a copy of a reply, quarantined, or was deleted here: most are recognised by where they lie. The
others (moved, numbered anew, deleted here) are recognised by the provider's id or by the header, which is asked for
many together; only what is still unknown then is fetched whole, one by one, as its identity has the last word. What is
left is *unaccounted*: reading has passed it, and it is nowhere here.

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

from connectors.base import FINGERPRINTS_MAX, ConnectorError, Fingerprint, HistoryPlan, RawMessage, Reader
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
    """A mailbox as somebody sees it who compares: its reader marks nothing, and connects when it is used first."""

    reader: Reader
    entries: Sequence[str] = ()
    """The folders that are watched, as its plan has them."""

    async def close(self) -> None:
        with contextlib.suppress(ConnectorError):
            await self.reader.close()


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
    there: Audited,
    *,
    repair: bool = False,
    unaccounted_max: int = 1000,
    passed: Callable[[int], Awaitable[None]] | None = None,
) -> Audit:
    """Compare a mailbox with the store; with `repair`, take in what is unaccounted, as reading would have.

    It ends, incomplete, after `unaccounted_max` of those. `passed` is told, page by page, how many messages were
    compared; what it raises ends the comparison. Raises ConnectorError, StorageError, ParserUnavailable.
    """
    return await _Comparison(tools, context, there.reader, repair, unaccounted_max).run(passed)


@dataclass(slots=True)
class _Comparison:
    tools: AuditTools
    context: MailboxContext
    reader: Reader
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
                    for at in range(0, len(locators), FINGERPRINTS_MAX):
                        together = locators[at : at + FINGERPRINTS_MAX]
                        if not await self._account_for(together, places, imported=imported):
                            self.found.complete = False
                            return self.found
                    if passed is not None:
                        await passed(len(locators))
        return self.found

    async def _claimed(self) -> list[tuple[bool, AsyncIterator[Sequence[str]]]]:
        """Return what the server is to be asked for: whether it is old mail, and its locators, page by page."""
        account_id, mailbox_id, key = self.context.account_id, self.context.mailbox_id, self.context.key
        mailbox = await self.tools.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        old = await self.tools.content.read(account_id, backfills.find_backfill, mailbox_id)
        if mailbox.cursor_sealed is None:
            return []
        changes = key.open_record(CursorRecord.place(mailbox_id), mailbox.cursor_sealed, CursorRecord).cursor
        pages = [(False, self.reader.claimed(changes))]
        if old is not None and old.cursor_sealed is not None:
            cursor = key.open_record(HistoryRecord.place(mailbox_id), old.cursor_sealed, HistoryRecord).cursor
            plan = HistoryPlan(before=old.before, since=old.since, newest_first=old.newest_first)
            pages.append((True, self.reader.claimed_history(plan, cursor, changes)))
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

    async def _account_for(self, locators: Sequence[str], places: Places, *, imported: bool) -> bool:
        """Say what became of each; return False where the limits were met before the last of them."""
        fates = {locator: places.find(locator) for locator in locators}
        unknown = [locator for locator, fate in fates.items() if fate is None]
        unknown = unknown[: max(0, self.tools.fetches_max - self.found.fetched)]
        self.found.fetched += len(unknown)
        if unknown:
            told = await self.reader.fingerprints(unknown)
            fates |= await fates_by_fingerprint(self.tools.content, self.context, told)
        asked = set(unknown)
        for locator in locators:
            if (fate := fates[locator]) is not None:
                self._note(fate)
            elif locator in asked and len(self.found.unaccounted) < self.unaccounted_max:
                await self._look_whole(locator, imported=imported)
            else:
                return False
        return True

    async def _look_whole(self, locator: str, *, imported: bool) -> None:
        message = await self.reader.fetch(locator)
        if message is None:
            return  # it went while we looked
        fate = await fate_of(self.tools, self.context, message)
        if fate is not None:
            self._note(fate)
            return
        if self.repair:
            committed = await take_missed(self.tools, self.context, message, imported=imported)
            self.found.repaired += committed.known == 0
        self.found.listed += 1
        self.found.unaccounted.append(locator)

    def _note(self, fate: Fate) -> None:
        self.found.listed += 1
        self.found.fates[fate] += 1


class _Place(msgspec.Struct, frozen=True):
    """Of a record what is wanted here: the rest is passed over."""

    locator: str = ""


async def fates_by_fingerprint(
    content: Database, context: MailboxContext, told: Mapping[str, Fingerprint]
) -> dict[str, Fate]:
    """Return what became of messages, by locator, of which no more was read; those that it does not tell of are left
    out."""
    ids: dict[str, bytes] = {}
    headers: dict[str, bytes] = {}
    for locator, one in told.items():
        if one.provider_id:
            ids[locator] = identity_of_bytes(context.key, b"", one.provider_id)
        elif (key := header_key(context.key, one.header)) is not None:
            headers[locator] = key
    # By its header is known what was read whole, and what only the header had been read of, too.
    wanted = Identities([*ids.values(), *headers.values()], list(headers.values()))
    found = await content.read(context.account_id, audits.fates_of, context.mailbox_id, wanted)
    fates = {locator: _first(found, [key]) for locator, key in ids.items()}
    fates |= {locator: _first(found, [key, by_header(key)]) for locator, key in headers.items()}
    return {locator: fate for locator, fate in fates.items() if fate is not None}


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
