"""Where the first reading of a folder starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.imap_cursor import FolderCursor, start

NOW = datetime(2026, 3, 2, 12, 0, 30, 500_000, tzinfo=UTC)
LINKED = datetime(2026, 3, 2, 9, 15, 20, 700_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start_at", "expected"),
    [
        # What came between the linking and the first reading is wanted: the server may have been away for hours.
        (LINKED, FolderCursor(7, 0, LINKED.replace(microsecond=0), 100)),
        (None, FolderCursor(7, 99, NOW - timedelta(minutes=10))),
    ],
)
def test_the_first_reading(start_at: datetime | None, expected: FolderCursor) -> None:
    assert start(None, uidvalidity=7, uidnext=100, start_at=start_at, now=NOW) == expected


def test_another_uidvalidity_reads_the_folder_anew_from_when_it_was_linked() -> None:
    known = FolderCursor(7, 120, LINKED)
    assert start(known, uidvalidity=8, uidnext=50, start_at=None, now=NOW) == FolderCursor(
        8, 0, LINKED, 50, recovering=True
    )
