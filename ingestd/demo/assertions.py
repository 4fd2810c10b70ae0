"""Whether a client's assertion is signed by the key of its certificate (RFC 7523 §2.2), as Microsoft takes it."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate


def is_signed(assertion: str, certificate: bytes, *, client_id: str, audience: str, now: float) -> bool:
    """Tell whether an assertion is this client's, for this token address, and good at this time.

    `certificate` is PEM, with an RSA key.
    """
    try:
        head, body, signature = assertion.split(".")
        header, claims = _document(head), _document(body)
        named = (claims["iss"], claims["sub"], claims["aud"]) == (client_id, client_id, audience)
        if not named or not now <= float(claims["exp"]) or header["alg"] not in {"PS256", "RS256"}:
            return False
        key = load_pem_x509_certificate(certificate).public_key()
        if not isinstance(key, RSAPublicKey):
            return False
        padded = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if header["alg"] == "PS256" else padding.PKCS1v15()
        key.verify(_bytes(signature), f"{head}.{body}".encode(), padded, hashes.SHA256())
    except (ValueError, KeyError, TypeError, InvalidSignature):
        return False
    return True


def _document(part: str) -> dict[str, Any]:
    found = json.loads(_bytes(part))
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
