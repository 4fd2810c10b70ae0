"""Content-Transfer-Encoding (RFC 2045 §6), decoded with what is broken left readable."""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from io import BytesIO

import pybase64

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_BASE64_BLOCK = re.compile(rb"[A-Za-z0-9+/\s]*+={0,3}(?>(?:\s|\Z)*)")
_BASE64_LINE = re.compile(rb"^[ \t]*[A-Za-z0-9+/]+={0,3}[ \t]*\r?$", re.MULTILINE)
_NEXT_BLOCK = re.compile(rb"([A-Za-z0-9+/]{2,}+={1,3}|[A-Za-z0-9+/]{8,}+)(?:[ \t]*\r?(?:\n|\Z)|(?<==))")
_BASE64_BEGINS = re.compile(rb"(?:[A-Za-z0-9+/]{4}){15,}|(?:[A-Za-z0-9+/]{4}\s*)*?[A-Za-z0-9+/]{2,3}={1,2}(?:\s|\Z)")
# What is nothing but lines of base64, the last one with its padding.
_ONLY_BASE64 = re.compile(rb"\s*(?:[A-Za-z0-9+/]{60,76}\r?\n)+[A-Za-z0-9+/]{1,76}={0,2}\s*")
_WHITE_SPACE = b" \t\n\r\v\f"
_WINDOW_BYTES = 1024 * 1024
_BLOCKS_MAX = 20_000
_BAD_QP = re.compile(rb"=(?![0-9A-F]{2}|[ \t]*\r?\n|[ \t]*\Z)")
_SOFT_BREAK = re.compile(rb"^[^\r\n]{60,75}=\r?\n", re.MULTILINE)
_PADDED_BREAK = re.compile(rb"=[ \t]++(\r?\n)")
_ESCAPE = re.compile(rb"=[0-9A-F]{2}")
_WORDS = {"x-uuencode": "uuencode", "uue": "uuencode", "x-uue": "uuencode"}
_KNOWN = frozenset({"base64", "quoted-printable", "7bit", "8bit", "binary", "uuencode"})


@lru_cache(maxsize=128)
def encoding_name(value: str) -> str:
    """Return the encoding in lower case; what is unknown is read as 8bit.

    >>> encoding_name("Quoted-Printable; x"), encoding_name("7-bit")
    ('quoted-printable', '8bit')
    >>> encoding_name("base-64")
    'base64'
    """
    name = value.split(";", 1)[0].split("(", 1)[0].strip().strip("\"'").lower() or "7bit"
    name = _WORDS.get(name, name)
    if name in _KNOWN:
        return name
    letters = "".join(filter(str.isalnum, name))
    return next((known for known in ("base64", "quoted-printable") if known.replace("-", "") in letters), "8bit")


def decode_part(encoded: bytes | memoryview, encoding: str) -> bytes:
    """Return the decoded bytes of a part. Never raises: what cannot be decoded is skipped or kept as it is.

    Of a large one, a view is not copied where it is base64.

    >>> decode_part(b"SGVs\\r\\nbG8=\\r\\n-- \\r\\na list footer", "base64")
    b'Hello'
    """
    if encoding == "base64" and len(encoded) > _WINDOW_BYTES and (data := _decode_windows(encoded)) is not None:
        return data
    if isinstance(encoded, memoryview):
        encoded = bytes(encoded)
    if encoding == "base64":
        return _decode_base64(encoded)
    if encoding == "quoted-printable":
        if b"= " in encoded or b"=\t" in encoded:  # transports pad lines (RFC 2045 §6.7 (3))
            encoded = _PADDED_BREAK.sub(rb"=\1", encoded)
        return binascii.a2b_qp(encoded)
    if encoding == "uuencode":
        return decode_uu(encoded)
    return encoded


def _decode_windows(data: bytes | memoryview) -> bytes | None:
    """Return what base64 without a fault holds, with little memory beside it; None where it has one."""
    out, rest = BytesIO(), b""
    try:
        for at in range(0, len(data), _WINDOW_BYTES):
            letters = rest + bytes(data[at : at + _WINDOW_BYTES]).translate(None, _WHITE_SPACE)
            is_last = at + _WINDOW_BYTES >= len(data)
            whole = len(letters) if is_last else len(letters) // 4 * 4
            rest = letters[whole:]
            piece = pybase64.b64decode(letters[:whole], validate=True)
            if not is_last and len(piece) != whole // 4 * 3:
                return None  # padding, and more behind it
            out.write(piece)
    except binascii.Error:
        return None
    return out.getvalue()


def _decode_base64(data: bytes) -> bytes:
    letters = data.translate(None, _WHITE_SPACE)
    try:
        return pybase64.b64decode(letters, validate=True)  # nearly all there is, in a fraction of the time
    except binascii.Error:
        pass
    try:
        return binascii.a2b_base64(letters, strict_mode=True)
    except binascii.Error:
        pass
    lines = data.split()
    if lines and (len(lines[-1]) >= 8 or lines[-1].endswith(b"=")):  # else it may be a word that follows
        try:
            # Some encode line by line, each with its padding.
            return b"".join([binascii.a2b_base64(line, strict_mode=True) for line in lines])
        except binascii.Error:
            pass
    # Text after the data (a list's footer) must not become bytes of the file, so the reading stops at
    # the padding; without padding it goes on, as stray characters inside the data are only noise. Some
    # encode chunk by chunk: then more of it follows the padding.
    out: list[bytes] = []
    position = 0
    for _ in range(_BLOCKS_MAX):
        block = _BASE64_BLOCK.match(data, position)
        if block is None or b"=" not in block[0]:
            break
        out.append(_decode_block(block[0]))
        position = block.end()
        following = _NEXT_BLOCK.match(data, position)
        if following is None or len(following[1]) % 4:
            return b"".join(out)
    rest = data[position:]
    if out and _NOT_BASE64.search(b"".join(rest.split())) is not None:
        return b"".join(out)
    return b"".join(out) + _decode_block(rest)


def _decode_block(data: bytes) -> bytes:
    clean = _NOT_BASE64.sub(b"", data)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def encoding_of_text(encoded: bytes, claimed: str) -> str:
    """Return the encoding by which a text is to be decoded where its label is certainly wrong, else `claimed`.

    Words are no base64 (a gateway that decoded, and left the label), and lines of nothing else are (one that
    lost it); so with quoted-printable, where every "=" is one of its escapes.

    >>> encoding_of_text(b"Hello, this is text", "base64")
    '8bit'
    """
    if claimed == "base64":
        return "base64" if _is_base64(encoded) else "8bit"
    if claimed not in ("7bit", "8bit", "binary") or not encoded.isascii():
        return claimed
    soft = b"=\n" in encoded or b"=\r\n" in encoded
    if soft and _SOFT_BREAK.search(encoded) and _BAD_QP.search(encoded) is None:
        return "quoted-printable" if len(_ESCAPE.findall(encoded[:65536])) > 1 else claimed
    if _ONLY_BASE64.fullmatch(encoded):
        decoded = _decode_base64(encoded)
        # A key or a certificate that stands alone is data; text has words.
        return "base64" if decoded.count(b" ") * 12 > len(decoded) and b"\0" not in decoded else claimed
    return claimed


def _is_base64(encoded: bytes) -> bool:
    """Return whether it begins with base64 that is padded or a long line, or most of it is in such lines."""
    head = encoded[:4096].lstrip()
    if not head or _BASE64_BEGINS.match(head) is not None:
        return True
    return sum(map(len, _BASE64_LINE.findall(head))) * 2 >= len(b"".join(head.split()))


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
