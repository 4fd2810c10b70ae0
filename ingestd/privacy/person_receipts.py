"""How far the erasures of persons have come, and the receipts that they leave."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec

from ingestd.records import PersonReceipt
from storage import keystore, persons
from storage.database import Database
from storage.keystore import LedgerPosition
from storage.persons import PersonErasure


@dataclass(frozen=True, slots=True)
class PersonProgress:
    """The erasure of a person."""

    erasure: PersonErasure
    receipt: PersonReceipt | None
    """None before it is written, and for a preview."""
    position: LedgerPosition | None
    """Where the receipt stands in the ledger; None as above."""


async def find_person_progress(
    content: Database, store: Database, account_id: UUID, erasure_id: UUID
) -> PersonProgress:
    """Raises NotFound for an erasure that nobody asked for. `store` is the key store."""
    erasure = await content.read(account_id, persons.get_erasure, erasure_id)
    if erasure.step != "done":
        return PersonProgress(erasure, None, None)
    return PersonProgress(erasure, *await find_person_receipt(store, account_id, erasure_id))


async def find_person_receipt(
    store: Database, account_id: UUID, erasure_id: UUID
) -> tuple[PersonReceipt | None, LedgerPosition | None]:
    """Return the newest receipt of a person's erasure, and where it stands; None before it is written."""
    written = await store.read(account_id, keystore.find_receipt, erasure_id)
    if written is None:
        return None, None
    try:
        receipt = msgspec.json.decode(written.detail, type=PersonReceipt)
    except msgspec.ValidationError:
        return None, None  # it is a mailbox's
    return receipt, LedgerPosition(written.sequence, bytes(written.hash))
