"""What Microsoft Graph's refusals mean for the caller: pure, and the only reader of its error codes.

Codes decide, then the status (graph/errors, graph/resolve-auth-errors); the free text is never looked at. Only the
token endpoint may call a grant revoked: a 401 never does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from connectors.base import (
    AuthError,
    ConnectorError,
    PermanentError,
    RateLimited,
    TemporaryError,
    Trouble,
)


class ItemMissing(TemporaryError):
    """The message or folder that was named is not there."""


class DeltaExpired(TemporaryError):
    """The delta link means nothing to the server any more (410): compare what is there with what was read."""


class EditConflict(TemporaryError):
    """Somebody else changed it meanwhile (412), or made it before (409)."""


class CallRefused(TemporaryError):
    """A no that concerns this call, or the message that it names; others may go well."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


THROTTLE_SECONDS = 30.0
"""The wait where Graph throttles and does not say for how long."""
RETRY_AFTER_SECONDS_MAX = 3600.0
_CODE_CHARS_MAX = 80

_MISSING = frozenset({"erroritemnotfound", "errorinvalididmalformed", "errorinvalidid", "errorfoldernotfound"})
_EXPIRED = frozenset({"syncstatenotfound", "syncstateinvalid", "resyncrequired", "errorinvalidsyncstatedata"})
_THROTTLED = frozenset({"applicationthrottled", "toomanyrequests", "errortoomanyrequests", "errorserverbusy"})
_FOR_GOOD: Mapping[str, Trouble] = {
    "mailboxnotenabledforrestapi": Trouble.PROTOCOL_DISABLED,
    "mailboxnotsupportedforrestapi": Trouble.PROTOCOL_DISABLED,
    "errornonexistentmailbox": Trouble.WRONG_MAILBOX,
    "errorinvaliduser": Trouble.WRONG_MAILBOX,
    "request_resourcenotfound": Trouble.WRONG_MAILBOX,
    "authorization_requestdenied": Trouble.CONSENT_OR_MFA,
    # By a tenant's policy (application access), or as the mailbox is not shared with this user.
    "erroraccessdenied": Trouble.ADMIN_BLOCKED,
    "accessdenied": Trouble.ADMIN_BLOCKED,
    "erroraccountsuspend": Trouble.ADMIN_BLOCKED,
}


def refusal(where: str, status: int, code: str, retry_after: float | None) -> ConnectorError:
    """Return what an answer that is no success means; TemporaryError where nothing says otherwise.

    `where` names the call and the host: "GET delta at graph.microsoft.com".

    >>> type(refusal("GET delta at h", 410, "SyncStateNotFound", None)).__name__
    'DeltaExpired'
    >>> refusal("GET $value at h", 429, "ApplicationThrottled", 7.0).retry_after
    7.0
    """
    said, name = f"{where} refused ({status} {code or '-'})", code.lower()
    if name in _FOR_GOOD and status in (400, 403, 404):
        return PermanentError(said, trouble=_FOR_GOOD[name])
    if status == 401:
        return AuthError(said)
    if status == 429 or name in _THROTTLED or (status == 503 and retry_after is not None):
        return RateLimited(said, retry_after=THROTTLE_SECONDS if retry_after is None else retry_after)
    if status == 410 or name in _EXPIRED:
        return DeltaExpired(said)
    if status == 404 or name in _MISSING:
        return ItemMissing(said)
    if status in (409, 412):
        return EditConflict(said)
    if status in (502, 503, 504) or 300 <= status < 400:
        return TemporaryError(said)
    return CallRefused(said, status=status, code=code)


def code_of(body: bytes) -> str:
    """Return the code of an error's body, "" where there is none.

    >>> code_of(b'{"error":{"code":"ErrorItemNotFound","message":"..."}}')
    'ErrorItemNotFound'
    >>> code_of(b"<html>")
    ''
    """
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    # It gets into our own text: a server that puts somebody's address here shall not have it written down.
    is_code = isinstance(code, str) and code.isascii() and code.replace("-", "").replace("_", "").isalnum()
    return code[:_CODE_CHARS_MAX] if is_code else ""


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """Read Retry-After: seconds or a date (RFC 9110 §10.2.3), bounded; None where there is none.

    >>> seconds_of("12", datetime(2026, 1, 1, tzinfo=UTC)), seconds_of("soon", datetime(2026, 1, 1, tzinfo=UTC))
    (12.0, None)
    """
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)
