"""Signed and encrypted mail: what it claims to be, and the content of an opaque signature (RFC 8551, RFC 3156).

Nothing is verified and nothing decrypted: there are no keys here, and a mark such as "signed" says what the
message claims. The CMS is read by hand (RFC 5652 §5), since only the content inside is wanted and `cryptography`
reads no BER: Outlook and `openssl -stream` write indefinite lengths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingestd.mail.encoding import decode_part
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.mime import Part

SMIME_SIGNED, SMIME_ENCRYPTED = "smime-signed", "smime-encrypted"
PGP_SIGNED, PGP_ENCRYPTED = "pgp-signed", "pgp-encrypted"
NOTES = {SMIME_ENCRYPTED: "[encrypted message: S/MIME]", PGP_ENCRYPTED: "[encrypted message: PGP]"}
"""What a reader is told where there is nothing else to show."""
UNREADABLE_NOTE = "[signed message that cannot be read: S/MIME]"

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_ENCRYPTED = (
    bytes.fromhex("2a864886f70d010703"),  # enveloped-data
    bytes.fromhex("2a864886f70d010706"),  # encrypted-data
    bytes.fromhex("2a864886f70d0109100117"),  # auth-enveloped-data, RFC 5083
)
_SMIME_TYPES = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_SIGNATURE_TYPES = {
    "application/pkcs7-signature": SMIME_SIGNED,
    "application/x-pkcs7-signature": SMIME_SIGNED,
    "application/pgp-signature": PGP_SIGNED,
}
_ARMOR = re.compile(rb"^-----BEGIN PGP (SIGNED )?MESSAGE-----[ \t]*\r?$", re.MULTILINE)
# An entity begins with a header, and it says what it is. A signed invoice (invoice.xml.p7m) does not.
_ENTITY = re.compile(
    rb"\s*(?:(?!content-)[!-9;-~]{1,100}:[^\n]{0,2000}\n(?:[ \t][^\n]{0,2000}\n){0,50}){0,50}"
    rb"content-[a-z-]{2,40}[ \t]*:",
    re.IGNORECASE,
)


def claim_of(part: Part) -> str:
    """Return what the type of a part claims about what is in it, or ""; see `ParsedMail.protection`."""
    if part.content_type == "multipart/signed":
        kinds = [part.parameters.get("protocol", "").lower(), *(child.content_type for child in part.children[1:])]
        return next((_SIGNATURE_TYPES[one] for one in kinds if one in _SIGNATURE_TYPES), "")
    if part.content_type == "multipart/encrypted":
        return PGP_ENCRYPTED if "pgp" in part.parameters.get("protocol", "pgp").lower() else ""
    # Exchange makes a multipart/mixed of PGP/MIME, but leaves the part that names it.
    return PGP_ENCRYPTED if part.content_type == "application/pgp-encrypted" else ""


def armor_claim(text: bytes) -> str:
    """Return the claim of a text that holds inline PGP (RFC 9580 §6.2), or ""; quoted armor is somebody else's.

    >>> armor_claim(b"-----BEGIN PGP MESSAGE-----\\n\\nabc"), armor_claim(b"> -----BEGIN PGP MESSAGE-----")
    ('pgp-encrypted', '')
    """
    match = _ARMOR.search(text) if b"-----BEGIN PGP " in text else None
    if match is None:
        return ""
    return PGP_SIGNED if match[1] else PGP_ENCRYPTED


def is_smime(part: Part) -> bool:
    """Say whether a part may be S/MIME. Gateways replace the type, but rarely the name that RFC 8551 §3.2.1 gives."""
    return part.content_type in _SMIME_TYPES or (
        part.content_type == "application/octet-stream" and part.filename.lower() == "smime.p7m"
    )


@dataclass(frozen=True, slots=True)
class Cms:
    """`claim` is SMIME_SIGNED, SMIME_ENCRYPTED or "" (certificates, or no CMS); `content` what was signed."""

    claim: str = ""
    content: bytes = b""

    @property
    def entity(self) -> bytes:
        """The content where it is a MIME entity, else nothing."""
        return self.content if _ENTITY.match(self.content) else b""


def read_cms(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Cms:
    """Return what a ContentInfo (RFC 5652 §3) claims to be, and the content of a signed one. Never raises.

    >>> read_cms(b"not ASN.1")
    Cms(claim='', content=b'')
    """
    if not data.startswith(b"\x30"):
        data = _unarmored(data)
    try:
        return _content_info(_Ber(data, limits))
    except _BadBer:
        return Cms()


def _unarmored(data: bytes) -> bytes:
    """Return DER that was sent as text: PEM, or base64 called binary."""
    text = data.strip()
    if not text.startswith((b"-----BEGIN", b"M")):  # base64 of 0x30 begins with M
        return b""
    return decode_part(b"\n".join(line for line in text.splitlines() if not line.startswith(b"-----")), "base64")


class _BadBer(Exception):
    pass


_SEQUENCE, _OID, _OCTETS, _OCTETS_CONSTRUCTED, _EXPLICIT_0 = 0x30, 0x06, 0x04, 0x24, 0xA0
_DEPTH_MAX = 8


class _Ber:
    """A cursor over BER (X.690 §8.1), definite and indefinite lengths."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.at = 0
        self.left = limits.cms_elements_max

    def enter(self) -> tuple[int, int]:
        """Read a tag and a length; return the tag and where its content ends, -1 for an indefinite length."""
        self.left -= 1
        if self.left < 0 or self.at + 2 > len(self.data):
            raise _BadBer
        tag, length = self.data[self.at], self.data[self.at + 1]
        self.at += 2
        if tag & 0x1F == 0x1F:
            raise _BadBer  # tags of several bytes do not occur in CMS
        if length == 0x80:
            return tag, -1
        if length > 0x80:
            count = length & 0x7F
            length = int.from_bytes(self.data[self.at : self.at + count], "big")
            self.at += count
            if count > 8:
                raise _BadBer
        # A message that was cut off still has a beginning.
        return tag, min(self.at + length, len(self.data))

    def expect(self, wanted: int) -> int:
        tag, end = self.enter()
        if tag != wanted:
            raise _BadBer
        return end

    def at_end(self, end: int) -> bool:
        """Say whether the content ends here; reads the end of an indefinite one."""
        if end >= 0:
            return self.at >= end
        if self.at >= len(self.data):
            return True
        if self.data[self.at : self.at + 2] == b"\0\0":
            self.at += 2
            return True
        return False

    def skip(self, depth: int = 0) -> None:
        """Step over one element."""
        _, end = self.enter()
        if end >= 0:
            self.at = end
            return
        if depth >= _DEPTH_MAX:
            raise _BadBer
        while not self.at_end(end):
            self.skip(depth + 1)

    def octets(self, depth: int = 0) -> list[bytes]:
        """Read an OCTET STRING, also one in pieces (X.690 §8.7.3)."""
        tag, end = self.enter()
        if tag == _OCTETS and end >= 0:
            piece, self.at = self.data[self.at : end], end
            return [piece]
        if tag != _OCTETS_CONSTRUCTED or depth >= _DEPTH_MAX:
            raise _BadBer
        pieces: list[bytes] = []
        while not self.at_end(end):
            pieces += self.octets(depth + 1)
        return pieces


def _content_info(ber: _Ber) -> Cms:
    ber.expect(_SEQUENCE)
    kind = _oid(ber)
    if kind in _ENCRYPTED:
        return Cms(SMIME_ENCRYPTED)
    if kind != _SIGNED_DATA:
        return Cms()
    ber.expect(_EXPLICIT_0)
    ber.expect(_SEQUENCE)
    ber.skip()  # version
    ber.skip()  # digest algorithms
    end = ber.expect(_SEQUENCE)
    _oid(ber)
    if ber.at_end(end):
        return Cms()  # certificates only, or a signature that is detached
    ber.expect(_EXPLICIT_0)
    return Cms(SMIME_SIGNED, b"".join(ber.octets()))


def _oid(ber: _Ber) -> bytes:
    end = ber.expect(_OID)
    found, ber.at = ber.data[ber.at : end], max(end, ber.at)
    return found
