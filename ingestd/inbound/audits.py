"""The slow comparison of all mailboxes with the store, in the background: is every mail here?

One mailbox at a time in a process, the one that waited longest, so that those of a whole installation spread by
themselves. It has connections of its own, and everything else goes first: at the parser, in the quota of Gmail, in the
share of calls that Graph allows. What it finds is counted, told and left to a person: `ingestd audit --repair`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from config import Inbound
from connectors.base import ConnectorError
from ingestd.inbound.audit import Audited, AuditTools, audit
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.parser import ParserUnavailable
from storage import audits, mailboxes
from storage.database import Database
from storage.errors import FenceLost, KeyDestroyed, NotFound, StorageError, StorageUnavailable
from storage.leases import Held
from storage.mailboxes import WORKED

log = structlog.get_logger()

_LOOK_SECONDS: Final = 60.0
"""How often a mailbox is looked for whose turn it is."""
_PAUSE_SECONDS: Final = 5.0
"""Between two of them."""
_AGAIN_SECONDS: Final = 3600.0
"""After it failed."""
_DUE_MAX: Final = 20


@dataclass(slots=True)
class Audits:
    """Compares the mailboxes that this process holds, until cancelled."""

    content: Database
    worker_id: UUID
    settings: Callable[[], Inbound]
    tools: Callable[[], AuditTools]
    begin: Callable[[UUID, UUID], Awaitable[tuple[MailboxContext, Audited]]]
    """Builds what a comparison needs, by account and mailbox. Raises KeyError, StorageError."""
    _again_at: dict[UUID, float] = field(default_factory=dict)
    """Of mailboxes whose comparison failed, when it may be tried again, by `time.monotonic`."""

    async def run(self) -> None:
        while True:
            try:
                done = await self.run_due()
            except StorageUnavailable as error:
                log.warning("storage.unavailable", exc_info=error)
                done = False
            except Exception as error:  # the next one is another mailbox
                log.exception("task.failed", component="audit", exc_info=error)
                done = False
            await asyncio.sleep(_PAUSE_SECONDS if done else _LOOK_SECONDS)

    async def run_due(self) -> bool:
        """Compare the mailbox whose turn it is; return whether there was one. Raises StorageUnavailable."""
        days = self.settings().audit_days
        if not days:
            return False
        at = time.monotonic()
        self._again_at = {one: again_at for one, again_at in self._again_at.items() if again_at > at}
        limit = _DUE_MAX + len(self._again_at)
        due = await self.content.read(None, audits.list_due, self.worker_id, every=timedelta(days=days), limit=limit)
        held = next((one for one in due if one.mailbox_id not in self._again_at), None)
        if held is None:
            return False
        # Whatever becomes of it, the others have their turns first.
        self._again_at[held.mailbox_id] = at + _AGAIN_SECONDS
        await self._compare(held)
        return True

    async def _compare(self, held: Held) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.settings().audit_seconds_max):
                context, readers = await self.begin(held.account_id, held.mailbox_id)
                try:
                    found = await audit(self.tools(), context, readers, passed=lambda _count: self._still_ours(held))
                finally:
                    await readers.close()
            await self.content.transaction(
                held.account_id,
                audits.note_audit,
                held.mailbox_id,
                fence=held.fence,
                unaccounted=len(found.unaccounted),
            )
        except (FenceLost, KeyDestroyed, NotFound):
            return  # another's, or nobody's: its next holder compares it
        except (ConnectorError, ParserUnavailable, TimeoutError, KeyError) as error:
            log.warning("mailbox.audit_failed", mailbox_id=str(held.mailbox_id), exc_info=error)
            return
        except StorageUnavailable:
            raise
        except StorageError as error:
            log.warning("mailbox.audit_failed", mailbox_id=str(held.mailbox_id), exc_info=error)
            return
        tell = log.error if found.unaccounted else log.info
        tell(
            "mailbox.audited",
            mailbox_id=str(held.mailbox_id),
            messages=found.listed,
            count=len(found.unaccounted),
            outcome="complete" if found.complete else "incomplete",
            duration_seconds=round(time.monotonic() - began, 3),
        )

    async def _still_ours(self, held: Held) -> None:
        """Nothing of a mailbox is looked at any more that was taken from us, or is being forgotten."""
        mailbox = await self.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
        if mailbox.fence != held.fence or mailbox.state not in WORKED:
            raise FenceLost(f"mailbox {held.mailbox_id} is no longer held with fence {held.fence}")
