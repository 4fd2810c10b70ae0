"""Forgetting a mailbox: five steps, each repeatable, each resumed after a crash.

1. The fence is raised: no worker can write for the mailbox any more (`requests.request_disconnect`).
2. Its key is destroyed in the key store, together with the ledger's entry and a wrapped
   copy of the grant's tokens. From here on the content is unreadable wherever it lies.
3. The grant is revoked at the provider (`ingestd.privacy.revocation`, which has 24 h).
4. Rows and blobs are deleted, in small chunks, and the space is given back.
5. The receipt is written into the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection

from ingestd.keys import KeyRing
from ingestd.privacy.positions import note_ledger
from ingestd.privacy.requests import tell
from ingestd.privacy.revocation import revocable_text
from ingestd.records import GrantRecord, PushRecord, Receipt, RevocableRecord
from ingestd.telemetry.metrics import Metrics
from storage import erasures, grants, keystore, mailboxes, pushes, webhooks
from storage.blobs import Blobs
from storage.database import Database
from storage.erasures import Erasure
from storage.errors import KeyDestroyed, MasterKeyWrong, NotFound, SealBroken
from storage.sealing import DataKey

log = structlog.get_logger()

CHUNK_ROWS = 100
_CHUNK_PAUSE_SECONDS = 0.005
"""Lets others commit between two chunks; where a chunk took longer, half as long as that."""
_CHUNK_PAUSE_SECONDS_MAX = 0.25
_COMPACT_PAGES = 256
_COMPACT_ROUNDS = 2000
_TRUNCATE_ROUNDS = 50
_KEYSTORE_TRUNCATE_ROUNDS = 2
_TRUNCATE_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class EraserTools:
    content: Database
    keystore: Database
    blobs: Blobs
    keys: KeyRing
    metrics: Metrics
    revoke: Callable[[UUID, UUID], Awaitable[None]]
    """Tries to revoke the grant of a mailbox that is being forgotten, once; what fails is tried again later."""


class Pause:
    """What others are given behind a chunk that begins now: the longer it waits for them and works, the longer."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    async def wait(self) -> None:
        taken = time.monotonic() - self._started
        await asyncio.sleep(min(max(_CHUNK_PAUSE_SECONDS, taken / 2), _CHUNK_PAUSE_SECONDS_MAX))


class Eraser:
    """Brings requested erasures to their end."""

    def __init__(self, tools: EraserTools) -> None:
        self._tools = tools
        # Whoever was here before may have been killed before it could clean up.
        self._unclean = {tools.content, tools.keystore}
        self._destroying = asyncio.Lock()

    async def run(self, erasure: Erasure) -> Receipt:
        """Go on from the step that was reached; return the receipt. Raises StorageError where a step cannot be done."""
        account_id, mailbox_id = erasure.account_id, erasure.mailbox_id
        if erasure.step == "requested":
            await self.make_unreadable(account_id, mailbox_id)
        await self._tools.revoke(account_id, mailbox_id)
        if erasure.step in {"requested", "unreadable"}:
            await self._delete(account_id, mailbox_id)
        receipt = await self._write_receipt(account_id, mailbox_id)
        if erasure.step != "done":
            await self._tools.content.transaction(account_id, _finish, mailbox_id)
            self._unclean.add(self._tools.content)  # the mailbox's own row went last
            self._tools.metrics.erasure_ended("done")
            log.info("erasure.done", mailbox_id=mailbox_id, rows=sum(receipt.deleted.values()))
        return receipt

    async def make_unreadable(self, account_id: UUID, mailbox_id: UUID) -> None:
        """Step 2 alone, where it is not done; may be called while rows of any mailbox are deleted. Raises as `run`."""
        async with self._destroying:
            erasure = await self._tools.content.read(account_id, erasures.get_erasure, mailbox_id)
            if erasure.step == "requested":
                await self._make_unreadable(account_id, mailbox_id)

    async def clean(self) -> None:
        """Wipe what deleted rows left in SQLite's files, where an open reader prevented it before.

        One try: call it again and again. Raises StorageUnavailable.
        """
        await self._clean(self._tools.content)
        await self.clean_keystore()

    async def clean_keystore(self) -> None:
        """As `clean`, of the keys alone."""
        await self._clean(self._tools.keystore)

    async def _clean(self, database: Database) -> None:
        if database in self._unclean and await compact(database, truncate_rounds=0):
            self._unclean.discard(database)

    async def _make_unreadable(self, account_id: UUID, mailbox_id: UUID) -> None:
        tools = self._tools
        mailbox = await tools.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        fingerprint, token = await self._last_look(account_id, mailbox_id)
        # False where a crash came between the two databases' commits: then it is destroyed already.
        await tools.keystore.transaction(
            account_id,
            keystore.destroy_key,
            mailbox_id,
            detail={"fingerprint": fingerprint, "provider": mailbox.provider},
            provider=mailbox.provider,
            wrapped_refresh_token=token,
        )
        tools.keys.forget(mailbox_id)
        # The key was written long ago, and may still lie in the WAL: with the master key it would open what is left.
        # A reader is not waited for: the next key is to be destroyed within a second, too.
        await self._compact(tools.keystore, mailbox_id, truncate_rounds=_KEYSTORE_TRUNCATE_ROUNDS)
        await note_ledger(tools.content, tools.keystore)
        await tools.content.transaction(account_id, erasures.set_step, mailbox_id, "unreadable")
        log.info("erasure.step", mailbox_id=mailbox_id, step="unreadable")

    async def _last_look(self, account_id: UUID, mailbox_id: UUID) -> tuple[str, bytes | None]:
        """Return the key's fingerprint, and the grant wrapped by the master key.

        What is damaged, or gone already, must not keep the mailbox from being forgotten.
        """
        tools = self._tools
        try:
            key = await tools.keys.mailbox(account_id, mailbox_id)
        except (KeyDestroyed, MasterKeyWrong):
            return "unknown", None
        try:
            grant = await tools.content.read(account_id, grants.get_grant, mailbox_id)
            record = key.open_record(GrantRecord.place(mailbox_id), grant.sealed, GrantRecord)
        except (NotFound, SealBroken):
            return key.fingerprint(), None
        mailbox = await tools.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        revocable = RevocableRecord(
            **msgspec.structs.asdict(record),
            read_way=mailbox.read_way or "",
            subscription_id=await self._subscription_id(key, mailbox_id),
        )
        return key.fingerprint(), tools.keys.wrap_token(account_id, mailbox_id, revocable_text(revocable))

    async def _subscription_id(self, key: DataKey, mailbox_id: UUID) -> str:
        push = await self._tools.content.read(key.account_id, pushes.find_push, mailbox_id)
        if push is None or push.sealed is None:
            return ""
        try:
            return key.open_record(PushRecord.place(mailbox_id), push.sealed, PushRecord).subscription_id
        except SealBroken:
            return ""

    async def _delete(self, account_id: UUID, mailbox_id: UUID) -> None:
        tools = self._tools
        await self._delete_rows(account_id, mailbox_id)
        # Whoever read the log before the events went may have made deliveries of them since: from here on nobody does.
        await tools.content.transaction(account_id, webhooks.have_read_anew)
        await self._delete_rows(account_id, mailbox_id)
        count = await asyncio.to_thread(tools.blobs.delete_mailbox, account_id, mailbox_id)
        if count:
            await tools.content.transaction(account_id, erasures.add_count, mailbox_id, "blobs", count)
        await self._compact(tools.content, mailbox_id)
        await tools.content.transaction(account_id, erasures.set_step, mailbox_id, "deleted")
        log.info("erasure.step", mailbox_id=mailbox_id, step="deleted")

    async def _delete_rows(self, account_id: UUID, mailbox_id: UUID) -> None:
        reached = 0
        while True:
            pause = Pause()
            chunk = await self._tools.content.transaction(
                account_id, erasures.delete_chunk, mailbox_id, CHUNK_ROWS, first=reached
            )
            if not chunk.rows:
                break
            reached = chunk.table
            await pause.wait()

    async def _compact(self, database: Database, mailbox_id: UUID, *, truncate_rounds: int = _TRUNCATE_ROUNDS) -> None:
        if not await compact(database, truncate_rounds=truncate_rounds):
            self._unclean.add(database)
            log.warning("erasure.wal_kept", mailbox_id=mailbox_id)

    async def _write_receipt(self, account_id: UUID, mailbox_id: UUID) -> Receipt:
        tools = self._tools
        written = await tools.keystore.read(account_id, keystore.find_receipt, mailbox_id)
        if written is not None:
            return msgspec.json.decode(written.detail, type=Receipt)
        erasure = await tools.content.read(account_id, erasures.get_erasure, mailbox_id)
        entries = await tools.keystore.read(None, keystore.list_ledger)
        mine = {one.entry: one for one in entries if one.owner_id == mailbox_id}
        destroyed = msgspec.json.decode(mine["destroyed"].detail) if "destroyed" in mine else {}
        revoked = msgspec.json.decode(mine["revocation"].detail) if "revocation" in mine else {}
        receipt = Receipt(
            mailbox_id=mailbox_id,
            provider=destroyed.get("provider", "unknown"),
            requested_at=erasure.requested_at,
            unreadable_at=mine["destroyed"].at if "destroyed" in mine else erasure.step_at,
            deleted_at=erasure.step_at,
            key_fingerprint=destroyed.get("fingerprint", "unknown"),
            deleted=erasure.deleted,
            revocation=revoked.get("outcome") or await self._open_revocation(mailbox_id),
            left=await tools.content.read(account_id, erasures.count_rows, mailbox_id),
            refresh_after=revoked.get("refresh_after", "not_tried"),
            removal_page=revoked.get("removal_page"),
            blob_versions=tools.blobs.versions,
        )
        await tools.keystore.transaction(
            account_id, keystore.append_ledger, mailbox_id, "receipt", msgspec.to_builtins(receipt)
        )
        await note_ledger(tools.content, tools.keystore)
        return receipt

    async def _open_revocation(self, mailbox_id: UUID) -> str:
        waiting = await self._tools.keystore.read(None, keystore.list_revocations)
        return "pending" if mailbox_id in {one.mailbox_id for one in waiting} else "nothing_to_revoke"


def _finish(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    mailboxes.delete_mailbox(conn, account_id, mailbox_id)
    if not erasures.set_step(conn, account_id, mailbox_id, "done"):
        return  # another replica was here first, and has told
    with suppress(NotFound):  # a closed account has no log any more; its receipts may have to be written again
        tell(conn, account_id, mailbox_id, "erasure.completed")


async def compact(database: Database, *, truncate_rounds: int = _TRUNCATE_ROUNDS) -> bool:
    """Give SQLite's free pages back and truncate its WAL, in small steps; return whether all of it could be done.

    An open reader keeps the WAL from being truncated: it is tried again for a while. What
    then stays in the WAL is ciphertext whose key is gone.
    """
    if not database.is_sqlite:
        return True  # PostgreSQL's own vacuum does this
    truncated = False
    for _ in range(_COMPACT_ROUNDS):
        pause = Pause()
        free, truncated = await database.compact(_COMPACT_PAGES)
        if free == 0:
            break
        await pause.wait()
    for _ in range(truncate_rounds):
        if truncated:
            return True
        await asyncio.sleep(_TRUNCATE_PAUSE_SECONDS)
        _, truncated = await database.compact(_COMPACT_PAGES)
    return truncated
