"""What makes two fetched messages the same message of a mailbox."""

from __future__ import annotations

from ingestd.mail.types import ParsedMail
from storage.sealing import DataKey

_PURPOSE = "identity"


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


def identity_of(key: DataKey, mail: ParsedMail, raw_sha256: bytes, provider_id: str | None = None) -> bytes:
    """As `identity_key`, for a parsed message."""
    return identity_key(
        key,
        provider_id=provider_id,
        message_id=mail.message_id,
        body_sha256=mail.body_sha256,
        raw_sha256=raw_sha256,
    )


def identity_of_bytes(key: DataKey, raw_sha256: bytes, provider_id: str | None = None) -> bytes:
    """As `identity_key`, for a message of which nothing is understood."""
    return identity_key(key, provider_id=provider_id, message_id="", body_sha256=b"", raw_sha256=raw_sha256)


def address_key(key: DataKey, address: str) -> bytes:
    """Return the keyed hash of a normalized address: who has standing is found by it."""
    return key.hash("address", address.encode())


def thread_key(key: DataKey, message_id: str) -> bytes:
    """Return the keyed hash of a Message-ID, with angle brackets."""
    return key.hash("thread", message_id.encode())


MESSAGE_ID_PURPOSE = "message-id hmac"
"""The subkey that signs our own Message-IDs."""
