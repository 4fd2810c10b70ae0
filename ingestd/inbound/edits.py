"""Edits in the mailbox: planned with what asks for them, done after its commit, as often as it takes.

What asks for them is the import of a message (`after_import`), or what an agent does with its ticket (`mirror`).

The row of an edit is written in that transaction and goes when the server has done it. Between
the two lies a window in which a crash leaves an edit that was done and is still due: doing it
again changes nothing, as the message is read, has the keyword, or lies there no more. A move that
was repeated so leaves the message's new place unknown; where the target is read too, the message
is known by its identity.

What fails here is the edit's affair: it is tried again, then given up with a reason. The
ticket is not concerned, and reading goes on.

A message whose place is none at present (its folder is missing, or was numbered anew) keeps its
edit: `relocate` makes it due where the message is read again, and a folder that is back those in it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection

from config import Inbound
from connectors.base import AuthError, ConnectorError, Edit, EditKind, PermanentError, RateLimited, Reader, Trouble
from ingestd.inbound.intake import MailboxContext, Read
from ingestd.inbound.mirroring import new_edit
from ingestd.inbound.relocating import move_edits
from ingestd.mirror import MOVES, Waiting, plan_status
from ingestd.records import EditRecord, MessageRecord
from storage import edits, mailboxes, messages
from storage.database import Database
from storage.edits import EditCause, NewEdit, WaitingEdit
from storage.errors import SealBroken
from storage.leases import Held
from storage.sealing import DataKey
from storage.tickets import TicketStatus
from storage.types import new_id

log = structlog.get_logger()

ROUNDS_MAX: Final = 20
"""Commands' worth of edits between two readings: new mail does not wait behind them."""
_ROLES: Final = {EditKind.SPAM: "\\Junk", EditKind.TRASH: "\\Trash"}
"""What the folder is called to which these move, until it is read: its name is the server's affair."""
_OF_THE_EDIT: Final = frozenset({Trouble.TRANSIENT, Trouble.PROTOCOL_DISABLED})
"""Troubles that may be this edit's own; all others are the mailbox's, and reading will meet them, too."""


def plan_edits(context: MailboxContext, read: Read, status: TicketStatus) -> tuple[list[NewEdit], str]:
    """Return what is to be done in the mailbox to a message that is being taken into a ticket with this status, and
    where it is to be moved back to once that ticket is open ("" where it is moved nowhere).

    A message of which only the header was taken is not deleted: its body is nowhere else.
    """
    edit, first = context.edit, new_id()
    if edit is not None and edit.kind is EditKind.DELETE and read.truncated:
        edit = None
    waiting = [Waiting(first, edit, EditCause.IMPORT)] if edit is not None else []
    plan = plan_status(context.mirror, TicketStatus.OPEN, status, read.folder, "", waiting)
    wanted = [(one.edit, one.cause) for one in waiting if one.edit_id not in plan.dropped] + [*plan.new]
    place = (read.locator, read.folder)
    found = [new_edit(context.key, context.mailbox_id, read.row_id, *one, *place) for one in wanted]
    return found, plan.home


@dataclass(frozen=True, slots=True)
class Settled:
    """An edit that is done, and where its message lies now; None where that is not known, or nowhere."""

    edit: WaitingEdit
    record: EditRecord
    locator: str | None


def settle_edits(conn: Connection, account_id: UUID, held: Held, key: DataKey, done: Sequence[Settled]) -> None:
    """Remove edits that are done, and note where their messages lie now. Raises FenceLost."""
    mailboxes.hold_ending(conn, account_id, held.mailbox_id, held.fence)
    edits.delete_edits(conn, account_id, [one.edit.edit_id for one in done])
    moved = [one for one in done if one.locator != one.record.locator]
    # What an agent's action planned meanwhile follows the message, also where it goes nowhere.
    others = edits.list_of_messages(conn, account_id, [one.edit.message_id for one in moved]) if moved else {}
    for one in moved:
        row = messages.get_message(conn, account_id, one.edit.message_id)
        kind, place = EditKind(one.edit.kind), MessageRecord.place(row.message_id)
        try:
            record = key.open_record(place, row.sealed, MessageRecord)
        except (SealBroken, msgspec.MsgspecError):
            continue  # `ingestd verify` tells of it; the edit is done all the same
        if one.locator:
            folder = _ROLES.get(kind) or one.record.target or record.folder
            now = msgspec.structs.replace(record, locator=one.locator, folder=folder, lost_by="")
            move_edits(conn, account_id, key, others.get(row.message_id, ()), one.locator, folder)
        else:
            now = msgspec.structs.replace(record, locator="", lost_by=kind.value)
            edits.delete_edits(conn, account_id, [other.edit_id for other in others.get(row.message_id, ())])
        messages.replace_record(conn, account_id, row.message_id, key.seal_record(place, now))


def postpone_edits(
    conn: Connection, account_id: UUID, held: Held, edit_ids: Sequence[UUID], pause: timedelta, reason: str
) -> None:
    """Count a failure of these edits, and let them wait. Raises FenceLost."""
    mailboxes.hold_ending(conn, account_id, held.mailbox_id, held.fence)
    edits.postpone(conn, account_id, edit_ids, pause, reason=reason)


def suspend_edits(conn: Connection, account_id: UUID, held: Held, pause: timedelta, reason: str) -> None:
    """Let all edits of the mailbox wait: it is not their failure. Raises FenceLost."""
    mailboxes.hold_ending(conn, account_id, held.mailbox_id, held.fence)
    edits.suspend(conn, account_id, held.mailbox_id, pause, reason=reason)


def give_up_edits(conn: Connection, account_id: UUID, held: Held, edit_ids: Sequence[UUID], reason: str) -> None:
    """Keep these edits, with the reason, and try them no more. Raises FenceLost."""
    mailboxes.hold_ending(conn, account_id, held.mailbox_id, held.fence)
    edits.give_up(conn, account_id, edit_ids, reason=reason)


Opened = tuple[WaitingEdit, EditRecord]


class MailboxEdits:
    """Does the due edits of one held mailbox, with the connection that reads it."""

    def __init__(
        self,
        held: Held,
        context: MailboxContext,
        reader: Reader,
        content: Database,
        settings: Inbound,
        connection: asyncio.Lock,
    ) -> None:
        """While somebody has the `connection` of the reader, nothing is edited."""
        self._held = held
        self._key = context.key
        self._reader = reader
        self._content = content
        self._settings = settings
        self._connection = connection
        self._log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def run_due(self) -> float | None:
        """Do what is due; return in how many seconds more is, None where nothing waits.

        Whatever the server says is noted on the edits. Raises FenceLost, StorageUnavailable.
        """
        for _ in range(ROUNDS_MAX):
            due, next_in = await self._content.read(
                self._held.account_id,
                edits.list_due,
                self._held.mailbox_id,
                limit=self._settings.edit_messages_max,
            )
            if not due:
                return None if next_in is None else next_in.total_seconds()
            for group in _groups(await self._open(due)):
                if not await self._do(group):
                    break
        return 0.0

    async def _open(self, due: Sequence[WaitingEdit]) -> list[Opened]:
        """Open the records; what is damaged is given up, the others go on."""
        opened, damaged = [], []
        for one in due:
            try:
                opened.append((one, self._key.open_record(EditRecord.place(one.edit_id), one.sealed, EditRecord)))
            except (SealBroken, msgspec.MsgspecError):
                damaged.append(one)
        if damaged:
            await self._give_up(damaged, "damaged")
        return opened

    async def _do(self, group: Sequence[Opened]) -> bool:
        """Do one kind of edit on messages of one folder; return False where the server is to be left alone."""
        rows = [row for row, _ in group]
        edit = Edit(EditKind(rows[0].kind), group[0][1].target)
        try:
            async with self._connection:
                after = await self._reader.edit([record.locator for _, record in group], edit)
        except ConnectorError as error:
            await self._failed(rows, error)
            return False
        except Exception as error:
            # A mistake of ours must not stop the reading, nor be repeated for ever.
            log.exception(
                "mailbox.edit_failed",
                mailbox_id=str(self._held.mailbox_id),
                edit=edit.kind.value,
                messages=len(rows),
                exc_info=error,
            )
            await self._try_again(rows, "internal")
            return False
        done = [Settled(row, record, after[record.locator]) for row, record in group if record.locator in after]
        if done:
            await self._content.transaction(self._held.account_id, settle_edits, self._held, self._key, done)
        displaced = [row for row, record in group if record.locator not in after]
        if displaced:
            self._log.info("mailbox.edit_failed", edit=edit.kind.value, messages=len(displaced), reason=edits.DISPLACED)
            await self._try_again(displaced, edits.DISPLACED)
        return True

    async def _failed(self, rows: Sequence[WaitingEdit], error: ConnectorError) -> None:
        self._log.warning(
            "mailbox.edit_failed", exc_info=error, edit=rows[0].kind, messages=len(rows), trouble=error.trouble.value
        )
        if isinstance(error, AuthError | RateLimited) or error.trouble not in _OF_THE_EDIT:
            pause = self._pause(1)
            if isinstance(error, RateLimited):
                pause = max(pause, timedelta(seconds=error.retry_after))
            await self._content.transaction(
                self._held.account_id, suspend_edits, self._held, pause, error.trouble.value
            )
        elif isinstance(error, PermanentError):
            await self._give_up(rows, "refused")
        else:
            await self._try_again(rows, error.trouble.value)

    async def _try_again(self, rows: Sequence[WaitingEdit], reason: str) -> None:
        """Count the failure; give up those that have had their attempts."""
        tried_out = [row for row in rows if row.attempts + 1 >= self._settings.edit_attempts_max]
        again = [row for row in rows if row not in tried_out]
        if tried_out:
            await self._give_up(tried_out, reason)
        if again:
            pause = self._pause(max(row.attempts for row in again) + 1)
            ids = [row.edit_id for row in again]
            await self._content.transaction(self._held.account_id, postpone_edits, self._held, ids, pause, reason)

    async def _give_up(self, rows: Sequence[WaitingEdit], reason: str) -> None:
        self._log.warning("mailbox.edit_failed", edit=rows[0].kind, messages=len(rows), reason=reason, final=True)
        ids = [row.edit_id for row in rows]
        await self._content.transaction(self._held.account_id, give_up_edits, self._held, ids, reason)

    def _pause(self, attempts: int) -> timedelta:
        """Return the jittered, bounded pause after so many attempts."""
        backoff = self._settings.edit_backoff
        longest = min(backoff.max_seconds, backoff.initial_seconds * 2 ** min(attempts - 1, 30))
        return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311  (jitter, not a secret)


def _groups(opened: Sequence[Opened]) -> list[list[Opened]]:
    """Put together what one command can do: the same edit, on messages of the same folder. Moves come last: what
    else is to be done to a message is done where it lies."""
    groups: dict[tuple[str, str | None, str], list[Opened]] = {}
    for row, record in opened:
        groups.setdefault((row.kind, record.target, record.folder), []).append((row, record))
    return sorted(groups.values(), key=lambda group: group[0][0].kind in MOVES)
