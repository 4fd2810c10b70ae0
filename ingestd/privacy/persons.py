"""A person's erasure, within one account: their tickets and messages are deleted, in others' mail they are replaced.

1. names: what the person is called beside the address, of all messages of the account.
2. tickets: those that the person requested are deleted; in others' subjects the address is replaced.
3. messages: those that the person wrote are deleted; others are rewritten where the person is in them.
4. quarantine: as the messages, as far as they can be read.
5. erased: what was standing on others' tickets ends, and the receipt is written into the ledger.

Each reads all that the account has up to the moment of the request, in pages behind a cursor, and writes in small
transactions; a crash goes on behind the last one. The ledger has a keyed hash of the address from the beginning, so
that a restored copy of the database is searched again by it, without the address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import structlog

from ingestd.inbound.identity import address_key
from ingestd.inbound.intake import seal_raw
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.keys import KeyRing
from ingestd.mail.addresses import normalize
from ingestd.mail.person import NAMES_MAX, Person, everybody, is_by, is_from, replaced
from ingestd.mail.transform import Transformed
from ingestd.mail.types import ParsedMail
from ingestd.privacy.disconnect import CHUNK_ROWS, Pause, compact
from ingestd.privacy.person_receipts import find_person_receipt
from ingestd.privacy.person_requests import PURPOSE
from ingestd.privacy.person_writes import rewrite_found
from ingestd.privacy.positions import note_ledger
from ingestd.privacy.rewriter_main import Asked
from ingestd.raw import RawPlace, load_raw
from ingestd.records import (
    MessageRecord,
    PersonReceipt,
    PersonRecord,
    QuarantineRecord,
    ReplyRecord,
    TicketRecord,
)
from storage import keystore, mailboxes, outbox, person_writes, persons
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import Conflict, KeyDestroyed, NotFound, SealBroken
from storage.person_writes import PersonBusy, Rewritten
from storage.persons import Found, PersonErasure
from storage.sealing import DataKey

log = structlog.get_logger()

_PAGE = 50
_START = UUID(int=0)
_IN_ROWS = 1 << 62
"""More bytes than any message has: what is rewritten lies in rows, or a crash could leave other bytes in a blob than
its record says."""


@dataclass(frozen=True, slots=True)
class PersonTools:
    content: Database
    keystore: Database
    blobs: Blobs
    keys: KeyRing
    new_rewriter: Callable[[], ParserPool]
    """Returns processes that rewrite (`rewriter_main`), not started."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One erasure, while it is worked on."""

    erasure: PersonErasure
    person: Person
    record: PersonRecord
    key: DataKey
    rewriter: ParserPool | None = None


class PersonEraser:
    """Brings requested erasures of persons to their end."""

    def __init__(self, tools: PersonTools) -> None:
        self._tools = tools

    async def run(self, erasure: PersonErasure) -> bool:
        """Go on from where it stands; return whether it is done. False where somebody has to be waited for: another
        process is at it, or a reply is being sent.

        Raises StorageError, ParserUnavailable.
        """
        try:
            async with self._tools.new_rewriter() as rewriter:
                while erasure.step != "done":
                    erasure = await self._step(erasure, rewriter)
        except (Conflict, PersonBusy):
            return False
        return True

    async def run_waiting(self) -> None:
        """Bring on what is waiting. What cannot go on does not keep the others waiting."""
        for erasure in await self._tools.content.read(None, persons.list_unfinished):
            try:
                await self.run(erasure)
            except Exception as error:
                log.error("erasure.failed", erasure_id=erasure.erasure_id, exc_info=error)  # noqa: TRY400

    async def _step(self, at: PersonErasure, rewriter: ParserPool) -> PersonErasure:
        """Do a page of a step, or go over to the next one."""
        key = await self._tools.keys.account(at.account_id)
        place = PersonRecord.place(at.erasure_id)
        record = PersonRecord() if at.sealed is None else key.open_record(place, at.sealed, PersonRecord)
        person = Person(key.subkey(PURPOSE), at.address_key, record.names)
        run = _Run(at, person, record, key, rewriter)
        match at.step:
            case "requested":
                return await self._begin(run)
            case "names":
                return await self._page(run, persons.page_of_messages, self._names, "tickets")
            case "tickets":
                return await self._page(run, persons.page_of_tickets, self._tickets, "messages")
            case "messages":
                return await self._page(run, persons.page_of_messages, self._messages, "quarantine")
            case "quarantine":
                return await self._page(run, persons.page_of_quarantine, self._quarantined, "erased")
            case _:
                return await self._finish(run)

    async def _advance(self, at: PersonErasure, **values: Any) -> PersonErasure:
        return await self._tools.content.transaction(at.account_id, persons.advance, at, **values)

    async def _begin(self, run: _Run) -> PersonErasure:
        at, tools = run.erasure, self._tools
        if not at.dry_run:
            # Before anything is written: whatever becomes of this database, the ledger knows whom to look for.
            detail = {"address_key": at.address_key.hex()}
            await tools.keystore.transaction(at.account_id, keystore.append_once, at.erasure_id, "person", detail)
            await note_ledger(tools.content, tools.keystore)
        total = await tools.content.read(at.account_id, persons.count_all)
        return await self._advance(at, step="names", total=total)

    async def _page(self, run: _Run, page: Any, look: Any, following: str) -> PersonErasure:
        at, pause = run.erasure, Pause()
        after = at.after_id or _START
        found: list[Found] = await self._tools.content.read(at.account_id, page, after, at.until_id, _PAGE)
        if not found:
            return await self._advance(at, step=following)
        values = await look(run, found)
        await pause.wait()
        return await self._advance(at, step=at.step, after_id=found[-1].row_id, checked=len(found), **values)

    async def _names(self, run: _Run, found: Sequence[Found]) -> dict[str, Any]:
        names, addresses = dict.fromkeys(run.record.names), dict.fromkeys(run.record.addresses)
        for _, _, record in await self._opened(run, found):
            if record is None:
                continue
            named = everybody(record.mail)
            names |= dict.fromkeys(run.person.names_among(named))
            spelled = (address.addr for address in named if run.person.has(address.addr))
            addresses |= dict.fromkeys(normalize(addr) for addr in spelled)
        new = PersonRecord(tuple(addresses)[:NAMES_MAX], tuple(names)[:NAMES_MAX])
        if new == run.record:
            return {}
        return {"sealed": run.key.seal_record(PersonRecord.place(run.erasure.erasure_id), new)}

    async def _tickets(self, run: _Run, found: Sequence[Found]) -> dict[str, Any]:
        counts = dict[str, int]()
        for ticket in found:
            key = await self._key(run, ticket.mailbox_id)
            if key is None:
                continue
            record = key.open_record(TicketRecord.place(ticket.row_id), ticket.sealed, TicketRecord)
            if run.person.has(record.requester.addr):
                if run.erasure.dry_run:
                    counts["tickets_deleted"] = counts.get("tickets_deleted", 0) + 1
                else:
                    await self._delete_ticket(run, ticket)
                continue
            offered = record.offered_requester
            new = TicketRecord(
                replaced(record.subject, run.person.find(record.subject)),
                record.requester,
                None if offered is not None and run.person.has(offered.addr) else offered,
            )
            if new == record:
                continue
            if run.erasure.dry_run:
                counts["tickets_rewritten"] = counts.get("tickets_rewritten", 0) + 1
                continue
            sealed = key.seal_record(TicketRecord.place(ticket.row_id), new)
            await self._write(run, person_writes.rewrite_ticket, ticket, sealed)
        return {"counts": counts}

    async def _delete_ticket(self, run: _Run, ticket: Found) -> None:
        while True:
            pause = Pause()
            deleted = await self._write(run, person_writes.delete_requested, ticket, CHUNK_ROWS)
            if deleted is None:
                return  # its mailbox is being forgotten
            await self._delete_blobs(run, deleted.blobs)
            await pause.wait()
            if deleted.done:
                return

    async def _messages(self, run: _Run, found: Sequence[Found]) -> dict[str, Any]:
        counts = dict[str, int]()

        def more(kind: str, number: int = 1) -> None:
            counts[kind] = counts.get(kind, 0) + number

        requested = await self._requested(run, found) if run.erasure.dry_run else set()
        for one, key, record in await self._opened(run, found):
            if key is None or record is None:
                continue
            theirs = one.direction == "in" and is_by(run.person, record.mail)
            if theirs or requested & {one.ticket_id, one.merged_from_id}:
                if run.erasure.dry_run:
                    more("messages_deleted")
                else:
                    deleted = await self._write(run, person_writes.delete_written, one)
                    await self._delete_blobs(run, deleted.blobs if deleted else ())
                continue
            more("attachments_not_searched", len(record.mail.attachments))
            try:
                done = await self._ask(run, key, one, record.mail)
            except ParserRejected:
                more("messages_not_searched")
                continue
            if done is not None or self._is_recipient(run, key, one, await self._reply(run, one)):
                if run.erasure.dry_run:
                    more("messages_rewritten")
                else:
                    await self._rewrite(run, key, one, record.mail, done)
        return {"counts": counts}

    async def _requested(self, run: _Run, found: Sequence[Found]) -> set[UUID | None]:
        """Return the tickets of messages that the person requested; the preview has not deleted them."""
        account_id = run.erasure.account_id
        wanted = {ticket for one in found for ticket in (one.ticket_id, one.merged_from_id) if ticket is not None}
        requested = set[UUID | None]()
        for ticket in await self._tools.content.read(account_id, persons.tickets_by_id, list(wanted)):
            key = await self._key(run, ticket.mailbox_id)
            if key is None:
                continue
            record = key.open_record(TicketRecord.place(ticket.row_id), ticket.sealed, TicketRecord)
            if run.person.has(record.requester.addr):
                requested.add(ticket.row_id)
        return requested

    async def _rewrite(self, run: _Run, key: DataKey, one: Found, mail: ParsedMail, done: Transformed | None) -> None:
        new = Transformed(mail, [], b"", 0) if done is None else done
        raw = None
        if new.chunks:
            raw = await seal_raw(self._tools.blobs, key, one.row_id, new.chunks, new.size_bytes, _IN_ROWS)
        gone = await self._write(run, rewrite_found, one, key, run.person, new, raw)
        await self._delete_blobs(run, gone or ())

    async def _quarantined(self, run: _Run, found: Sequence[Found]) -> dict[str, Any]:
        counts = dict[str, int]()

        def more(kind: str) -> None:
            counts[kind] = counts.get(kind, 0) + 1

        for one in found:
            key = await self._key(run, one.mailbox_id)
            if key is None:
                continue
            raw = await self._load(run, key, one)
            if raw is None:
                continue
            if is_from(run.person, raw):
                if run.erasure.dry_run:
                    more("quarantine_deleted")
                else:
                    await self._delete_blobs(run, await self._write(run, person_writes.delete_quarantined, one) or ())
                continue
            try:
                done = await self._asked(run, raw, None)
            except ParserRejected:
                more("quarantine_not_searched")
                continue
            if not done.chunks:
                continue
            if run.erasure.dry_run:
                more("quarantine_rewritten")
                continue
            place = QuarantineRecord.place(one.row_id)
            record = key.open_record(place, one.sealed, QuarantineRecord)
            sealed = key.seal_record(place, msgspec.structs.replace(record, raw_sha256=done.raw_sha256))
            stored = await seal_raw(self._tools.blobs, key, one.row_id, done.chunks, done.size_bytes, _IN_ROWS)
            gone = await self._write(run, person_writes.rewrite_quarantined, one, Rewritten(sealed, stored))
            await self._delete_blobs(run, gone or ())
        return {"counts": counts}

    async def _finish(self, run: _Run) -> PersonErasure:
        at, tools = run.erasure, self._tools
        if at.dry_run:
            return await self._advance(at, step="done")
        for mailbox in await tools.content.read(at.account_id, mailboxes.list_mailboxes):
            key = await self._key(run, mailbox.mailbox_id)
            if key is not None and run.record.addresses:
                keys = [address_key(key, address) for address in run.record.addresses]
                await self._write(run, person_writes.end_standing, mailbox.mailbox_id, keys)
        await compact(tools.content)
        at = await tools.content.read(at.account_id, persons.get_erasure, at.erasure_id)
        receipt = PersonReceipt(at.erasure_id, at.requested_at, at.step_at, at.done)
        written, _ = await find_person_receipt(tools.keystore, at.account_id, at.erasure_id)
        # After a restore it is erased again, and has another receipt.
        if written is None or written.requested_at != at.requested_at:
            detail = msgspec.to_builtins(receipt)
            await tools.keystore.transaction(at.account_id, keystore.append_ledger, at.erasure_id, "receipt", detail)
            await note_ledger(tools.content, tools.keystore)
        at = await self._advance(at, step="done")
        log.info("person.erased", account_id=at.account_id, erasure_id=at.erasure_id)
        return at

    async def _write(self, run: _Run, write: Callable[..., Any], *args: Any) -> Any:
        """Return what a step's transaction returns; None where its mailbox is being forgotten."""
        at = run.erasure
        try:
            return await self._tools.content.transaction(at.account_id, write, at, *args)
        except NotFound:
            return None

    async def _opened(
        self, run: _Run, found: Sequence[Found]
    ) -> list[tuple[Found, DataKey | None, MessageRecord | None]]:
        opened = list[tuple[Found, DataKey | None, MessageRecord | None]]()
        for one in found:
            key = await self._key(run, one.mailbox_id)
            record = None
            if key is not None:
                record = key.open_record(MessageRecord.place(one.row_id), one.sealed, MessageRecord)
            opened.append((one, key, record))
        return opened

    async def _key(self, run: _Run, mailbox_id: UUID) -> DataKey | None:
        """Return a mailbox's key; None where it is being forgotten."""
        try:
            return await self._tools.keys.mailbox(run.erasure.account_id, mailbox_id)
        except KeyDestroyed:
            return None

    async def _ask(self, run: _Run, key: DataKey, one: Found, mail: ParsedMail) -> Transformed | None:
        """Return what is to stand in a message's place; None where nothing changes, or it is gone.

        Raises ParserRejected.
        """
        raw = await self._load(run, key, one)
        if raw is None:
            return None
        done = await self._asked(run, raw, mail)
        return None if not done.chunks and done.mail == mail else done

    async def _asked(self, run: _Run, raw: bytes, mail: ParsedMail | None) -> Transformed:
        assert run.rewriter is not None
        asked = Asked(run.key.subkey(PURPOSE), run.erasure.address_key, run.record.names, raw, mail)
        frame = await asyncio.to_thread(msgspec.msgpack.encode, asked)
        try:
            return await run.rewriter.transform(frame, live=False)
        except ValueError:
            raise ParserRejected("memory") from None

    async def _load(self, run: _Run, key: DataKey, one: Found) -> bytes | None:
        place = RawPlace(one.row_id, one.chunks, one.raw_place)
        try:
            return await load_raw(self._tools.content, self._tools.blobs, key, place)
        except (NotFound, SealBroken):
            # Deleted meanwhile, or rewritten by another process; what is damaged, `verify` tells.
            return None

    async def _reply(self, run: _Run, one: Found) -> outbox.Reply | None:
        if one.direction == "in":
            return None
        try:
            return await self._tools.content.read(run.erasure.account_id, outbox.get_reply, one.row_id)
        except NotFound:
            return None

    def _is_recipient(self, run: _Run, key: DataKey, one: Found, reply: outbox.Reply | None) -> bool:
        if reply is None:
            return False
        record = key.open_record(ReplyRecord.place(one.row_id), reply.sealed, ReplyRecord)
        return any(run.person.has(addr) for addr in (*record.recipients, *record.bcc))

    async def _delete_blobs(self, run: _Run, blobs: Iterable[tuple[UUID, UUID]]) -> None:
        for mailbox_id, owner_id in blobs:
            # A crash before this leaves orphans, which are swept.
            await asyncio.to_thread(self._tools.blobs.delete, run.erasure.account_id, mailbox_id, owner_id)
