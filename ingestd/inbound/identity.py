"""What makes two fetched messages the same message of a mailbox."""

from __future__ import annotations

import hashlib

from ingestd.mail.types import Came, ParsedMail
from storage.sealing import DataKey

_PURPOSE = "identity"
_HEADER_BYTES = 64 * 1024
"""Of a header so much is compared; a connector may not give all of a larger one."""


def identity_key(
    key: DataKey, *, provider_id: str | None, message_id: str, body_sha256: bytes, raw_sha256: bytes
) -> bytes:
    """Return the keyed hash by which the database keeps a message from coming in twice.

    The provider's own id where it has one that outlives moves; else Message-ID and
    body together: moved out and back it is one message, two mails that share a
    Message-ID but differ are two. A mail without a Message-ID is its bytes.
    """
    if provider_id:
        return key.hash(_PURPOSE, b"provider\x00" + provider_id.encode())
    if message_id:
        return key.hash(_PURPOSE, b"message\x00" + message_id.encode() + b"\x00" + body_sha256)
    return key.hash(_PURPOSE, b"raw\x00" + raw_sha256)


def identity_of(
    key: DataKey, mail: ParsedMail, raw_sha256: bytes, provider_id: str | None = None, *, came: Came | None = None
) -> bytes:
    """As `identity_key`, for a parsed message; `came` are the hashes of one that is not stored as it came."""
    return identity_key(
        key,
        provider_id=provider_id,
        message_id=mail.message_id,
        body_sha256=mail.body_sha256 if came is None else came.body_sha256,
        raw_sha256=raw_sha256 if came is None else came.raw_sha256,
    )


def identity_of_bytes(key: DataKey, raw_sha256: bytes, provider_id: str | None = None) -> bytes:
    """As `identity_key`, for a message of which nothing is understood."""
    return identity_key(key, provider_id=provider_id, message_id="", body_sha256=b"", raw_sha256=raw_sha256)


def header_key(key: DataKey, header: bytes) -> bytes | None:
    """Return what a message is known by of which only the header block was read; None where there is none.

    Its Message-ID and its size are too little: two mails may share the one, and the other is an estimate at some
    servers (Exchange), and tells nothing of a message that was read whole while the limit was another. The block
    holds the trace fields of the servers on its way (RFC 5321 §4.4), which no other message has.
    """
    plain = header[:_HEADER_BYTES].replace(b"\r\n", b"\n").rstrip(b"\n")
    return key.hash(_PURPOSE, b"header\x00" + hashlib.sha256(plain).digest()) if plain else None


def address_key(key: DataKey, address: str) -> bytes:
    """Return the keyed hash of a normalized address: who has standing is found by it."""
    return key.hash("address", address.encode())


def thread_key(key: DataKey, message_id: str) -> bytes:
    """Return the keyed hash of a Message-ID, with angle brackets."""
    return key.hash("thread", message_id.encode())


MESSAGE_ID_PURPOSE = "message-id hmac"
"""The subkey that signs our own Message-IDs."""
REPLY_ADDRESS_PURPOSE = "reply-address hmac"
"""The subkey that signs the tokens of reply addresses."""
