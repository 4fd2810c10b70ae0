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
DAY_USED_UP_SECONDS = 3600.0
"""The wait where a day's allowance is used up: nobody says when there is room again, so it is asked now and then."""
_BACKOFF_SECONDS_MAX = 3600.0
_ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_BACKOFF = re.compile(r"Suggested Backoff Time: (\d{1,9}) milliseconds")
_COME_BACK = re.compile(
    r"(?:retry[- ]after|(?:try|come|retry)(?: again| back)? (?:in|after)):? "
    r"(\d{1,5})(?: ?(s|m)|:(\d\d):(\d\d)\b)?",
    re.IGNORECASE,
)
"""postgrey, milter-greylist ("please come back in 00:05:00"), rspamd ("try again later") and their like."""
# A no for good by its code, but of today only. Google: 550 5.4.5 Daily user sending limit exceeded; Exchange:
# 550 5.1.90 … you've reached your daily limit for message recipients.
_DAY_CODES = ("5.4.5", "5.1.90")
_DAY_TEXTS = ("limit", "quota")
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


def come_back(text: str) -> float | None:
    """Return how many seconds later the server wants this message again, where it says so.

    >>> come_back("4.2.0 Greylisted, try again in 300 seconds"), come_back("please come back in 00:05:00")
    (300.0, 300.0)
    >>> come_back("4.2.0 Greylisted, retry in 5 minutes"), come_back("4.2.1 try again later")
    (300.0, None)
    """
    found = _COME_BACK.search(text)
    if found is None:
        return None
    number, unit, minutes, seconds = found.groups()
    if minutes is not None:
        waited = int(number) * 3600 + int(minutes) * 60 + int(seconds)
    else:
        waited = int(number) * (60 if (unit or "s").lower() == "m" else 1)
    return min(float(waited), _BACKOFF_SECONDS_MAX)


def is_day_used_up(code: int, text: str) -> bool:
    """Whether a refusal is of today only: the mailbox has sent as much as it may.

    >>> is_day_used_up(550, "5.4.5 Daily user sending limit exceeded."), is_day_used_up(550, "5.1.1 no such user")
    (True, False)
    """
    return (
        500 <= code < 600 and enhanced_code(text) in _DAY_CODES and any(phrase in text.lower() for phrase in _DAY_TEXTS)
    )


def refusal(stage: str, code: int, text: str, refused: Mapping[str, Refusal] | None = None) -> SendOutcome:
    """Return the outcome of a reply that is not a yes: 5xx is for good unless it is of today only, all else
    (4xx, a malformed line) for now."""
    day_used_up = is_day_used_up(code, text)
    deferred = day_used_up or not 500 <= code < 600
    wait = DAY_USED_UP_SECONDS if day_used_up else retry_after(code, text) if deferred else None
    later = come_back(text) if deferred and wait is None else None
    return SendOutcome(
        status=SendStatus.DEFERRED if deferred else SendStatus.REFUSED,
        stage=stage,
        code=code,
        enhanced_code=enhanced_code(text),
        refused_recipients=dict(refused or {}),
        retry_after=wait if wait is not None else later,
        of_message=later is not None,
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
