"""Content-Transfer-Encoding (RFC 2045 §6), decoded with what is broken left readable."""

from __future__ import annotations

import binascii
import re

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_BASE64_BLOCK = re.compile(rb"[A-Za-z0-9+/\s]*=*\s*")
_ALIASES = {"x-uuencode": "uuencode", "uue": "uuencode", "x-uue": "uuencode", "quotedprintable": "quoted-printable"}
_KNOWN = frozenset({"base64", "quoted-printable", "7bit", "8bit", "binary", "uuencode"})


def encoding_name(value: str) -> str:
    """Return the encoding in lower case; what is unknown is read as 8bit.

    >>> encoding_name("Quoted-Printable; x"), encoding_name("7-bit")
    ('quoted-printable', '8bit')
    """
    name = value.split(";", 1)[0].split("(", 1)[0].strip().strip("\"'").lower() or "7bit"
    name = _ALIASES.get(name, name)
    return name if name in _KNOWN else "8bit"


def decode_part(encoded: bytes, encoding: str) -> bytes:
    """Return the decoded bytes of a part. Never raises: what cannot be decoded is skipped or kept as it is.

    >>> decode_part(b"SGVs\\r\\nbG8=\\r\\n-- \\r\\na list footer", "base64")
    b'Hello'
    """
    if encoding == "base64":
        return _decode_base64(encoded)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(encoded)
    if encoding == "uuencode":
        return decode_uu(encoded)
    return encoded


def _decode_base64(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(b"".join(data.split()), strict_mode=True)
    except binascii.Error:
        pass
    # Text after the data (a list's footer) must not become bytes of the file, so the reading stops at
    # the padding; without padding it goes on, as stray characters inside the data are only noise.
    block = _BASE64_BLOCK.match(data)
    if block is not None and b"=" in block[0]:
        data = block[0]
    clean = _NOT_BASE64.sub(b"", data)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def decode_uu(data: bytes) -> bytes:
    """Decode uuencoded lines, with or without their begin and end lines."""
    out = bytearray()
    for line in data.splitlines():
        if line.startswith(b"begin ") or not line:
            continue
        if line == b"end" or line in (b"`", b" "):
            break
        try:
            out += binascii.a2b_uu(line)
        except binascii.Error:
            # Some encoders pad the line wrongly: take as many characters as its length byte says.
            try:
                out += binascii.a2b_uu(line[: (((line[0] - 32) & 63) * 4 + 5) // 3])
            except binascii.Error:
                break
    return bytes(out)
