"""The reply address of a ticket: `support+TOKEN@example.com`, for clients that drop References.

The token is five bytes of the ticket's number, by which the ticket is looked up, and eleven bytes of HMAC over the
ticket's id, by which it is proved. The number alone would not do: a database that was restored from a backup gives
numbers a second time, and never ids.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable

_LABEL = b"ingestd reply-address v1"
_NUMBER_BYTES = 5
_MAC_BYTES = 11
_TOKEN = re.compile(r"[a-z2-7]{26}")
_LOCAL_CHARS_MAX = 64  # RFC 5321 §4.5.3.1.1


def ticket_token(key: bytes, number: int, ticket_id: bytes) -> str:
    """Return the token of a ticket: 26 characters. `ticket_id` is 16 bytes, e.g. those of its UUID.

    >>> ticket_token(b"k" * 32, 1, bytes(16))[:7]
    'aaaaaaa'
    """
    if not 0 < number < 1 << 8 * _NUMBER_BYTES or len(ticket_id) != 16:
        raise ValueError("number must fit into 5 bytes, ticket_id must have 16")
    data = number.to_bytes(_NUMBER_BYTES, "big")
    mac = hmac.digest(key, _LABEL + data + ticket_id, hashlib.sha256)[:_MAC_BYTES]
    return base64.b32encode(data + mac).decode("ascii").rstrip("=").lower()


def number_in(token: str) -> int:
    """Return the number of the ticket that a token, as `split_token` gives it, claims to be of; unproved."""
    return int.from_bytes(base64.b32decode(token.upper() + "======")[:_NUMBER_BYTES], "big")


def is_token_of(key: bytes, token: str, number: int, ticket_id: bytes) -> bool:
    """Tell whether a token is this ticket's; it takes the same time wherever a forgery goes wrong."""
    return hmac.compare_digest(ticket_token(key, number, ticket_id).encode(), token.encode("utf-8", "replace"))


def with_token(address: str, token: str) -> str | None:
    """Return an address with a token behind a plus; None where the local part would be too long.

    >>> with_token("support@example.com", "a" * 26)
    'support+aaaaaaaaaaaaaaaaaaaaaaaaaa@example.com'
    """
    local, at, domain = address.rpartition("@")
    tagged = f"{local}+{token}"
    return f"{tagged}@{domain}" if local and at and len(tagged.encode()) <= _LOCAL_CHARS_MAX else None


def split_token(address: str) -> tuple[str, str]:
    """Return an address without its token, and the token; "" for one that has none. Nothing is proved.

    Servers may change the case of what they deliver to.

    >>> split_token("Support+AAAAAAAAAAAAAAAAAAAAAAAAAA@example.com")
    ('Support@example.com', 'aaaaaaaaaaaaaaaaaaaaaaaaaa')
    >>> split_token("jane+news@example.com")
    ('jane+news@example.com', '')
    """
    local, _, domain = address.rpartition("@")
    base, plus, tag = local.rpartition("+")
    token = tag.lower()
    return (f"{base}@{domain}", token) if plus and base and _TOKEN.fullmatch(token) else (address, "")


def tokens_in(addresses: Iterable[str], count_max: int) -> list[str]:
    """Return the first tokens that addresses carry, each once."""
    found: dict[str, None] = {}
    for one in addresses:
        if token := split_token(one)[1]:
            found[token] = None
        if len(found) >= count_max:
            break
    return list(found)
