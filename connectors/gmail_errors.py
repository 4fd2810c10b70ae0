"""What a refusal of Google's APIs means for the caller: pure, and the only reader of such answers.

The HTTP status and the reason code decide (Gmail API, "Resolve errors"); free text only where Google says
something in no other way (each with its place). Only the token endpoint may call a grant revoked: a 401 never does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.base import AuthError, ConnectorError, PermanentError, RateLimited, TemporaryError, Trouble

RETRY_SECONDS_MAX = 24 * 3600.0
"""Google names no longer wait than until tomorrow (the daily sending limit)."""
THROTTLE_SECONDS = 30.0
"""The wait where Google asks for one and does not say how long: quotas are counted by the minute."""
DAY_USED_UP_SECONDS = 3600.0
_RATE_REASONS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED", "concurrentLimitExceeded"}
)
_DAY_REASONS = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg"})
_SCOPE_REASONS = frozenset({"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"})
_ADMIN_REASONS = frozenset({"domainPolicy", "accessNotConfigured", "SERVICE_DISABLED", "CONSUMER_INVALID"})
_RETRY_AFTER = re.compile(r"Retry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
"""In the message of a 429 of messages.send: "User-rate limit exceeded.  Retry after 2026-…Z (Mail sending)"."""


class NotThere(TemporaryError):
    """404: no such message, label or thread."""


class BadArgument(PermanentError):
    """400: what we asked for cannot be asked for."""


class ScopeMissing(PermanentError):
    """403: the grant does not cover this method."""


class ResponseTooLarge(TemporaryError):
    """An answer is larger than what was to be taken of it."""


def reasons_of(content: bytes) -> frozenset[str]:
    """Return the reason codes of an error's body.

    >>> sorted(reasons_of(b'{"error": {"errors": [{"reason": "notFound"}], "status": "NOT_FOUND"}}'))
    ['NOT_FOUND', 'notFound']
    """
    error = _error(content)
    found = {one.get("reason") for name in ("errors", "details") for one in _entries(error.get(name))}
    return frozenset(str(one) for one in (*found, error.get("status")) if one)


def refusal(
    method: str, status: int, content: bytes, headers: Mapping[str, str], now: datetime | None = None
) -> ConnectorError:
    """Return what an answer that is no success means; `method` is ours to name it, e.g. messages.get.

    >>> type(refusal("messages.get", 401, b"", {})).__name__
    'AuthError'
    >>> refusal("messages.get", 429, b"", {"retry-after": "7"}).retry_after
    7.0
    """
    reasons = reasons_of(content)
    said = f"{method} refused ({status} {_told(reasons)})"
    wait = retry_after(content, headers, now or datetime.now(UTC))
    if status == 401:
        return AuthError(said)
    if status in (403, 429):
        return _forbidden(said, status, reasons, wait)
    if status in (404, 410):
        return NotThere(said)
    if status == 400 and reasons & {"failedPrecondition", "FAILED_PRECONDITION"}:
        return PermanentError(said)  # "Mail service not enabled": Gmail is switched off for this user
    if 400 <= status < 500 and status not in (408, 409):
        return BadArgument(said)
    if wait is not None:
        return RateLimited(said, retry_after=wait)
    return TemporaryError(said)


def _forbidden(said: str, status: int, reasons: frozenset[str], wait: float | None) -> ConnectorError:
    """Return what a 403 or 429 means: either can be about quotas."""
    if reasons & _DAY_REASONS:
        return RateLimited(said, retry_after=wait or DAY_USED_UP_SECONDS)
    if status == 429 or reasons & _RATE_REASONS:
        return RateLimited(said, retry_after=THROTTLE_SECONDS if wait is None else wait)
    if reasons & _SCOPE_REASONS:
        return ScopeMissing(said, trouble=Trouble.CONSENT_OR_MFA)
    if reasons & _ADMIN_REASONS:
        return PermanentError(said, trouble=Trouble.ADMIN_BLOCKED)
    return PermanentError(said)


def retry_after(content: bytes, headers: Mapping[str, str], now: datetime) -> float | None:
    """Return for how many seconds we are to wait, where that is said: by Retry-After, or in the message.

    >>> at = datetime(2026, 11, 1, tzinfo=UTC)
    >>> retry_after(b'{"error": {"message": "Retry after 2026-11-01T00:05:00.000Z (Mail sending)"}}', {}, at)
    300.0
    """
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return min(float(value), RETRY_SECONDS_MAX)
    if found := _RETRY_AFTER.search(str(_error(content).get("message", ""))[:500]):
        seconds = (datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC) - now).total_seconds()
        return min(max(seconds, 0.0), RETRY_SECONDS_MAX)
    return None


def _error(content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _entries(found: object) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _told(reasons: frozenset[str]) -> str:
    """Only what looks like a code of Google's is told on: the rest could be anything."""
    return " ".join(sorted(one for one in reasons if re.fullmatch(r"[A-Za-z_]{1,60}", one))) or "-"
