"""MIME written by hand, so that the corpus has the same bytes on every Python: the folding of the standard
library's `email` changes between versions. Lines end in CRLF everywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence

CRLF = "\r\n"
_WORD_CHARS_MAX = 75  # RFC 2047 §2


def encoded_words(text: str, charset: str) -> str:
    """Return `text` for a header: as it is where it is ASCII, else as B-encoded words (RFC 2047), folded.

    >>> encoded_words("Grüße", "iso-8859-1")
    '=?iso-8859-1?B?R3L832U=?='
    """
    if text.isascii():
        return text
    words, piece = [], ""
    for char in text:
        if len(_word(piece + char, charset)) > _WORD_CHARS_MAX:
            words.append(_word(piece, charset))
            piece = ""
        piece += char
    return f"{CRLF} ".join([*words, _word(piece, charset)])


def _word(text: str, charset: str) -> str:
    return f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


def base64_lines(data: bytes) -> bytes:
    """Return `data` in base64, in lines of 76 (RFC 2045 §6.8), the last one ended, too."""
    encoded = base64.b64encode(data)
    return b"".join(encoded[at : at + 76] + b"\r\n" for at in range(0, len(encoded), 76))


def quoted_printable(data: bytes) -> bytes:
    """Return text with CRLF lines as quoted-printable (RFC 2045 §6.7).

    >>> quoted_printable("Grüße = 1 \\r\\n".encode("iso-8859-1"))
    b'Gr=FC=DFe =3D 1=20\\r\\n'
    """
    return b"\r\n".join(_quoted_line(line) for line in data.split(b"\r\n"))


def _quoted_line(line: bytes) -> bytes:
    out, width = [], 0
    for at, byte in enumerate(line):
        is_plain = (33 <= byte <= 126 and byte != ord("=")) or (byte == ord(" ") and at < len(line) - 1)
        token = bytes([byte]) if is_plain else b"=%02X" % byte
        if width + len(token) > 75:
            out.append(b"=\r\n")
            width = 0
        out.append(token)
        width += len(token)
    return b"".join(out)


def part(headers: Sequence[str], body: bytes) -> bytes:
    return (CRLF.join(headers) + CRLF + CRLF).encode("ascii") + body


def text_part(kind: str, text: str, charset: str, encoding: str) -> bytes:
    """Return a text part: `kind` is plain or html, `encoding` 7bit, 8bit, quoted-printable or base64."""
    data = text.encode(charset)
    if encoding == "base64":
        data = base64_lines(data)
    elif encoding == "quoted-printable":
        data = quoted_printable(data)
    headers = [f"Content-Type: text/{kind}; charset={charset}", f"Content-Transfer-Encoding: {encoding}"]
    return part(headers, data)


def multipart(subtype: str, boundary: str, parts: Sequence[bytes]) -> bytes:
    """Return a part of parts. `boundary` must be in none of them."""
    mark = f"--{boundary}{CRLF}".encode()
    body = b"".join(mark + one + b"\r\n" for one in parts) + f"--{boundary}--{CRLF}".encode()
    return part([f'Content-Type: multipart/{subtype}; boundary="{boundary}"'], body)


def attachment(name: str, content_type: str, data: bytes) -> bytes:
    """Return an attachment in base64; a name that is not ASCII as RFC 2231 has it."""
    if name.isascii():
        parameter = f'filename="{name}"'
    else:
        parameter = "filename*=utf-8''" + "".join(f"%{byte:02X}" for byte in name.encode())
    headers = [
        f"Content-Type: {content_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: attachment; {parameter}",
    ]
    return part(headers, base64_lines(data))
