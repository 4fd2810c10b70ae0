"""Compare a mailbox with its server: is every message that reading has passed stored here?

Nothing lost is more than what a database can say of itself: the server knows what it holds.
What lies behind the cursor on the server must be a message or a quarantine row here. Most
are recognised by where they lie; the others (moved, numbered anew) are fetched, parsed and
recognised by their identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from connectors.base import Reader
from ingestd.inbound.intake import MailboxContext, identities, read_batch
from ingestd.inbound.parser import ParserPool
from ingestd.records import CursorRecord, MessageRecord, QuarantineRecord
from ingestd.verify.look import Look
from storage import mailboxes, messages, tables


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found."""

    listed: int = 0
    """Messages that the server holds and that reading has passed."""
    fetched: int = 0
    """Those of them that were not recognised by where they lie."""
    lost: tuple[str, ...] = ()
    """Locators of those that are not stored: broken promises."""


async def compare(
    look: Look,
    context: MailboxContext,
    reader: Reader,
    parser: ParserPool,
    *,
    lost_max: int = 1000,
    passed: Callable[[int], None] = lambda _count: None,
) -> Comparison:
    """Compare a mailbox with its server; stop after `lost_max` lost messages.

    `passed` is told how many messages were compared since it was told last. Raises ConnectorError, StorageError.
    """
    mailbox = await look.content.read(context.account_id, mailboxes.get_mailbox, context.mailbox_id)
    if mailbox.cursor_sealed is None:
        return Comparison()
    place = CursorRecord.place(context.mailbox_id)
    cursor = context.key.open_record(place, mailbox.cursor_sealed, CursorRecord).cursor
    # The cursor first, then the rows: whatever it has passed was committed together with it.
    known = await _locators(look, context)
    listed = fetched = 0
    lost: list[str] = []
    async with contextlib.aclosing(reader.claimed(cursor)) as pages:  # type: ignore[type-var]
        async for locators in pages:
            listed += len(locators)
            for locator in locators:
                if locator in known or len(lost) >= lost_max:
                    continue
                fetched += 1
                if not await _is_stored(look, context, reader, parser, locator):
                    lost.append(locator)
            passed(len(locators))
    return Comparison(listed, fetched, tuple(lost))


async def _locators(look: Look, context: MailboxContext) -> set[str]:
    """Return where the stored messages lay when they were read, or were moved to by us."""
    found: set[str] = set()
    here = tables.messages.c.mailbox_id == context.mailbox_id
    async for page in look.pages(look.content, tables.messages, here):
        for row in page:
            record = context.key.open_record(MessageRecord.place(row.message_id), row.sealed, MessageRecord)
            found.add(record.locator)
    here = tables.quarantine.c.mailbox_id == context.mailbox_id
    async for page in look.pages(look.content, tables.quarantine, here):
        for row in page:
            held = context.key.open_record(QuarantineRecord.place(row.quarantine_id), row.sealed, QuarantineRecord)
            found.add(held.locator)
    return found


async def _is_stored(look: Look, context: MailboxContext, reader: Reader, parser: ParserPool, locator: str) -> bool:
    message = await reader.fetch(locator)
    if message is None:
        return True  # it went while we looked
    (read,) = await read_batch(parser, context, [message])
    known = await look.content.read(
        context.account_id, messages.known_identities, context.mailbox_id, identities([read])
    )
    return read.is_among(known)
