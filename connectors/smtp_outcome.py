"""What SMTP replies mean: pure, and the only reader of their texts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from connectors.base import (
    AuthError,
    ConnectorError,
    PermanentError,
    RateLimited,
    Refusal,
    SendOutcome,
    SendStatus,
    TemporaryError,
    Trouble,
)

THROTTLE_SECONDS = 60.0
"""The wait where a provider throttles and does not say for how long (Microsoft counts by the minute)."""
_BACKOFF_SECONDS_MAX = 3600.0
_ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_BACKOFF = re.compile(r"Suggested Backoff Time: (\d{1,9}) milliseconds")
_THROTTLE_TEXTS = ("thread limit", "connections limit", "throttled", "too many", "rate limit", "ratelimit")
_ADMIN_TEXTS = ("SmtpClientAuthentication is disabled", "authentication is disabled", "ontact your administrator")


def enhanced_code(text: str) -> str | None:
    """Return the RFC 3463 code of a reply.

    >>> enhanced_code("5.1.1 <b@example.com>: Recipient address rejected")
    '5.1.1'
    """
    found = _ENHANCED.search(text[:100])
    return found.group(1) if found else None


def retry_after(code: int, text: str) -> float | None:
    """Return how long the server wants us to wait, where it says so or is known to mean it.

    >>> retry_after(432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded")
    60.0
    """
    if found := _BACKOFF.search(text):
        return min(int(found.group(1)) / 1000, _BACKOFF_SECONDS_MAX)
    if 400 <= code < 500 and any(phrase in text.lower() for phrase in _THROTTLE_TEXTS):
        return THROTTLE_SECONDS
    return None


def refusal(stage: str, code: int, text: str, refused: Mapping[str, Refusal] | None = None) -> SendOutcome:
    """Return the outcome of a reply that is not a yes: 5xx is for good, all else (4xx, a malformed line) for now."""
    deferred = not 500 <= code < 600
    return SendOutcome(
        status=SendStatus.DEFERRED if deferred else SendStatus.REFUSED,
        stage=stage,
        code=code,
        enhanced_code=enhanced_code(text),
        refused_recipients=dict(refused or {}),
        retry_after=retry_after(code, text) if deferred else None,
    )


def login_refusal(stage: str, code: int, text: str, where: str) -> ConnectorError:
    """Return what a refusal before MAIL means: nothing was sent in any case.

    >>> type(login_refusal("auth", 535, "5.7.8 Error: authentication failed", "smtp.example.com:465")).__name__
    'AuthError'
    """
    said = f"{stage} at {where} refused ({code} {enhanced_code(text) or '-'})"
    if (seconds := retry_after(code, text)) is not None:
        return RateLimited(said, retry_after=seconds)
    if not 500 <= code < 600:
        return TemporaryError(said)
    # Microsoft, 535 5.7.139: for the tenant or for the mailbox, by a policy, or for this kind of login.
    if any(phrase in text for phrase in _ADMIN_TEXTS):
        return PermanentError(said, trouble=Trouble.ADMIN_BLOCKED)
    if stage == "auth" and code in (535, 534, 530):
        return AuthError(said)
    return PermanentError(said, trouble=Trouble.PROTOCOL_DISABLED)
