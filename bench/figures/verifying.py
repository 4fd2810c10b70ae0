"""How long the consistency checker takes."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from uuid import UUID

from sqlalchemy.engine import make_url

from bench.harness import Figure, Run
from bench.house import Installation, opened
from bench.seed import seed
from bench.timing import Stopwatch
from bench.workshop import Workshop
from ingestd.build.store import Store
from ingestd.keys import KeyRing
from ingestd.mail.blobs import decompress_chunk
from ingestd.records import chunk_place
from ingestd.verify import verify
from storage.sealing import MasterKey

_RUNS = 3
_MESSAGES = 20_000
_PER_MESSAGES = 100_000


async def verify_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Seconds for 100,000 messages that `verify` takes on SQLite: every invariant, every record and raw message
    opened. Measured on 20,000 seeded messages of 1 KB in 20 mailboxes, times five.

    The yardstick is one plain loop over the same raw messages: bare sqlite3 in one pass, AES-GCM, zstd, SHA-256.
    Wall time, both.
    """
    with workshop.temporary("sqlite") as installation:
        workshop.say(f"seeding {_MESSAGES:,} messages")
        await seed(installation, messages=_MESSAGES, mailboxes=20, account_count=2)
        async with opened(installation) as store:
            for _ in range(_RUNS):
                yield Run(await _verify(store), await _open_all(store, installation))


async def _verify(store: Store) -> float:
    keys = KeyRing(store.keystore, MasterKey(store.settings.keys.master_key_bytes()))
    watch = Stopwatch()
    report = await verify(store.content, store.keystore, store.blobs, keys)
    if not report.clean or report.checked["raw_messages_are_whole"] != _MESSAGES:
        raise RuntimeError("verify did not find the seeded messages, or found them damaged")
    return watch.seconds() * _PER_MESSAGES / _MESSAGES


async def _open_all(store: Store, installation: Installation) -> float:
    query = "SELECT account_id, mailbox_id, owner_id, sealed FROM raw_chunks ORDER BY account_id, owner_id"
    watch, count = Stopwatch(), 0
    with contextlib.closing(sqlite3.connect(str(make_url(installation.database).database))) as conn:
        for account_id, mailbox_id, owner_id, sealed in conn.execute(query):
            key = await store.keys.mailbox(UUID(bytes=account_id), UUID(bytes=mailbox_id))
            opened_chunk = key.open(chunk_place(UUID(bytes=owner_id), 0, 1), sealed)
            hashlib.sha256(decompress_chunk(opened_chunk)).digest()
            count += 1
    if count != _MESSAGES:
        raise RuntimeError(f"{count} raw messages were read, {_MESSAGES} are there")
    return watch.seconds() * _PER_MESSAGES / _MESSAGES


FIGURES = (Figure("verify_sqlite", "s/100,000 messages", "opening every raw message in one loop", verify_sqlite),)
