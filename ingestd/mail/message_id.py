"""Our own Message-IDs: unguessable, and recognised without a look-up.

The token is 16 bytes that name the message and 16 bytes of HMAC over them.
Whoever can show it has received mail of ours, or read it over the shoulder of
someone who has (CVE-2024-49193 is what a guessable one costs).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

_LABEL = b"ingestd message-id v1"
_TOKEN_CHARS = 52  # 32 bytes in base32 without padding
_TOKEN = re.compile(r"<\s*([a-z2-7]{52})@[^<>\s]+>", re.IGNORECASE)


def own_token(key: bytes, message_id: bytes) -> str:
    """Return the token of a message of ours; `message_id` is 16 bytes, e.g. those of its UUID.

    >>> own_token(b"k" * 32, bytes(16))[:16]
    'aaaaaaaaaaaaaaaa'
    """
    if len(message_id) != 16:
        raise ValueError("message_id must have 16 bytes")
    return base64.b32encode(message_id + _mac(key, message_id)).decode("ascii").rstrip("=").lower()


def own_message_id(token: str, domain: str) -> str:
    """Return the Message-ID value that carries a token.

    >>> own_message_id("abc", "example.com")
    '<abc@example.com>'
    """
    return f"<{token}@{domain}>"


def token_of(message_id_header: str) -> str | None:
    """Return what has the form of a token in a Message-ID; whether it is ours, only `verify_token` knows.

    >>> token_of("<CA+x@mail.example.com>") is None
    True
    """
    match = _TOKEN.fullmatch(message_id_header.strip())
    return match[1].lower() if match else None


def verify_token(key: bytes, token: str) -> bytes | None:
    """Return the 16 bytes that `own_token` was given, or None for a token that is not ours.

    The comparison takes the same time wherever a forgery goes wrong. Upper
    case is accepted, as some gateways change it.
    """
    if len(token) != _TOKEN_CHARS:
        return None
    try:
        data = base64.b32decode(token.upper() + "====")
    except (binascii.Error, ValueError):
        return None
    # The last character has spare bits: only the canonical spelling is ours, so that one token is one string.
    if base64.b32encode(data).decode("ascii").rstrip("=") != token.upper():
        return None
    return data[:16] if hmac.compare_digest(data[16:], _mac(key, data[:16])) else None


def _mac(key: bytes, message_id: bytes) -> bytes:
    return hmac.digest(key, _LABEL + message_id, hashlib.sha256)[:16]
