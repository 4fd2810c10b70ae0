"""Closing an account for good: its mailboxes first, each as in a disconnect, then what is the account's own.

1. It is closed for all writes, every mailbox of it is disconnected, its tokens open nothing (`requests.request_close`).
2. Once the last mailbox is forgotten, its webhooks are told nothing more, and its own key is destroyed, together with
   the ledger's entry. From here on its name and its webhooks' secrets are unreadable wherever they lie.
3. Its rows are deleted, in small chunks, and the space is given back.
4. The receipt is written into the ledger.

Each step can be repeated, and a crash resumes. Whoever slept through it finds the account closed, and writes nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection

from ingestd.privacy.disconnect import CHUNK_ROWS, EraserTools, Pause, compact
from ingestd.privacy.positions import note_ledger
from ingestd.records import AccountReceipt
from storage import closures, erasures, keystore
from storage.database import Database
from storage.erasures import Erasure
from storage.errors import KeyDestroyed, MasterKeyWrong
from storage.keystore import LedgerPosition

log = structlog.get_logger()


class Closer:
    """Brings requested closings of accounts to their end, with the tools of the `Eraser` of their mailboxes."""

    def __init__(self, tools: EraserTools) -> None:
        self._tools = tools

    async def run(self, erasure: Erasure) -> AccountReceipt | None:
        """Go on from the step that was reached; return the receipt, None while a mailbox is not forgotten yet.

        Raises StorageError where a step cannot be done.
        """
        account_id, content = erasure.account_id, self._tools.content
        if erasure.step == "requested":
            if not await content.read(account_id, closures.is_empty):
                return None
            await self._make_unreadable(account_id)
        if erasure.step in {"requested", "unreadable"}:
            await self._delete(account_id)
        receipt = await self._write_receipt(account_id)
        if erasure.step != "done":
            await content.transaction(account_id, erasures.set_step, account_id, "done")
            self._tools.metrics.erasure_ended("done")
            log.info("account.closed", account_id=account_id, rows=sum(receipt.deleted.values()))
        return receipt

    async def _make_unreadable(self, account_id: UUID) -> None:
        tools = self._tools
        await tools.content.transaction(account_id, closures.end_webhooks)
        fingerprint = "unknown"
        with suppress(KeyDestroyed, MasterKeyWrong):  # gone already, or damaged: it must be forgotten all the same
            fingerprint = (await tools.keys.account(account_id)).fingerprint()
        # False where a crash came between the two databases' commits: then it is destroyed already.
        await tools.keystore.transaction(account_id, keystore.destroy_account_key, detail={"fingerprint": fingerprint})
        tools.keys.forget(account_id)
        await compact(tools.keystore)
        await note_ledger(tools.content, tools.keystore)
        await tools.content.transaction(account_id, _close)

    async def _delete(self, account_id: UUID) -> None:
        tools = self._tools
        gone = CHUNK_ROWS
        while gone:
            pause = Pause()
            gone = await tools.content.transaction(account_id, closures.delete_chunk, CHUNK_ROWS)
            await pause.wait()
        count = await asyncio.to_thread(tools.blobs.delete_account, account_id)
        if count:
            await tools.content.transaction(account_id, erasures.add_count, account_id, "blobs", count)
        await compact(tools.content)
        await tools.content.transaction(account_id, erasures.set_step, account_id, "deleted")

    async def _write_receipt(self, account_id: UUID) -> AccountReceipt:
        tools = self._tools
        written = await find_receipt(tools.keystore, account_id)
        if written is not None:
            return written
        erasure = await tools.content.read(account_id, erasures.get_erasure, account_id)
        entries = await tools.keystore.read(None, keystore.list_ledger)
        mine = {one.owner_id: one for one in entries if one.account_id == account_id and one.entry == "destroyed"}
        own = mine.pop(account_id, None)
        receipt = AccountReceipt(
            account_id=account_id,
            requested_at=erasure.requested_at,
            unreadable_at=own.at if own else erasure.step_at,
            deleted_at=erasure.step_at,
            key_fingerprint=msgspec.json.decode(own.detail).get("fingerprint", "unknown") if own else "unknown",
            mailboxes=tuple(mine),
            deleted=erasure.deleted,
            left=await tools.content.read(account_id, closures.count_rows),
            blob_versions=tools.blobs.versions,
        )
        await tools.keystore.transaction(
            account_id, keystore.append_once, account_id, "receipt", msgspec.to_builtins(receipt)
        )
        await note_ledger(tools.content, tools.keystore)
        written = await find_receipt(tools.keystore, account_id)
        assert written is not None
        return written


@dataclass(frozen=True, slots=True)
class Closed:
    """The receipt of a closed account."""

    receipt: AccountReceipt
    position: LedgerPosition
    """Where it stands in the ledger."""


async def find_closed(store: Database, account_id: UUID) -> Closed | None:
    """Return the receipt of a closed account; None before it is written. `store` is the key store."""
    written = await store.read(account_id, keystore.find_receipt, account_id)
    if written is None:
        return None
    receipt = msgspec.json.decode(written.detail, type=AccountReceipt)
    return Closed(receipt, LedgerPosition(written.sequence, bytes(written.hash)))


async def find_receipt(store: Database, account_id: UUID) -> AccountReceipt | None:
    """As `find_closed`, without its place."""
    found = await find_closed(store, account_id)
    return None if found is None else found.receipt


def _close(conn: Connection, account_id: UUID) -> None:
    closures.forget_name(conn, account_id)
    erasures.set_step(conn, account_id, account_id, "unreadable")
