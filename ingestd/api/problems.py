"""Errors as RFC 9457 problem details. `code` is stable; clients decide by it, never by the text."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "bad_request": (400, "The request cannot be read: it is no JSON, or not HTTP as it should be."),
    "unauthorized": (401, "There is no token, or it opens nothing: it is wrong, revoked, or too old."),
    "forbidden": (403, "The token has not the scope that this needs."),
    "not_found": (404, "There is no such object in this account, or no such address."),
    "method_not_allowed": (405, "This address has other methods; Allow names them."),
    "request_timeout": (408, "The request did not come in whole in time."),
    "conflict": (409, "It contradicts what is there; the detail says what."),
    "idempotency_key_reused": (409, "This Idempotency-Key was used for another request."),
    "illegal_step": (409, "The object's status does not allow that; the detail names both."),
    "events_gone": (410, "Events behind this cursor were deleted, as they were too old: begin at `oldest`."),
    "changed_meanwhile": (412, "Somebody changed it since it was read: read it again, and decide again."),
    "body_too_large": (413, "The body is larger than `api.request_bytes_max`."),
    "query_too_long": (414, "The address is too long."),
    "unsupported_media_type": (415, "The body is of another type than this takes."),
    "invalid": (422, "A value is wrong; `errors` says which and why."),
    "reply_refused": (422, "The reply cannot be taken; the detail says why."),
    "url_refused": (422, "The address cannot be a webhook's; the detail says why."),
    "too_many_requests": (429, "The token asks faster than it may; Retry-After says when it may again."),
    "too_many_failures": (429, "Too many requests with wrong tokens came from this address; Retry-After says when."),
    "limit_reached": (429, "The account has as many of these as it may have: remove one, or wait until one is done."),
    "headers_too_large": (431, "The headers are too large."),
    "internal": (500, "A defect of ours; the log has the error."),
    "unavailable": (503, "It cannot be done now (database, provider, readers); Retry-After says when to try again."),
    "timeout": (504, "It took longer than `api.request_seconds_max`."),
}
"""Every code: its status, and what it means to a client."""

_CODE_OF_STATUS: Final[Mapping[int, str]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    414: "query_too_long",
    415: "unsupported_media_type",
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
MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """A request that is refused. `detail` is our own text: never what a client or an exception said."""

    def __init__(self, code: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more
        """Further members of the problem, of plain values."""

    def response(self) -> JSONResponse:
        status, _ = CODES[self.code]
        return problem(status, code=self.code, detail=self.detail, headers=self.headers, **self.more)


def code_of(status: int) -> str:
    """Return the stable code of a status that has no code of its own."""
    return _CODE_OF_STATUS.get(status, "error")


def problem(
    status: int,
    *,
    code: str | None = None,
    detail: str = "",
    headers: Mapping[str, str] | None = None,
    **more: Any,
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
        content | more,
        status_code=status,
        headers={**SECURITY_HEADERS, **(headers or {})},
        media_type=MEDIA_TYPE,
    )
