"""The erasure ledger is whole, the two databases fit together, and this version can read them."""

from __future__ import annotations

from sqlalchemy import func, select

from ingestd.verify.look import Look
from ingestd.verify.report import Findings
from storage import keystore, meta, schema
from storage.errors import SchemaMismatch
from storage.keystore_tables import ledger
from storage.tables import store_meta

KNOWN_POSITION = "ledger"
"""The fact of the content database that names the last ledger position it has seen."""


async def ledger_is_unbroken(look: Look, found: Findings) -> None:
    """The erasure ledger is a whole chain: every entry's hash covers the one before."""
    position = keystore.START
    while page := await look.keystore.read(None, keystore.list_ledger, position.sequence, limit=look.page_rows):
        found.checked += len(page)
        for sequence in keystore.broken_links(page, position):
            found.add(None, sequence, "the ledger entry does not follow from the one before")
        position = keystore.LedgerPosition(page[-1].sequence, bytes(page[-1].hash))


async def key_store_is_not_stale(look: Look, found: Findings) -> None:
    """The key store's ledger reaches at least to the position that the content database has seen."""
    text = await look.content.read(None, meta.get, store_meta, KNOWN_POSITION)
    if text is None:
        return
    found.checked += 1
    known = keystore.LedgerPosition.parse(text)
    last = await look.rows(select(func.coalesce(func.max(ledger.c.sequence), 0)), database=look.keystore)
    if known.sequence > last[0][0]:
        found.add(None, known.sequence, "the key store is older than the content database knows it to be")
        return
    entries = await look.keystore.read(None, keystore.list_ledger, known.sequence - 1, limit=1)
    at_position = keystore.START if known.sequence == 0 else _position(entries)
    if at_position != known:
        found.add(None, known.sequence, "the ledger holds another entry than the content database has seen")


async def schemas_are_current(look: Look, found: Findings) -> None:
    """Both databases have exactly the schema of this version."""
    for database, which in ((look.content, schema.CONTENT), (look.keystore, schema.KEYSTORE)):
        found.checked += 1
        try:
            await database.read(None, schema.check, which)
        except SchemaMismatch:
            found.add(None, which, "the schema is not this version's")


def _position(entries: list[keystore.LedgerEntry]) -> keystore.LedgerPosition | None:
    return keystore.LedgerPosition(entries[0].sequence, bytes(entries[0].hash)) if entries else None
