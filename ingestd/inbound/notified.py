"""What Microsoft Graph posts to our public address: believed where it shows its subscription's secret, then noted.

The process that is posted to may be another than the one that holds the mailbox: what was told is written into the
mailbox's row, and whoever holds it is woken by that (`storage.pushes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from connectors.graph_subscriptions import Lifecycle, Notification, read_notifications
from ingestd.keys import KeyRing
from ingestd.records import PushRecord
from storage import pushes
from storage.database import Database
from storage.errors import KeyDestroyed, MasterKeyWrong, SealBroken
from storage.pushes import Push, Told

_MEANING: Final = {
    None: Told.NEWS,
    Lifecycle.MISSED: Told.NEWS,
    Lifecycle.REAUTHORIZATION_REQUIRED: Told.RENEW,
    Lifecycle.SUBSCRIPTION_REMOVED: Told.REMOVED,
}
"""The later ones hold the earlier ones."""


class Notified:
    """Takes what is posted for a mailbox."""

    def __init__(self, content: Database, keys: KeyRing) -> None:
        self._content = content
        self._keys = keys

    async def take(self, mailbox_id: UUID, body: bytes) -> None:
        """Note what a post tells of a mailbox; what is forged, or of a mailbox that there is not, is nothing.

        Raises StorageUnavailable.
        """
        push = await self._content.read(None, pushes.find_open, mailbox_id)
        record = None if push is None else await self._open(push)
        if push is None or record is None:
            return  # without reading what anybody may have posted

        def secret_of(subscription_id: str) -> str | None:
            return record.secret if record.subscription_id == subscription_id else None

        if (told := what_is_told(read_notifications(body, secret_of))) is not None:
            await self._content.transaction(push.account_id, pushes.tell, mailbox_id, told)

    async def _open(self, push: Push) -> PushRecord | None:
        if push.sealed is None:
            return None
        try:
            key = await self._keys.mailbox(push.account_id, push.mailbox_id)
            return key.open_record(PushRecord.place(push.mailbox_id), push.sealed, PushRecord)
        except (KeyDestroyed, MasterKeyWrong, SealBroken):
            return None


def what_is_told(notifications: Sequence[Notification]) -> Told | None:
    """Return what asks for most.

    >>> what_is_told([Notification("s", Lifecycle.SUBSCRIPTION_REMOVED), Notification("s", None)])
    <Told.REMOVED: 'removed'>
    """
    told = {_MEANING[one.lifecycle] for one in notifications}
    return next((one for one in reversed(list(_MEANING.values())) if one in told), None)
