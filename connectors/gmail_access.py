"""Where a mailbox is reached by the Gmail API, and the limits that hold there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

ROOT_URL = "https://gmail.googleapis.com/"
UNITS: Mapping[str, int] = MappingProxyType(
    {
        "getProfile": 1,
        "history.list": 2,
        "labels.create": 5,
        "labels.list": 1,
        "messages.batchDelete": 50,
        "messages.batchModify": 50,
        "messages.delete": 10,
        "messages.get": 5,
        "messages.insert": 25,
        "messages.list": 5,
        "messages.modify": 5,
        "messages.send": 100,
        "stop": 50,
        "watch": 100,
    }
)
"""Quota units of a call (Gmail API, "Usage limits")."""


@dataclass(frozen=True, slots=True)
class GmailAccess:
    """One mailbox's way in. Every wait in it has a limit."""

    login: str
    """The mailbox's address; its quota is counted by it."""
    role_folders: Mapping[str, str] = field(default_factory=dict)
    """The operator's override: role ("sent", "trash", "junk") → label name. "sent" cannot be another one here."""
    connect_seconds: float = 20.0
    """The longest that connecting may take."""
    read_seconds: float = 60.0
    """The longest silence of the server inside one call."""
    call_seconds: float = 600.0
    """The longest that one call may take, silence or not."""
    poll_seconds: float = 60.0
    """The slowest poll for something new."""
    poll_seconds_min: float = 10.0
    """The quickest, right after something came; from there it slows down."""
    watch_topic: str = ""
    """The Pub/Sub topic that Gmail is to publish to (projects/P/topics/T); empty: no push."""
    watch_seconds: float = 24 * 3600.0
    """`watch` is renewed after this; it lasts seven days at most."""
    upload_bytes_min: int = 5 * 1024 * 1024
    """Mails from this size on are uploaded by pieces, smaller ones sent as JSON (base64)."""
    batch_calls_max: int = 50
    """Calls of one batch: over 50 Google discourages, over 100 it refuses."""
    batch_response_bytes_max: int = 8 * 1024 * 1024
    """Where a batch's answer is larger, the sizes are asked for first, and large messages come one by one."""
    connection_idle_seconds: float = 60.0
    """A connection for sending or filing is closed after this long without use."""
    sent_looked_at_max: int = 500
    """The newest messages of Sent that are looked at for a reply whose Message-ID was rewritten."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch_calls_max <= 100:
            raise ValueError("batch_calls_max must be from 1 to 100")
        if not 0 < self.poll_seconds_min <= self.poll_seconds:
            raise ValueError("poll_seconds_min must be positive, and poll_seconds no less")
