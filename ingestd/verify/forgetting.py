"""Nothing left: what a disconnect promised to forget is gone, and it goes step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from sqlalchemy import and_, select

from ingestd.verify.look import UNDER_WAY, Look
from ingestd.verify.report import Findings
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.blobs import StoredBlob
from storage.erasures import count_rows
from storage.keystore_tables import ledger, revocations, wrapped_keys
from storage.mailboxes import MailboxState
from storage.messages import BLOB
from storage.persons import STEPS as PERSON_STEPS
from storage.tables import erasures, mailboxes, messages, person_erasures, quarantine

STEPS = ("requested", "unreadable", "deleted", "done")
"""Of an erasure, in their order."""


async def destroyed_mailboxes_are_gone(look: Look, found: Findings) -> None:
    """Of a mailbox that the ledger calls destroyed nothing is left once its erasure is done: no row, no
    file, no key, no grant."""
    async for page in look.pages(look.keystore, ledger, ledger.c.entry == "destroyed"):
        for entry in page:
            step = await _step(look, entry.account_id, entry.owner_id)
            found.checked += 1
            if step not in {None, "done"}:
                continue  # on its way; None: the content database was restored, and must be cleaned again
            for kind, count in sorted((await _left(look, entry.account_id, entry.owner_id)).items()):
                found.add(entry.account_id, entry.owner_id, f"{count} of {kind} are left of a destroyed mailbox")


async def erasures_go_step_by_step(look: Look, found: Findings) -> None:
    """An erasure stands at a step only when what that step promises has happened: the mailbox is closed,
    then its key destroyed and in the ledger, at last a receipt written."""
    async for page in look.pages(look.content, erasures):
        for row in page:
            found.checked += 1
            for fault in await _step_faults(look, row.account_id, row.mailbox_id, row.step):
                found.add(row.account_id, row.mailbox_id, fault)


@stated
def disconnecting_mailboxes_are_being_erased() -> Statements:
    """A mailbox that is being disconnected has an erasure that is not done yet."""
    is_leaving = mailboxes.c.state == MailboxState.DISCONNECTING
    yield Count(mailboxes, is_leaving)
    erasure = select(erasures.c.step).where(
        erasures.c.account_id == mailboxes.c.account_id,
        erasures.c.mailbox_id == mailboxes.c.mailbox_id,
    )
    query = select(mailboxes.c.account_id, mailboxes.c.mailbox_id).where(is_leaving, ~erasure.exists())
    yield Flag(query, "the mailbox is being disconnected, but has no erasure")


async def blobs_have_a_row(look: Look, found: Findings) -> None:
    """Every blob older than an hour belongs to a message or a quarantine row of the same account and
    mailbox."""
    blobs = look.blobs.list()
    while page := await asyncio.to_thread(_some, blobs, look.page_rows):
        owners: set[tuple[UUID, UUID, UUID]] = set()
        for table, id_column in ((messages, messages.c.message_id), (quarantine, quarantine.c.quarantine_id)):
            query = select(table.c.account_id, table.c.mailbox_id, id_column)
            query = query.where(id_column.in_([one.owner_id for one in page]), table.c.raw_place == BLOB)
            owners.update((row[0], row[1], row[2]) for row in await look.rows(query))
        for one in page:
            found.checked += 1
            owned = (one.account_id, one.mailbox_id, one.owner_id) in owners
            if not owned and one.modified_at < look.now - UNDER_WAY:
                found.add(one.account_id, one.owner_id, "the blob belongs to no message")


async def persons_are_erased_step_by_step(look: Look, found: Findings) -> None:
    """A person's erasure stands at a step only when what that step promises has happened: the ledger knows of it
    before anything is written, and at its end has its receipt; then neither address nor names are kept."""
    async for page in look.pages(look.content, person_erasures):
        for row in page:
            found.checked += 1
            if row.step not in PERSON_STEPS:
                found.add(row.account_id, row.erasure_id, "the erasure stands at an unknown step")
            wanted = [] if row.dry_run or row.step == "requested" else ["person"]
            wanted += ["receipt"] if row.step == "done" and not row.dry_run else []
            for entry in wanted:
                if not await _has_entry(look, row.account_id, row.erasure_id, entry):
                    found.add(row.account_id, row.erasure_id, f"the ledger has no entry {entry} of the erasure")
            if row.step == "done" and row.sealed is not None:
                found.add(row.account_id, row.erasure_id, "the erasure is done, and still knows whom it was about")


async def revocations_end(look: Look, found: Findings) -> None:
    """No refresh token is kept for its revocation past its expiry."""
    async for page in look.pages(look.keystore, revocations):
        for row in page:
            found.checked += 1
            if row.expires_at < look.now:
                found.add(row.account_id, row.mailbox_id, "the refresh token is kept past its expiry")


async def revocations_are_of_destroyed_mailboxes(look: Look, found: Findings) -> None:
    """A refresh token is kept in the key store only for a mailbox whose key is destroyed."""
    async for page in look.pages(look.keystore, revocations):
        for row in page:
            found.checked += 1
            if not await _has_entry(look, row.account_id, row.mailbox_id, "destroyed"):
                found.add(row.account_id, row.mailbox_id, "a refresh token is kept of a mailbox that is not destroyed")


async def _step(look: Look, account_id: UUID, mailbox_id: UUID) -> str | None:
    same = and_(erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id)
    rows = await look.rows(select(erasures.c.step).where(same))
    return rows[0][0] if rows else None


async def _left(look: Look, account_id: UUID, mailbox_id: UUID) -> dict[str, int]:
    left = dict(await look.content.read(account_id, count_rows, mailbox_id))
    left["mailboxes"] = int(await _state(look, account_id, mailbox_id) is not None)
    left["keys"] = int(await _has_key(look, account_id, mailbox_id))
    left["blobs"] = await asyncio.to_thread(look.blobs.count, account_id, mailbox_id)
    return {kind: count for kind, count in left.items() if count}


async def _step_faults(look: Look, account_id: UUID, mailbox_id: UUID, step: str) -> list[str]:
    faults = []
    if step not in STEPS:
        return ["the erasure stands at an unknown step"]
    if await _state(look, account_id, mailbox_id) not in {None, MailboxState.DISCONNECTING}:
        faults.append("the mailbox is open while it is being erased")
    if step != "requested":
        if await _has_key(look, account_id, mailbox_id):
            faults.append("the key is still there")
        if not await _has_entry(look, account_id, mailbox_id, "destroyed"):
            faults.append("the ledger does not know of it")
    if step == "done" and not await _has_entry(look, account_id, mailbox_id, "receipt"):
        faults.append("there is no receipt")
    return faults


async def _state(look: Look, account_id: UUID, mailbox_id: UUID) -> str | None:
    same = and_(mailboxes.c.account_id == account_id, mailboxes.c.mailbox_id == mailbox_id)
    rows = await look.rows(select(mailboxes.c.state).where(same))
    return rows[0][0] if rows else None


async def _has_key(look: Look, account_id: UUID, mailbox_id: UUID) -> bool:
    same = and_(wrapped_keys.c.account_id == account_id, wrapped_keys.c.owner_id == mailbox_id)
    return bool(await look.rows(select(wrapped_keys.c.owner_id).where(same), database=look.keystore))


async def _has_entry(look: Look, account_id: UUID, mailbox_id: UUID, entry: str) -> bool:
    same = and_(ledger.c.account_id == account_id, ledger.c.owner_id == mailbox_id, ledger.c.entry == entry)
    return bool(await look.rows(select(ledger.c.sequence).where(same).limit(1), database=look.keystore))


def _some(blobs: Iterator[StoredBlob], limit: int) -> list[StoredBlob]:
    return list(islice(blobs, limit))
