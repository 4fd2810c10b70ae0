"""Where a mailbox is reached by IMAP and SMTP, and the limits that hold there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from connectors.base import AccessToken
from connectors.sasl import OAUTHBEARER, XOAUTH2

Tls = Literal["implicit", "starttls"]


@dataclass(frozen=True, slots=True)
class ImapEndpoint:
    host: str
    port: int = 993
    tls: Tls = "implicit"


@dataclass(frozen=True, slots=True)
class SmtpEndpoint:
    host: str
    port: int = 465
    tls: Tls = "implicit"


@dataclass(frozen=True, slots=True)
class ImapAccess:
    """One mailbox's way in. Every wait in it has a limit."""

    login: str
    imap: ImapEndpoint
    smtp: SmtpEndpoint
    role_folders: Mapping[str, str] = field(default_factory=dict)
    """The operator's override: role ("sent", "trash", "junk") → folder name."""
    mechanisms: Sequence[str] = (OAUTHBEARER, XOAUTH2)
    """SASL mechanisms that may be used, the preferred one first."""
    connect_seconds: float = 20.0
    """The longest that connecting to the IMAP server may take."""
    read_seconds: float = 60.0
    """The longest silence of the IMAP server inside one command."""
    command_seconds: float = 600.0
    """The longest that one IMAP command may take, silence or not."""
    smtp_connect_seconds: float = 20.0
    """The longest that connecting to the SMTP server may take."""
    smtp_command_seconds: float = 60.0
    """The longest that it may take to answer a command, or to take a piece of the message."""
    dot_seconds: float = 600.0
    """The wait after the final dot (RFC 5321 §4.5.3.2.6: 10 minutes)."""
    idle_renew_seconds: float = 1500.0
    """IDLE is renewed after this, less the jitter; under 29 minutes (RFC 2177)."""
    idle_renew_jitter: float = 0.2
    """The share of that time by which renewals are spread."""
    poll_seconds: float = 120.0
    """The slow poll beneath IDLE, and the only one where there is no IDLE."""
    idle_poll_seconds: float | None = None
    """The poll beneath IDLE where the folder that it watches is the only one; None: as `poll_seconds`."""
    session_ends_with_token: bool = False
    """Whether the provider drops a connection when the token ends that opened it."""
    token_margin_seconds: float = 120.0
    """Where it does, the connection is opened anew so long before, between two commands of ours."""
    connection_idle_seconds: float = 60.0
    """A connection for sending or filing is closed after this long without use."""
    helo_name: str = "localhost"

    def __post_init__(self) -> None:
        if not 0 < self.idle_renew_seconds < 29 * 60:
            raise ValueError("idle_renew_seconds must be under 29 minutes (RFC 2177)")
        if not 0 <= self.idle_renew_jitter < 1:
            raise ValueError("idle_renew_jitter must be a share of the time, below 1")
        if self.poll_seconds <= 0:
            raise ValueError("poll_seconds must be positive")
        if self.token_margin_seconds <= 0:
            raise ValueError("token_margin_seconds must be positive")

    def lasts_seconds(self, token: AccessToken, now: datetime) -> float:
        """Return how long a connection that `token` opens now is to be used.

        At least half the margin: who gives out tokens that are about to end shall not have us connect all the time.
        """
        if not self.session_ends_with_token or token.expires_at is None:
            return math.inf
        left = (token.expires_at - now).total_seconds()
        return max(left - self.token_margin_seconds, self.token_margin_seconds / 2)
