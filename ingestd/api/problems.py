"""Errors as RFC 9457 problem details. `code` is stable; clients decide by it, never by the text."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    414: "query_too_long",
    431: "headers_too_large",
    500: "internal",
    503: "unavailable",
    504: "timeout",
}

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def code_of(status: int) -> str:
    """Return the stable code of a status that has no code of its own."""
    return _CODES.get(status, "error")


def problem(
    status: int, *, code: str | None = None, detail: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a problem. `detail` is our own text: never what a client or an exception said."""
    content: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code or code_of(status),
    }
    if detail:
        content["detail"] = detail
    return JSONResponse(
        content,
        status_code=status,
        headers={**SECURITY_HEADERS, **(headers or {})},
        media_type="application/problem+json",
    )
