"""What an IMAP server's refusal means for the caller: pure, and the only reader of such texts.

Response codes (RFC 5530) decide; free text only where a provider is known to
say it in no other way (each with its name). Only the token endpoint may call a
grant revoked: an IMAP NO never does.
"""

from __future__ import annotations

import re

from connectors.base import AuthError, ConnectorError, PermanentError, RateLimited, TemporaryError, Trouble


class TargetMissing(TemporaryError):
    """The folder that messages are to go to is not there: make it, and try again."""


class FolderExists(TemporaryError):
    """The folder that is to be made is there already."""


_CODE = re.compile(r"\[([A-Z][A-Z0-9-]*)")
_BACKOFF = re.compile(r"Suggested Backoff Time: (\d{1,9}) milliseconds")
_TEMPORARY_CODES = frozenset({"UNAVAILABLE", "INUSE", "SERVERBUG"})
_PERMANENT_CODES = frozenset({"NONEXISTENT", "NOPERM", "CANNOT"})
_INTO_A_FOLDER = frozenset({"APPEND", "COPY", "MOVE"})
_THROTTLED_TEXTS = (
    "too many simultaneous",  # Google
    "rate limit hit",  # Yahoo
    "request is throttled",  # Microsoft
    "maximum number of connections",  # Dovecot
    "too many connections",
    "too many login",
)
BACKOFF_SECONDS_MAX = 3600.0
OWN_TROUBLES = frozenset({Trouble.TRANSIENT, Trouble.PROTOCOL_DISABLED})
"""Troubles of a refusal that may concern the one command, or the messages that it names; others are the mailbox's."""


def response_code(text: str) -> str | None:
    """Return the response code of a server's line, if any.

    >>> response_code("[AUTHENTICATIONFAILED] Invalid credentials (Failure)")
    'AUTHENTICATIONFAILED'
    """
    found = _CODE.search(text[:200])
    return found.group(1) if found else None


def login_refusal(text: str, where: str, challenge: str | None = None) -> ConnectorError:
    """Return what a NO or BAD to AUTHENTICATE means.

    `challenge` is the status of the error challenge (401, invalid_token …). It is
    only told on: servers send one for an outage too, and the response code knows better.

    >>> type(login_refusal("[UNAVAILABLE] Internal error", "imap.example.com:993")).__name__
    'TemporaryError'
    >>> type(login_refusal("[AUTHENTICATIONFAILED] no", "imap.example.com:993")).__name__
    'AuthError'
    """
    code = response_code(text)
    if (passing := _passing(text, code, f"AUTHENTICATE at {where}")) is not None:
        return passing
    said = f"AUTHENTICATE at {where} refused [{code or '-'}] (challenge {challenge or '-'})"
    if code in ("CONTACTADMIN", "PRIVACYREQUIRED"):
        return PermanentError(said, trouble=Trouble.ADMIN_BLOCKED)
    if code == "AUTHORIZATIONFAILED":
        return PermanentError(said, trouble=Trouble.WRONG_MAILBOX)
    # AUTHENTICATIONFAILED, EXPIRED, or nothing at all: a fresh token tells the rest.
    return AuthError(said)


def command_refusal(command: str, text: str, where: str) -> ConnectorError:
    """Return what a NO or BAD to a command after login means; TemporaryError where nothing says otherwise."""
    code = response_code(text)
    said = f"{command} at {where}"
    if (passing := _passing(text, code, said)) is not None:
        return passing
    said = f"{said} refused [{code or '-'}]"
    if "authenticated but not connected" in text:
        # Microsoft: the token's user is not the mailbox, or IMAP is off, or it is passing; never a revoked grant.
        error = TemporaryError(said)
        error.trouble = Trouble.WRONG_MAILBOX
        return error
    if code == "TRYCREATE" or (code == "NONEXISTENT" and command in _INTO_A_FOLDER):
        return TargetMissing(said)
    if code == "ALREADYEXISTS":
        return FolderExists(said)
    if code in _PERMANENT_CODES:
        return PermanentError(said)
    # The others are of the moment: who is over quota (OVERQUOTA) deletes something, who was too fast (EXPUNGEISSUED)
    # asks again (RFC 5530 §3). So is what has no code.
    return TemporaryError(said)


def farewell(text: str, where: str) -> ConnectorError | None:
    """Return what a BYE asks of us beside connecting again, None where it asks nothing.

    >>> farewell("Request is throttled. Suggested Backoff Time: 5000 milliseconds", "h:993").retry_after
    5.0
    """
    passing = _passing(text, response_code(text), f"BYE at {where}")
    return passing if passing is not None and passing.trouble is Trouble.THROTTLED else None


def _passing(text: str, code: str | None, said: str) -> ConnectorError | None:
    if found := _BACKOFF.search(text):
        return RateLimited(f"{said}: throttled", retry_after=min(int(found.group(1)) / 1000, BACKOFF_SECONDS_MAX))
    # LIMIT is the server's own word for it (RFC 9051 §7.1); it gives no time.
    if code == "LIMIT" or any(phrase in text.lower() for phrase in _THROTTLED_TEXTS):
        error = TemporaryError(f"{said}: throttled")
        error.trouble = Trouble.THROTTLED
        return error
    if code in _TEMPORARY_CODES:
        return TemporaryError(f"{said} refused for now [{code}]")
    return None
