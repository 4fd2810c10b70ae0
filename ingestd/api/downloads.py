"""What is sent as it came by mail: nothing a browser could run, under names that senders chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from ingestd.api.problems import SECURITY_HEADERS
from ingestd.mail.names import safe_name
from ingestd.raw import RawStream

UNKNOWN_TYPE: Final = "application/octet-stream"
HARMLESS_TYPES: Final = frozenset(
    {
        "application/pdf",
        "application/zip",
        "audio/mpeg",
        "audio/wav",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/plain",
        "video/mp4",
    }
)
"""Types that no browser takes for a page or a script. Not HTML, SVG, XML or a mail: those can hold scripts."""

_HEADERS: Final[Mapping[str, str]] = {
    **SECURITY_HEADERS,
    # Should somebody show it all the same, it has an origin of its own and may load and run nothing.
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# RFC 8187 §3.2.1: what stands as it is in an extended value.
_ATTRIBUTE_CHARS: Final = "!#$&+.^_`|~-"
# In a quoted name: neither what ends or escapes it, to careless readers too, nor "%", which some browsers decode.
_FALLBACK: Final = frozenset(map(chr, range(0x20, 0x7F))) - set('"\\%/;')


def describe_download(*types: str, what: str) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of a route that sends bytes of one of these types."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": what, "content": dict.fromkeys(sorted(types), schema)}}


def attachment_response(content: bytes, *, name: str, content_type: str) -> Response:
    """Return an attachment, under its own type only where that is harmless."""
    shown = content_type if content_type in HARMLESS_TYPES else UNKNOWN_TYPE
    return Response(content, headers=_headers(shown, safe_name(name, content_type), len(content)))


def mail_response(raw: RawStream, *, name: str) -> Response:
    """Return a raw message, read while it is sent."""
    return StreamingResponse(raw.portions, headers=_headers("message/rfc822", name, raw.size_bytes))


def _headers(content_type: str, name: str, size_bytes: int) -> dict[str, str]:
    return {
        **_HEADERS,
        # As a header: as a media type, Starlette would name a charset that nobody knows.
        "Content-Type": content_type,
        "Content-Disposition": disposition(name),
        "Content-Length": str(size_bytes),
    }


def disposition(name: str) -> str:
    r"""Return a Content-Disposition (RFC 6266) for a file to be saved under this name.

    >>> disposition('Rechnung "März".pdf')
    'attachment; filename="Rechnung _M_rz_.pdf"; filename*=UTF-8\'\'Rechnung%20%22M%C3%A4rz%22.pdf'
    >>> disposition("a\r\nSet-Cookie: x")
    'attachment; filename="a__Set-Cookie: x"; filename*=UTF-8\'\'a%0D%0ASet-Cookie%3A%20x'
    """
    fallback = "".join(one if one in _FALLBACK else "_" for one in name)
    extended = quote(name, safe=_ATTRIBUTE_CHARS, errors="replace")
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{extended}"
