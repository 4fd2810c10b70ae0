"""Where a mailbox is reached by Microsoft Graph, and the limits that hold there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

CALLS_AT_ONCE_MAX = 4
"""Calls under way together that Graph takes for one application and one mailbox (graph/throttling-limits,
MailboxConcurrency)."""


@dataclass(frozen=True, slots=True)
class GraphAccess:
    """One mailbox's way in. Every wait in it has a limit."""

    base_url: str = "https://graph.microsoft.com/v1.0"
    user: str = "me"
    """`me` for the user who consented; the address or id of a shared mailbox, or of one that application permissions
    open."""
    role_folders: Mapping[str, str] = field(default_factory=dict)
    """The operator's override: role ("sent", "trash", "junk") → path of a folder."""
    upload_origins: Sequence[str] = ("https://outlook.office.com", "https://outlook.office365.com")
    """Where large attachments may be put beside the API's own host: the upload's address comes from the server."""
    connect_seconds: float = 20.0
    """The longest that connecting may take."""
    read_seconds: float = 60.0
    """The longest silence within one call."""
    call_seconds: float = 600.0
    """The longest that one call may take, silence or not."""
    send_seconds: float = 600.0
    """The longest wait for the answer to a send."""
    throttle_seconds_max: float = 10.0
    """A pause that Graph asks for is waited out in place up to this; a longer one is the caller's business."""
    poll_seconds: float = 120.0
    """The slowest poll, beneath notifications or where nothing comes."""
    poll_seconds_min: float = 15.0
    """The quickest poll, after something has come; it slows down again from there."""
    folders_seconds: float = 300.0
    """How long the names of folders are taken for right."""

    def __post_init__(self) -> None:
        if not 0 < self.poll_seconds_min <= self.poll_seconds:
            raise ValueError("poll_seconds_min must be positive and at most poll_seconds")
        if urlsplit(self.base_url).scheme not in ("https", "http") or self.base_url.endswith("/"):
            raise ValueError("base_url is an address without a slash at its end")

    @property
    def host(self) -> str:
        """Host and port, as errors name them."""
        return urlsplit(self.base_url).netloc

    @property
    def origin(self) -> str:
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def mailbox_url(self) -> str:
        """The mailbox's own address, without a slash at its end."""
        return f"{self.base_url}/me" if self.user == "me" else f"{self.base_url}/users/{quote(self.user, safe='@')}"
