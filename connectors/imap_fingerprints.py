"""What tells messages from others, asked of many together: the server's lasting ids, or their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.base import FINGERPRINTS_MAX, Fingerprint
from connectors.imap_connection import Connection
from connectors.imap_cursor import Locator
from connectors.imap_fetch import id_item_of
from connectors.imap_session import FolderMissing, Selected


async def fingerprints_of(connection: Connection, locators: Sequence[str]) -> dict[str, Fingerprint]:
    """Return them by locator, folder by folder; see `Reader.fingerprints`."""
    by_folder: dict[tuple[str, int], dict[int, str]] = {}
    for locator in locators:
        place = Locator.parse(locator)
        by_folder.setdefault((place.folder, place.uidvalidity), {})[place.uid] = locator
    found: dict[str, Fingerprint] = {}
    for (folder, uidvalidity), named in by_folder.items():
        selected = await _selected(connection, folder)
        if selected is None or selected.uidvalidity != uidvalidity:
            continue
        uids = sorted(named)
        for at in range(0, len(uids), FINGERPRINTS_MAX):
            told = await _of_some(connection, selected, uids[at : at + FINGERPRINTS_MAX])
            found |= {named[uid]: fingerprint for uid, fingerprint in told.items()}
    return found


async def _selected(connection: Connection, folder: str) -> Selected | None:
    """Return the folder, selected; where it is selected already, nothing is asked."""
    session = await connection.open()
    if session.selected is not None and session.selected.folder == folder:
        return session.selected
    try:
        _, selected = await connection.select(folder)
    except FolderMissing:
        return None
    return selected


async def _of_some(connection: Connection, selected: Selected, uids: Sequence[int]) -> Mapping[int, Fingerprint]:
    found: dict[int, Fingerprint] = {}
    if id_item_of(await connection.same(selected)) is not None:
        listed = await connection.describe(selected, uids)
        found = {one.uid: Fingerprint(one.provider_id) for one in listed if one.provider_id is not None}
        # Those that were not told of are gone.
        uids = [one.uid for one in listed if one.provider_id is None]
    headers = await connection.headers(selected, uids)
    return found | {uid: Fingerprint(None, header) for uid, header in headers.items()}
