"""An account's data, given to it as files: tickets and messages as JSON lines, every mail with its attachments as mbox.

What is written stands in `export.json` after each page: who is interrupted goes on from there. A mailbox that is
disconnected meanwhile gives nothing more; what the files have already is the account's own.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import msgspec

from ingestd.backup.folder import sync_folder
from ingestd.desk import Desk, MessageView, TicketSummary
from ingestd.listing import TicketPage, page_of_tickets
from ingestd.privacy import mbox
from ingestd.privacy.export_lines import encode, message_line, quarantine_line, ticket_line
from ingestd.raw import RawStream
from storage.errors import KeyDestroyed, NotFound, SealBroken
from storage.ticket_lists import TicketFilter

MANIFEST: Final = "export.json"
TICKETS: Final = "tickets.jsonl"
MESSAGES: Final = "messages.jsonl"
QUARANTINE: Final = "quarantine.jsonl"
MAIL: Final = "mail.mbox"
QUARANTINED_MAIL: Final = "quarantine.mbox"
FILES: Final = (TICKETS, MESSAGES, MAIL, QUARANTINE, QUARANTINED_MAIL)

_FORMAT: Final = 1
_PAGE: Final = 100
_CHARS_MAX: Final = 4_000_000
"""Of the texts of a page of messages: what is held in memory at a time."""


class ExportError(Exception):
    """The folder is not one that an export can be written to; the text says why, and what to do."""


class MailDamaged(Exception):
    """The store has lost a message's bytes; the text is its id. `ingestd verify` names it, too."""


class Manifest(msgspec.Struct, kw_only=True):
    """export.json: what is in the other files so far."""

    format: int = _FORMAT
    account_id: UUID
    begun_at: datetime
    finished_at: datetime | None = None
    """Null while it is not finished: the same command goes on with it."""
    last_ticket: int = 0
    """The number of the last ticket that is written."""
    last_quarantined: UUID | None = None
    tickets: int = 0
    messages: int = 0
    quarantined: int = 0
    damaged: int = 0
    """Messages that have a line and no mail, as the store itself has lost it."""
    size_bytes: dict[str, int] = {}
    """Of each file: what stands behind that is of a part that was interrupted."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Goes through what an account has, in the order of ticket numbers."""

    desk: Desk
    account_id: UUID

    async def tickets(self, behind: int, limit: int) -> TicketPage:
        """Return up to `limit` tickets, of every status, with numbers above `behind`."""
        wanted = TicketFilter(number_from=behind + 1)
        return await page_of_tickets(self.desk, self.account_id, wanted, limit=limit)

    async def messages(self, number: int) -> AsyncIterator[MessageView]:
        """Yield a ticket's messages in their order. Raises NotFound, KeyDestroyed where they are being forgotten."""
        after: UUID | None = None
        more = True
        while more:
            page, more = await self.desk.messages(
                self.account_id, number, after=after, limit=_PAGE, chars_max=_CHARS_MAX
            )
            for one in page:
                yield one
            after = page[-1].row.message_id if page else None

    async def mail(self, message: MessageView) -> AsyncIterator[bytes]:
        """Yield a message's mail as it stands in an mbox.

        Raises MailDamaged where the store has lost its bytes; NotFound, KeyDestroyed where it is being forgotten.
        """
        message_id = message.row.message_id
        try:
            raw = await self.desk.raw_stream(self.account_id, message_id)
            async for portion in in_mbox(message.row.received_at, raw):
                yield portion
        except (NotFound, SealBroken) as error:
            await self.desk.message(self.account_id, message_id)  # raises where it is being forgotten
            raise MailDamaged(str(message_id)) from error

    async def mailbox_addresses(self) -> dict[UUID, str]:
        views = await self.desk.mailboxes(self.account_id)
        return {one.mailbox.mailbox_id: one.record.address for one in views if one.record is not None}


async def in_mbox(received_at: datetime, raw: RawStream) -> AsyncIterator[bytes]:
    """Yield a mail as it stands in an mbox."""
    yield mbox.beginning(received_at)
    async for portion in mbox.quoted(raw.portions):
        yield portion


class Export:
    """Writes a folder, 0700, with files of 0600. Make it with `open_export`."""

    def __init__(self, walk: Walk, folder: Path, manifest: Manifest, files: dict[str, BinaryIO]) -> None:
        self._walk = walk
        self._desk, self._account_id = walk.desk, walk.account_id
        self._folder = folder
        self.manifest = manifest
        self._files = files

    async def run(self, told: Callable[[int], None] = lambda _number: None) -> Manifest:
        """Write all that is not written yet; `told` is called with the number of each ticket that is."""
        addresses = await self._walk.mailbox_addresses()
        more = True
        while more:
            page = await self._walk.tickets(self.manifest.last_ticket, _PAGE)
            for one in page.items:
                await self._ticket(one, addresses.get(one.ticket.mailbox_id, ""))
                told(one.ticket.number)
            more = page.next is not None
            if page.next is not None:
                self.manifest.last_ticket = page.next.number
            self._settle()
        await self._quarantine()
        self.manifest.finished_at = datetime.now(UTC)
        self._settle()
        return self.manifest

    async def _ticket(self, one: TicketSummary, mailbox: str) -> None:
        number, messages, damaged = one.ticket.number, 0, 0
        before = self._places()
        try:
            self._files[TICKETS].write(encode(ticket_line(one, mailbox)))
            async for message in self._walk.messages(number):
                has_mail = await self._mail(message)
                self._files[MESSAGES].write(encode({**message_line(number, message), "has_mail": has_mail}))
                messages += 1
                damaged += not has_mail
        except (NotFound, KeyDestroyed):  # its mailbox is being forgotten since the page was read
            self._return_to(before)
        else:
            self.manifest.tickets += 1
            self.manifest.messages += messages
            self.manifest.damaged += damaged
        self.manifest.last_ticket = number

    async def _mail(self, message: MessageView) -> bool:
        """Write a message's mail; return whether there is one."""
        place = self._files[MAIL].tell()
        try:
            async for portion in self._walk.mail(message):
                self._files[MAIL].write(portion)
        except MailDamaged:
            _cut(self._files[MAIL], place)
            return False
        return True

    async def _quarantine(self) -> None:
        while page := await self._desk.quarantine(self._account_id, after=self.manifest.last_quarantined, limit=_PAGE):
            for one in page:
                before = self._places()
                try:
                    view = await self._desk.quarantined(self._account_id, one.quarantine_id)
                    self._files[QUARANTINE].write(encode(quarantine_line(view)))
                    raw = await self._desk.quarantined_stream(self._account_id, one.quarantine_id)
                    async for portion in in_mbox(one.received_at, raw):
                        self._files[QUARANTINED_MAIL].write(portion)
                except (NotFound, KeyDestroyed):  # it left the quarantine, or is being forgotten
                    self._return_to(before)
                else:
                    self.manifest.quarantined += 1
                self.manifest.last_quarantined = one.quarantine_id
            self._settle()

    def _places(self) -> dict[str, int]:
        return {name: file.tell() for name, file in self._files.items()}

    def _return_to(self, places: dict[str, int]) -> None:
        for name, at in places.items():
            _cut(self._files[name], at)

    def _settle(self) -> None:
        """Make what is written durable, and then say so."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        self.manifest.size_bytes = self._places()
        _write_manifest(self._folder, self.manifest)


def open_export(walk: Walk, folder: Path, stack: ExitStack) -> Export:
    """Begin an export in an empty folder, or go on with one that was interrupted. Raises ExportError, OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _hold(folder, stack)
    manifest = _read_manifest(folder)
    if manifest is None:
        if any(folder.iterdir()):
            raise ExportError(f"{folder} is not empty, and has no export in it: name a new folder")
        manifest = Manifest(account_id=walk.account_id, begun_at=datetime.now(UTC))
    elif manifest.account_id != walk.account_id:
        raise ExportError(f"{folder} has an export of another account: name a new folder")
    elif manifest.finished_at is not None:
        raise ExportError(f"{folder} has a finished export: name a new folder, or delete that one")
    files: dict[str, BinaryIO] = {}
    for name in FILES:
        opened = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        files[name] = stack.enter_context(os.fdopen(opened, "r+b"))
        _cut(files[name], manifest.size_bytes.get(name, 0))
    _write_manifest(folder, manifest)
    return Export(walk, folder, manifest, files)


def _hold(folder: Path, stack: ExitStack) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ExportError(f"another export into {folder} is under way") from None


def _cut(file: BinaryIO, at: int) -> None:
    file.seek(at)
    file.truncate()


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        raise ExportError(f"{folder / MANIFEST} is damaged: delete the folder, and begin anew") from None


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    written = folder / f".{MANIFEST}"
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    written.replace(folder / MANIFEST)
    sync_folder(folder)
