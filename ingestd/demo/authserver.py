"""A small OAuth 2.0 / OpenID Connect authorization server on loopback, for the demo and the tests.

It speaks what a careful provider speaks: authorization code with PKCE (S256
required), rotating refresh tokens with reuse detection, discovery, userinfo,
introspection (as Dovecot asks it), revocation, and `iss` at the callback (RFC 9207).
What it can do beyond that is to fail on demand and to count, and to speak as some
real providers do (`ingestd.demo.dialects`).

It runs in the caller's event loop (`async with server.running() as issuer`) or in
a thread of its own (`start()`, `stop()`).
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.types import Receive, Scope, Send

from ingestd.demo.certificates import Certificates
from ingestd.demo.dialects import Dialects
from ingestd.demo.endpoints import NO_STORE, Client, User
from ingestd.demo.grants import GrantStore, OAuthError, TokenInfo, Tokens
from ingestd.demo.hosting import Hosted, listen, served

__all__ = ["STANDARD_SCOPES", "AuthServer", "Client", "Failure", "TokenInfo", "Tokens", "User"]

STANDARD_SCOPES: Final = ("openid", "email", "offline_access", "mail")
"""What the server can grant; `mail` opens IMAP and SMTP."""

Handler = Callable[[Request], Awaitable[Response]]


class Failure(enum.StrEnum):
    """What `fail_next` can make an endpoint do once."""

    SERVER_ERROR = "server_error"
    """500 with an HTML page."""
    UNAVAILABLE = "unavailable"
    """503 with Retry-After."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """429 with Retry-After."""
    HANG = "hang"
    """No answer until `release()`; then the request is handled."""
    LOST_ANSWER = "lost_answer"
    """The request is handled, the answer breaks off."""
    INVALID_GRANT = "invalid_grant"
    INVALID_CLIENT = "invalid_client"
    INTERACTION_REQUIRED = "interaction_required"
    GARBAGE = "garbage"
    """200, labelled JSON, but not JSON."""
    OVERSIZED = "oversized"
    """200 with 2 MiB of JSON."""
    REDIRECT = "redirect"
    """307 to another path."""
    PARTIAL_SCOPES = "partial_scopes"
    """The user consents to all but `mail` (authorize and token)."""


class _BrokenResponse(Response):
    """Promises more bytes than it sends; uvicorn then drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b'{"access_', "more_body": True})


class AuthServer(Dialects, Hosted):
    """The server. Users are named by their address in every method."""

    thread_name = "demo-authserver"

    def __init__(
        self,
        users: Iterable[User | str],
        clients: Iterable[Client],
        *,
        access_token_seconds: float = 3600,
        rotate_refresh_tokens: bool = True,
        auto_consent: bool = True,
        scopes: Sequence[str] = STANDARD_SCOPES,
        port: int = 0,
        certificates: Certificates | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        grants = GrantStore(access_token_seconds=access_token_seconds, rotate=rotate_refresh_tokens, clock=clock)
        super().__init__(users, clients, grants, auto_consent=auto_consent, scopes=scopes, clock=clock)
        self.retry_after_seconds = 1
        """What 429 and 503 say."""
        self._port = port
        self._certificates = certificates
        self._failures: defaultdict[str, deque[Failure]] = defaultdict(deque)
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.app = self._build()

    # What tests and the demo call.

    def issue(self, user: str, scopes: Sequence[str] = STANDARD_SCOPES, *, client_id: str | None = None) -> Tokens:
        """Make a grant as if `user` had consented; `client_id` is the first client's by default."""
        chosen = client_id or next(iter(self.clients))
        return self.grants.issue(self.users[user].address, chosen, scopes)

    def check(self, access_token: str) -> TokenInfo | None:
        """Return what a living access token stands for, for servers in this process."""
        return self.grants.check(access_token)

    def revoke(self, user: str) -> None:
        """End every grant of `user`: refresh answers invalid_grant, and mail servers refuse."""
        self.grants.revoke_user(user)

    def expire_access_tokens(self, user: str) -> None:
        """Let the access tokens of `user` run out now."""
        self.grants.expire_access_tokens(user)

    def fail_next(self, endpoint: str, kind: Failure | str, *, times: int = 1) -> None:
        """Let the next `times` requests to an endpoint fail.

        `endpoint` is discovery, authorize, token, userinfo, introspect, revoke or device, at whichever
        provider's address.
        """
        self._failures[endpoint].extend([Failure(kind)] * times)

    def release(self) -> None:
        """Let requests that hang go on, and later ones not hang. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._released.set)

    # How it runs.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve in this event loop; yields the issuer, e.g. http://127.0.0.1:40123."""
        listener = listen(self._port)
        tls = self._certificates
        self.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        self._loop = asyncio.get_running_loop()
        self._released = asyncio.Event()
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
            ssl_certfile=tls.cert_file if tls else None,
            ssl_keyfile=tls.key_file if tls else None,
        )
        try:
            async with served(listener, config, ending=self._released.set):
                yield self.issuer
        finally:
            self._loop = None

    # The endpoints.

    def _build(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        routes: tuple[tuple[str, str, list[str], Handler], ...] = (
            ("discovery", "/.well-known/openid-configuration", ["GET"], self.on_discovery),
            ("discovery", "/.well-known/oauth-authorization-server", ["GET"], self.on_discovery),
            ("jwks", "/jwks", ["GET"], self.on_jwks),
            ("authorize", "/authorize", ["GET", "POST"], self.on_authorize),
            ("token", "/token", ["POST"], self.on_token),
            ("userinfo", "/userinfo", ["GET", "POST"], self.on_userinfo),
            ("introspect", "/introspect", ["POST"], self.on_introspect),
            ("revoke", "/revoke", ["POST"], self.on_revoke),
            ("device", "/device_authorization", ["POST"], self.on_device_authorization),
            ("discovery", "/{tenant}/v2.0/.well-known/openid-configuration", ["GET"], self.on_entra_discovery),
            ("authorize", "/{tenant}/oauth2/v2.0/authorize", ["GET", "POST"], self.on_entra_authorize),
            ("token", "/{tenant}/oauth2/v2.0/token", ["POST"], self.on_entra_token),
            ("device", "/{tenant}/oauth2/v2.0/devicecode", ["POST"], self.on_entra_devicecode),
            ("userinfo", "/yandex/info", ["GET"], self.on_yandex_info),
            ("revoke", "/yandex/revoke_token", ["POST"], self.on_yandex_revoke),
            ("userinfo", "/mailru/userinfo", ["GET"], self.on_mailru_userinfo),
        )
        for name, path, methods, handler in routes:
            app.add_api_route(path, self._guarded(name, handler), methods=methods, response_model=None)
        return app

    def _guarded(self, name: str, handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            self.requests[name] += 1
            waiting = self._failures[name]
            failure = waiting.popleft() if waiting else None
            request.state.partial = failure is Failure.PARTIAL_SCOPES
            if failure is Failure.HANG:
                await self._released.wait()
            elif failure is not None and (instead := self._failed(failure)) is not None:
                return instead
            try:
                response = await handler(request)
            except OAuthError as error:
                return JSONResponse({"error": error.code}, error.status, headers=NO_STORE)
            return _BrokenResponse() if failure is Failure.LOST_ANSWER else response

        return endpoint

    def _failed(self, failure: Failure) -> Response | None:
        wait = {"Retry-After": str(self.retry_after_seconds)}
        match failure:
            case Failure.SERVER_ERROR:
                return HTMLResponse("<h1>Internal error</h1>", 500)
            case Failure.UNAVAILABLE:
                return HTMLResponse("<h1>Try later</h1>", 503, headers=wait)
            case Failure.TOO_MANY_REQUESTS:
                return JSONResponse({"error": "rate_limited"}, 429, headers=wait)
            case Failure.INVALID_GRANT | Failure.INTERACTION_REQUIRED:
                return JSONResponse({"error": failure.value}, 400)
            case Failure.INVALID_CLIENT:
                return JSONResponse({"error": failure.value}, 401)
            case Failure.GARBAGE:
                return Response(b'{"access_token": \xff', media_type="application/json")
            case Failure.OVERSIZED:
                return JSONResponse({"filler": "x" * 2 * 1024 * 1024})
            case Failure.REDIRECT:
                return RedirectResponse(f"{self.issuer}/elsewhere", 307)
            case _:
                return None
