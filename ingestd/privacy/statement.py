"""A receipt as a signed statement, for somebody who does not take our word: an auditor, a data-protection officer.

It is a JWS in its compact form (RFC 7515) with EdDSA (RFC 8037): any library for JOSE checks it, by the public key
alone. The signing key comes of the master key, so that it needs no keeping of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ingestd.keys import KeyRing
from ingestd.privacy.closing import Closed
from ingestd.privacy.receipts import Forgetting
from ingestd.records import AccountReceipt, PersonReceipt, Receipt
from storage.keystore import LedgerPosition
from storage.sealing import fingerprint_of

_ALGORITHM: Final = "EdDSA"
_TYPE: Final = "ingestd-receipt+jwt"


class StatementWrong(Exception):
    """It is no statement of ours, or somebody changed it; the text says which."""


class Signer:
    """Signs statements."""

    def __init__(self, seed: bytes) -> None:
        """`seed` are 32 bytes that nobody else knows."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def sign(self, account_id: UUID, found: Forgetting, at: datetime) -> str | None:
        """Return what is known of a mailbox's forgetting at this time, signed; None before the receipt is written."""
        if found.receipt is None or found.position is None:
            return None
        receipt = msgspec.structs.replace(
            found.receipt,
            revocation=found.revocation or found.receipt.revocation,
            refresh_after=found.refresh_after or found.receipt.refresh_after,
            removal_page=found.removal_page,
        )
        return self._sign_destroyed(found.erasure.mailbox_id, account_id, receipt, found.position, at)

    def sign_account(self, closed: Closed, at: datetime) -> str:
        """Return the receipt of a closed account, signed: of what was its own, and which mailboxes it had."""
        account_id = closed.receipt.account_id
        return self._sign_destroyed(account_id, account_id, closed.receipt, closed.position, at)

    def sign_person(self, account_id: UUID, receipt: PersonReceipt, position: LedgerPosition, at: datetime) -> str:
        """Return what the erasure of a person left, signed; `position` is where it stands in the ledger."""
        before = receipt.erased_at.isoformat()
        readable = f"copies of the content database made before {before}; where one is restored, it is done again"
        return self._sign(receipt.erasure_id, account_id, receipt, readable, position, at)

    def _sign_destroyed(
        self, subject: UUID, account_id: UUID, receipt: Receipt | AccountReceipt, position: LedgerPosition, at: datetime
    ) -> str:
        """Sign a receipt of what went with its key."""
        readable = f"copies of the key store made before {receipt.unreadable_at.isoformat()}, and nothing else"
        return self._sign(subject, account_id, receipt, readable, position, at)

    def _sign(
        self,
        subject: UUID,
        account_id: UUID,
        receipt: Receipt | AccountReceipt | PersonReceipt,
        readable_with: str,
        position: LedgerPosition,
        at: datetime,
    ) -> str:
        claims = {
            "iat": int(at.timestamp()),
            "sub": str(subject),
            "account_id": str(account_id),
            "receipt": msgspec.to_builtins(receipt),
            "readable_with": readable_with,
            "ledger": {"sequence": position.sequence, "hash": position.hash.hex()},
        }
        return jwt.encode(claims, self._key, _ALGORITHM, headers={"typ": _TYPE, "kid": key_id(self.public_key)})


def signer_of(keys: KeyRing) -> Signer:
    return Signer(keys.seed("receipt signature"))


def key_id(key: Ed25519PublicKey) -> str:
    """Return which key it is."""
    return fingerprint_of(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_pem(text: bytes) -> Ed25519PublicKey:
    """Raises StatementWrong."""
    try:
        key = load_pem_public_key(text)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise StatementWrong("that is no public key of Ed25519 in PEM")
    return key


def read_statement(token: str, key: Ed25519PublicKey) -> Mapping[str, Any]:
    """Return what a statement says. Raises StatementWrong unless this key's owner signed it as it is."""
    try:
        found = jwt.decode_complete(token.strip(), key, [_ALGORITHM], options={"verify_iat": False})
    except jwt.InvalidSignatureError:
        try:
            named = jwt.get_unverified_header(token.strip()).get("kid")
        except jwt.InvalidTokenError:
            named = None
        if named != key_id(key):
            raise StatementWrong("it was signed by another key: name the public key that it was given with") from None
        raise StatementWrong("the signature does not fit: it was changed since it was signed") from None
    except jwt.InvalidTokenError:
        raise StatementWrong("it is no signed receipt") from None
    if found["header"].get("typ") != _TYPE:
        raise StatementWrong("it is signed, but no receipt")
    claims: Mapping[str, Any] = found["payload"]
    return claims
