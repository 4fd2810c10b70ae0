"""What is posted to a webhook: the body, its id and its signatures, after Standard Webhooks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from standardwebhooks import Webhook as Signer

from ingestd.events.catalogue import EventView, plain
from ingestd.records import WebhookRecord

TEST_EVENT: Final = "webhook.test"
"""Sent by the test button alone: it is not in the log."""
_USER_AGENT: Final = "ingestd"


def event_id(account_id: UUID, sequence: int, at: datetime) -> str:
    """Return the webhook-id of an event: the same at each attempt, and at each replay.

    The time is in it for those who restore a backup: sequences that were used after it are used again.

    >>> from datetime import UTC
    >>> event_id(UUID(int=1), 7, datetime(2026, 11, 1, tzinfo=UTC))
    'evt_00000000000000000000000000000001_7_1793491200000'
    """
    return f"evt_{account_id.hex}_{sequence}_{int(at.timestamp() * 1000)}"


def event_body(view: EventView, content: Mapping[str, Any] | None = None) -> bytes:
    """Return what tells an event; `content` are further members of its data."""
    data = plain(view)
    if content:
        data |= content
    return msgspec.json.encode({"type": view.type, "timestamp": data["at"], "data": data})


def trial_body(account_id: UUID, webhook_id: UUID, at: datetime) -> bytes:
    said = at.isoformat().replace("+00:00", "Z")
    data = {"account_id": str(account_id), "webhook_id": str(webhook_id)}
    return msgspec.json.encode({"type": TEST_EVENT, "timestamp": said, "data": data})


def signers_of(record: WebhookRecord, at: datetime) -> list[Signer]:
    """Return what signs at a time: the secret, and those before it that are still good, newest first."""
    secrets = [record.secret, *(old.secret for old in record.previous if old.until > at)]
    return [Signer(secret) for secret in secrets]


def headers_of(
    webhook_event_id: str, at: datetime, body: bytes, signers: Iterable[Signer]
) -> Sequence[tuple[str, str]]:
    """Return the headers of a delivery at a time in UTC; each signer's signature, separated by spaces."""
    text = body.decode()
    signed = " ".join(one.sign(webhook_event_id, at, text) for one in signers)
    return (
        ("Content-Type", "application/json"),
        ("User-Agent", _USER_AGENT),
        ("webhook-id", webhook_event_id),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("webhook-signature", signed),
    )
