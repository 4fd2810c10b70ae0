"""Writes quoted-printable (RFC 2045 §6.7) for bytes of any kind, line by line."""

from __future__ import annotations

import binascii
import re

_LINES = re.compile(rb"(\r?\n)")


def quoted_printable(data: bytes, line_end: bytes) -> bytes:
    """Return `data` encoded, its own line breaks as they are; `line_end` parts lines that are too long.

    >>> quoted_printable("Grüße \\r\\n".encode(), b"\\r\\n")
    b'Gr=C3=BC=C3=9Fe=20\\r\\n'
    """
    out = _LINES.split(data)
    for index in range(0, len(out), 2):
        encoded = binascii.b2a_qp(out[index], istext=False)
        # A lone dot is mangled by bad SMTP clients, "From " by mbox writers (RFC 2049 §3).
        if encoded.startswith(b"."):
            encoded = b"=2E" + encoded[1:]
        elif encoded.startswith(b"From "):
            encoded = b"=46" + encoded[1:]
        out[index] = encoded.replace(b"=\n", b"=" + line_end)
    return b"".join(out)
