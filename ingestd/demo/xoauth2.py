"""The server's side of XOAUTH2, shared by the demo's IMAP and submission servers. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ingestd.demo.grants import TokenInfo

CheckToken = Callable[[str], TokenInfo | None]
"""Tells what a living access token stands for."""

MAIL_SCOPE: Final = "mail"
CHALLENGE: Final = b'{"status":"401","schemes":"bearer","scope":"mail"}'
"""What a refused client is told before the final no; it answers with an empty line."""

_RESPONSE: Final = re.compile(rb"user=([^\x01]+)\x01auth=Bearer ([^\x01]+)\x01(?:[^\x01]+\x01)*\x01", re.IGNORECASE)


def authenticated_user(response: bytes, check: CheckToken) -> str | None:
    """Return the address that an initial response (decoded) logs in, or None if it may not.

    The token must be alive, carry the scope `mail`, and be the named user's own.
    """
    match = _RESPONSE.fullmatch(response)
    if match is None:
        return None
    user, token = (group.decode("utf-8", "replace") for group in match.groups())
    info = check(token)
    if info is None or MAIL_SCOPE not in info.scopes or info.address != user:
        return None
    return user
