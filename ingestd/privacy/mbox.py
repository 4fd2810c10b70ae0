"""Mails one behind the other in a file, as mbox in its reversible form, mboxrd.

RFC 4155 has the line that begins a mail; the quoting is told at loc.gov/preservation/digital/formats/fdd/fdd000385.
The bytes of a mail stay as they came, CRLF included; only lines that could be taken for a beginning are quoted.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

_BEGINNING: Final = b"From "
_QUOTED: Final = re.compile(rb"^(>*)(?=From )", re.MULTILINE)


def beginning(received_at: datetime) -> bytes:
    """Return the line before a mail. The sender's place has none: that of the envelope is not known.

    >>> beginning(datetime(2026, 3, 1, 9, 5, tzinfo=UTC))
    b'From MAILER-DAEMON Sun Mar  1 09:05:00 2026\\n'
    """
    return f"From MAILER-DAEMON {received_at.astimezone(UTC).ctime()}\n".encode()


async def quoted(portions: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a mail as it stands in the file, with the empty line behind it."""
    held, bare, last = b"", True, b"\n"
    async for portion in portions:
        data = held + portion
        line = data.rfind(b"\n") + 1
        rest = data[line:].lstrip(b">") if line or bare else b"x"
        held = rest if _BEGINNING.startswith(rest) else b""  # what may become a beginning with the next portion
        ready = data.removesuffix(held)
        yield _quote(ready, bare)
        bare, last = rest == held, data[-1:] or last
    yield _quote(held, bare) + (b"\n" if last == b"\n" else b"\n\n")


def _quote(data: bytes, bare: bool) -> bytes:
    """Quote the lines that need it, of data that begins where a line has nothing but ">" so far, or else within it."""
    if bare:
        return _QUOTED.sub(rb"\1>", data)
    end = data.find(b"\n") + 1 or len(data)
    return data[:end] + _QUOTED.sub(rb"\1>", data[end:])
