"""The two routes that a person's browser takes while a mailbox is linked.

The cookie binds the answer to the browser that began (RFC 9700 §4.7): without it,
somebody could make another person finish *their* flow. Its name holds a hash of the
state, so that two mailboxes can be linked in two tabs at once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse, Response

from connectors.base import TemporaryError
from ingestd.api.edge import Edge, LinkOutcome, LinkRefused
from ingestd.api.pages import PAGE_HEADERS, page
from storage.errors import StorageUnavailable

START_PATH: Final = "/oauth/start"
CALLBACK_PATH: Final = "/oauth/callback"
PAGE_PATHS: Final = frozenset({START_PATH, CALLBACK_PATH})

_STATE = re.compile(r"[A-Za-z0-9._~-]{16,512}")
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_ERROR = re.compile(r"[\x20\x21\x23-\x5B\x5D-\x7E]{1,64}")  # RFC 6749 §4.1.2.1
_CODE_CHARS_MAX: Final = 4096
_ISS_CHARS_MAX: Final = 512
# What is not our fault and passes.
_PASSING = (StorageUnavailable, TemporaryError)


@dataclass(frozen=True, slots=True)
class _Cookie:
    """The cookie of one flow."""

    name: str
    path: str
    secure: bool

    @staticmethod
    def of(state: str, public_url: str) -> _Cookie:
        parts = urlsplit(public_url)
        secure = parts.scheme == "https"
        digest = hashlib.sha256(state.encode()).hexdigest()[:16]
        # __Secure-: a page on plain http cannot set it for us (RFC 6265bis §4.1.3.1).
        # __Host- would need the path "/", and with it go along on every request.
        return _Cookie(
            name=f"{'__Secure-' if secure else ''}ingestd_link_{digest}",
            path=parts.path.rstrip("/") + "/oauth",
            secure=secure,
        )

    def put(self, response: Response, value: str, seconds: int) -> None:
        # Lax, not Strict: the provider's redirect comes from another site.
        response.set_cookie(
            self.name, value, max_age=seconds, path=self.path, secure=self.secure, httponly=True, samesite="lax"
        )

    def remove(self, response: Response) -> None:
        response.delete_cookie(self.name, path=self.path, secure=self.secure, httponly=True, samesite="lax")

    def read(self, request: Request) -> str:
        value = request.cookies.get(self.name, "")
        return value if _BROWSER.fullmatch(value) else ""


def linking_routes(edge: Edge) -> APIRouter:
    """Return the routes of linking."""
    router = APIRouter(include_in_schema=False)

    @router.get(START_PATH)
    async def start(request: Request) -> Response:
        state = _single(request.query_params, "state")
        if state is None or not _STATE.fullmatch(state):
            return page(LinkOutcome.EXPIRED)
        browser = secrets.token_urlsafe(32)
        try:
            url = await edge.linking.open(state, browser)
        except LinkRefused as refused:
            return page(refused.outcome)
        except _PASSING:
            return page(LinkOutcome.UNAVAILABLE, headers={"Retry-After": "60"})
        response = RedirectResponse(url, status_code=303, headers=dict(PAGE_HEADERS))
        _Cookie.of(state, edge.public_url).put(response, browser, edge.link_seconds)
        return response

    @router.get(CALLBACK_PATH)
    async def callback(request: Request) -> Response:
        answer = _Answer.read(request.query_params)
        if answer is None:
            return page(LinkOutcome.FAILED)
        cookie = _Cookie.of(answer.state, edge.public_url)
        response = await _complete(edge, answer, cookie.read(request))
        # The answer is used up, whatever came of it.
        cookie.remove(response)
        return response

    return router


@dataclass(frozen=True, slots=True)
class _Answer:
    """The authorization response (RFC 6749 §4.1.2)."""

    state: str
    code: str | None
    error: str | None
    iss: str | None

    @staticmethod
    def read(query: QueryParams) -> _Answer | None:
        """Return the answer, or None where it is malformed."""
        names = ("state", "code", "error", "iss")
        # A parameter that comes twice makes the answer invalid (RFC 6749 §3.1).
        if any(len(query.getlist(name)) > 1 for name in names):
            return None
        state, code, error, iss = (query.get(name) or None for name in names)
        if state is None or not _STATE.fullmatch(state) or (code is None) == (error is None):
            return None
        if len(code or "") > _CODE_CHARS_MAX or len(iss or "") > _ISS_CHARS_MAX:
            return None
        if error is not None and not _ERROR.fullmatch(error):
            return None
        return _Answer(state, code, error, iss)


async def _complete(edge: Edge, answer: _Answer, browser: str) -> Response:
    try:
        result = await edge.linking.complete(
            state=answer.state, browser=browser, code=answer.code, error=answer.error, iss=answer.iss
        )
    except LinkRefused as refused:
        return page(refused.outcome)
    except _PASSING:
        return page(LinkOutcome.UNAVAILABLE, headers={"Retry-After": "60"})
    return page(result.outcome, mailbox=result.mailbox)


def _single(query: QueryParams, name: str) -> str | None:
    values = query.getlist(name)
    return values[0] if len(values) == 1 else None
