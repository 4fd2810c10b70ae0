"""How far the forgetting of mailboxes has come, and the receipts that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec

from ingestd.records import Receipt
from storage import erasures, keystore
from storage.database import Database
from storage.erasures import Erasure
from storage.keystore import LedgerEntry, LedgerPosition


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The forgetting of a mailbox."""

    erasure: Erasure
    receipt: Receipt | None
    """None before it is written."""
    revocation: str | None
    """What came of the revocation of its grant, as far as it is known now; None before the receipt is written."""
    refresh_after: str | None = None
    """What came of a refresh that was tried afterwards; None as above."""
    removal_page: str | None = None
    """Where the owner can take our access away, as it was when the revocation was given up."""
    position: LedgerPosition | None = None
    """Where the receipt stands in the ledger; None as above."""


async def find_forgetting(content: Database, store: Database, account_id: UUID, mailbox_id: UUID) -> Forgetting:
    """Raises NotFound for a mailbox that nobody asked to forget. `store` is the key store."""
    erasure = await content.read(account_id, erasures.get_erasure, mailbox_id)
    (found,) = await _with_receipts(store, account_id, [erasure])
    return found


async def list_forgetting(
    content: Database, store: Database, account_id: UUID, *, after: UUID | None, limit: int
) -> list[Forgetting]:
    """Return up to `limit` behind the mailbox id `after`, in the order in which the mailboxes were linked."""
    found = await content.read(account_id, erasures.page_of_erasures, after=after, limit=limit)
    return await _with_receipts(store, account_id, found)


async def _with_receipts(store: Database, account_id: UUID, found: list[Erasure]) -> list[Forgetting]:
    entries = await store.read(account_id, keystore.list_endings, [one.mailbox_id for one in found])
    # Ordered by their sequence: of several receipts, the newest counts.
    receipts = {one.owner_id: one for one in entries if one.entry == "receipt"}
    revocations = {one.owner_id: one for one in entries if one.entry == "revocation"}
    return [_forgetting(one, receipts.get(one.mailbox_id), revocations.get(one.mailbox_id)) for one in found]


def _forgetting(erasure: Erasure, written: LedgerEntry | None, revoked: LedgerEntry | None) -> Forgetting:
    if written is None:
        return Forgetting(erasure, None, None)
    receipt = msgspec.json.decode(written.detail, type=Receipt)
    # The newest word: a receipt may have been written while the revocation was still tried.
    told = msgspec.json.decode(revoked.detail) if revoked is not None else {}
    return Forgetting(
        erasure,
        receipt,
        told.get("outcome") or receipt.revocation,
        told.get("refresh_after") or receipt.refresh_after,
        told.get("removal_page") or receipt.removal_page,
        LedgerPosition(written.sequence, bytes(written.hash)),
    )
