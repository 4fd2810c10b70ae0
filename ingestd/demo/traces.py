"""Looking for what should not be there: texts as bytes in files, rows of a mailbox in databases."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import UUID

_CHARSETS: Final = ("utf-8", "utf-16-le", "koi8-r", "windows-1251", "iso-2022-jp", "shift_jis")


def spellings(text: str) -> frozenset[bytes]:
    r"""Return the ways in which a text can lie in a file: in the usual charsets, in base64, escaped as in JSON.

    >>> sorted(spellings("Anna"))[:2]
    [b'A\x00n\x00n\x00a\x00', b'Anna']
    """
    plain = set()
    for charset in _CHARSETS:
        with contextlib.suppress(UnicodeEncodeError):
            plain.add(text.encode(charset))
    return frozenset(plain | {json.dumps(text)[1:-1].encode()} | {one for raw in plain for one in _base64_cores(raw)})


def _base64_cores(raw: bytes) -> Iterable[bytes]:
    """Yield what `raw` looks like inside base64, at each of the three alignments."""
    for shift, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(shift) + raw)
        yield encoded[skipped : (shift + len(raw)) * 8 // 6]


def search(folder: Path, wanted: dict[str, frozenset[bytes]]) -> dict[str, list[str]]:
    """Return which of `wanted` (spellings by name) lie in which files under `folder`."""
    found: dict[str, list[str]] = {}
    for file in files_under(folder):
        content = file.read_bytes()
        for name, ways in wanted.items():
            if any(way in content for way in ways):
                found.setdefault(name, []).append(file.name)
    return found


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def rows_of(database: Path, mailbox_id: UUID) -> dict[str, int]:
    """Count the rows of a mailbox in every table that the database has; tables without any are left out."""
    counts: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as conn:
        tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = {row[1] for row in conn.execute(f'PRAGMA table_info("{table}")')}
            for column in sorted(columns & {"mailbox_id", "owner_id"}):
                query = f'SELECT count(*) FROM "{table}" WHERE "{column}" = ?'
                (count,) = conn.execute(query, (mailbox_id.bytes,)).fetchone()
                if count:
                    counts[table] = counts.get(table, 0) + count
    return counts
