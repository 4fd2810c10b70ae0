"""Which messages of a mailbox are stored, and where they lie: what a connector asks that reads again what was read.

Only for connectors whose server has ids of its own (`RawMessage.provider_id`): a message that lies where we think it
does is not fetched a second time, be it after a cursor was lost or as somebody marked it. One that was moved is read
anew, as its place has to be noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from ingestd.inbound.identity import identity_key
from ingestd.records import MessageRecord
from storage import messages
from storage.database import Database
from storage.errors import SealBroken
from storage.messages import Identities
from storage.sealing import DataKey

_ASKED: Final = 100
"""Messages of one query: their records are in memory together, texts and all."""


class _Place(msgspec.Struct, frozen=True):
    """Of a MessageRecord what is wanted here: the rest is passed over, which costs a tenth of reading it."""

    locator: str = ""


class KnownMessages:
    """The `Known` of a mailbox's reader (connectors.gmail, connectors.graph_delta)."""

    def __init__(self, content: Database, key: DataKey, mailbox_id: UUID) -> None:
        self._content = content
        self._key = key
        self._mailbox_id = mailbox_id

    async def __call__(self, provider_ids: Sequence[str]) -> Mapping[str, str]:
        """Return, of these provider ids, those of stored messages, with their locators. Raises StorageUnavailable."""
        found: dict[str, str] = {}
        for start in range(0, len(provider_ids), _ASKED):
            some = {self._identity(one): one for one in provider_ids[start : start + _ASKED]}
            rows = await self._content.read(
                self._key.account_id, messages.records_by_identity, self._mailbox_id, Identities(list(some))
            )
            if rows:
                places = await asyncio.to_thread(self._places, rows)
                found |= {some[known_by]: locator for known_by, locator in places.items()}
        return found

    def _identity(self, provider_id: str) -> bytes:
        return identity_key(self._key, provider_id=provider_id, message_id="", body_sha256=b"", raw_sha256=b"")

    def _places(self, rows: Sequence[tuple[bytes, UUID, bytes]]) -> dict[bytes, str]:
        places: dict[bytes, str] = {}
        for known_by, message_id, sealed in rows:
            try:
                places[known_by] = self._key.open_record(MessageRecord.place(message_id), sealed, _Place).locator
            except SealBroken:
                continue  # it is read again, and found to be known
        return places
