"""What a mailbox leaves behind: the plain words that must never be found, the sealed bytes that are, for a while.

The plain words ("markers") are looked for in every form that mail gives them. Of the sealed
bytes slices are kept, from several places of each record, as design and lessons ask: a page
that is freed is not always wiped, so a count of whole records would prove nothing.
"""

from __future__ import annotations

import asyncio
import base64
import quopri
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
from sqlalchemy import Connection, LargeBinary, select

from storage import keystore
from storage.tables import MAILBOX_TABLES, mailboxes
from tests.crash.world import House, World
from tests.servers.s3 import StoredObject

Kept = Path | StoredObject
SLICE_BYTES = 28
_OFFSETS = 3
_SLICES_MAX = 40
"""Of each kind: a search through a server's files takes its time."""


def forms(word: str) -> list[bytes]:
    """Return the bytes under which a word could lie somewhere, unencrypted.

    >>> b"Zeuge" in forms("Zeuge"), b"WmV1Z2" in forms("Zeuge"), b"Pr=C3=BCf" in forms("Prüf")
    (True, True, True)
    """
    plain = word.encode()
    found = {plain, word.lower().encode(), word.encode("utf-16-le"), word.encode("utf-16-be")}
    found.add(quopri.encodestring(plain).strip())
    found.update(_base64(plain))
    return sorted(found)


def _base64(plain: bytes) -> Iterator[bytes]:
    """Yield what is sure of a word's base64, whichever of the three ways it lies in its group."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + plain)
        first = (before * 8 + 5) // 6
        last = (before + len(plain)) * 8 // 6
        yield encoded[first:last]


@dataclass
class Witness:
    """What is known about a mailbox before it is forgotten."""

    stem: str
    """What every text, name and file name of the scene contains."""
    words: list[str] = field(default_factory=list)
    slices: dict[str, list[bytes]] = field(default_factory=dict)
    """By kind: sealed, chunks, blob, hashes, wrapped key."""
    keys: list[bytes] = field(default_factory=list)
    """Unwrapped: these are in memory alone."""

    def needles(self) -> list[bytes]:
        """Return what must be found nowhere, not even before."""
        keys = [form for one in self.keys for form in (one, one.hex().encode(), base64.b64encode(one))]
        return [*keys, *(one for word in self.words for one in forms(word))]


async def take_slices(world: World, house: House) -> dict[str, list[bytes]]:
    """Return slices of everything sealed that the store holds of the mailbox."""
    found = await house.store.content.read(None, _sealed_values, house.mailbox_id)
    key = await house.store.keystore.read(house.account_id, keystore.get_key, house.mailbox_id)
    found["blob"] = [one.read_bytes() for one in await _blobs(world, house)]
    found["wrapped key"] = [key.wrapped]
    return {kind: _some(_slices(values)) for kind, values in found.items()}


async def _blobs(world: World, house: House) -> Sequence[Kept]:
    if world.s3 is not None:
        return await asyncio.to_thread(world.objects, house)
    return [*(house.store.settings.storage.blobs_dir / str(house.account_id) / str(house.mailbox_id)).iterdir()]


def _sealed_values(conn: Connection, mailbox_id: UUID) -> dict[str, list[bytes]]:
    values: dict[str, list[bytes]] = {"sealed": [], "chunks": [], "hashes": []}
    for table in (*MAILBOX_TABLES, mailboxes):
        for column in table.columns:
            if not isinstance(column.type, LargeBinary) or table.name == "link_flows":
                continue
            kind = "chunks" if table.name == "raw_chunks" else "sealed" if "sealed" in column.name else "hashes"
            rows = conn.execute(select(column).where(table.c.mailbox_id == mailbox_id)).scalars()
            values[kind] += [bytes(value) for value in rows if value is not None]
    return values


def _slices(values: Iterable[bytes]) -> Iterator[bytes]:
    for value in values:
        if len(value) <= SLICE_BYTES:
            yield value
            continue
        for number in range(_OFFSETS):
            at = (len(value) - SLICE_BYTES) * number // (_OFFSETS - 1)
            yield value[at : at + SLICE_BYTES]


def _some(slices: Iterator[bytes]) -> list[bytes]:
    every = sorted(set(slices))
    return random.Random(0).sample(every, min(len(every), _SLICES_MAX))


def ours(house: House) -> list[Path]:
    """Return every file that the daemon made: databases, blobs, logs, its temporary folder."""
    return [path for path in house.folder.rglob("*") if path.is_file()]


async def files_of(world: World, house: House) -> list[Kept]:
    """Return all in which something of the mailbox could lie: our files, the bucket's and the database server's."""
    objects = await asyncio.to_thread(world.objects, house)
    if world.postgres is None:
        return [*ours(house), *objects]
    conn = await asyncpg.connect(f"postgresql://ingestd@127.0.0.1:{world.postgres.port}/postgres")
    try:
        await conn.execute("CHECKPOINT")
        data = Path(await conn.fetchval("SHOW data_directory"))
        oids = await conn.fetch("SELECT oid FROM pg_database WHERE datname = ANY($1)", list(house.databases))
    finally:
        await conn.close()
    theirs = [path for oid, *_ in oids for path in (data / "base" / str(oid)).rglob("*")]
    # What was written before this store was made is other tests'.
    since = house.config.stat().st_mtime
    wal = [path for path in (data / "pg_wal").rglob("*") if path.stat().st_mtime >= since]
    return [*ours(house), *objects, *(path for path in (*theirs, *wal) if path.is_file())]


def search(files: Iterable[Kept], needles: Sequence[bytes]) -> dict[bytes, list[str]]:
    """Return which needles lie in which files, by the files' names."""
    found: dict[bytes, list[str]] = {}
    for path in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # a WAL segment that was recycled meanwhile
        for needle in needles:
            if needle in content:
                found.setdefault(needle, []).append(path.name)
    return found


def count_found(files: Sequence[Kept], slices: dict[str, list[bytes]]) -> dict[str, int]:
    """Return how many slices of each kind are found."""
    found = search(files, [one for kind in slices.values() for one in kind])
    return dict(Counter({kind: sum(one in found for one in values) for kind, values in slices.items()}))


async def look(
    world: World, house: House, witness: Witness, slices: dict[str, list[bytes]] | None = None
) -> dict[str, int]:
    """Count the slices (the witness's own, or these) that are found; what is plain never is."""
    files = await files_of(world, house)
    found = await asyncio.to_thread(search, files, witness.needles())
    assert found == {}, "plain text, or a key, lies on the disk"
    return await asyncio.to_thread(count_found, files, slices or witness.slices)


def environments(pid: int) -> dict[int, bytes]:
    """Return the environments of a process's children, and what /proc shows of their command lines."""
    shown = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                shown[int(entry.name)] = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
    return shown
