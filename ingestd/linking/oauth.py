"""The OAuth client: code and refresh exchanges, whose grant it is, revocation (RFC 6749, 7009, 7636, 9207, 9700).

A refresh with rotation is not blindly repeatable: when the answer is lost, the
old token is dead, and a second use of it may end the whole grant (RFC 9700
§4.14.2). So exchange and refresh are repeated only when no connection came about,
or when the server turned the request away (429, 503) with a short Retry-After.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import httpx2

from ingestd.linking import flow
from ingestd.linking.discovery import Endpoints
from ingestd.linking.errors import IdentityUnproved, LinkingError
from ingestd.linking.http import (
    DEFAULT_LIMITS,
    Answer,
    HttpLimits,
    ask,
    is_safe_to_repeat,
    is_worth_repeating,
    refuse_trouble,
)
from ingestd.linking.identity import Identity, id_token_claims, identity_of
from ingestd.linking.retry import Waits, repeating
from ingestd.linking.tokens import TokenSet, read_tokens, require_scopes, verdict

TokenAuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]

_ALREADY_DEAD: Final = ("invalid_token",)


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Our application at one provider."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    token_auth_method: TokenAuthMethod = "client_secret_basic"  # noqa: S105
    scopes: tuple[str, ...] = ()
    scopes_needed: tuple[str, ...] = ()
    """Those without which a grant is refused; where empty, all of `scopes` that name access to mail."""
    extra_authorize_params: Mapping[str, str] = field(default_factory=dict)
    address_claim: str = "email"


class Revocation(enum.StrEnum):
    """The outcome of a revocation."""

    REVOKED = "revoked"
    """The provider says that the token is dead, now or before."""
    UNSUPPORTED = "unsupported"
    """The provider has no revocation: only the owner can remove us, on the provider's page."""
    FAILED = "failed"
    """Not known; try again later."""


def utc_now() -> datetime:
    """Return the time, aware, UTC."""
    return datetime.now(UTC)


class OAuthClient:
    """One application at one provider. Holds no tokens and no state; may be shared by tasks.

    Single flight for refreshes is the caller's business.
    """

    def __init__(
        self,
        config: ClientConfig,
        endpoints: Endpoints,
        http: httpx2.AsyncClient,
        *,
        waits: Waits | None = None,
        limits: HttpLimits = DEFAULT_LIMITS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.config = config
        self.endpoints = endpoints
        self._http = http
        self._waits = waits
        self._limits = limits
        self._now = now

    def authorize_url(
        self, redirect_uri: str, started: flow.Flow, *, login_hint: str | None = None, **extra: str
    ) -> str:
        """Return where to send the owner's browser; `extra` adds to the configured parameters."""
        return flow.authorize_url(
            self.endpoints,
            self.config.client_id,
            redirect_uri,
            self.config.scopes,
            started,
            extra_params={**self.config.extra_authorize_params, **extra},
            login_hint=login_hint,
        )

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> TokenSet:
        """Exchange the callback's code; then call `require_all` on what came.

        Raises CodeRefused, ConsentNeeded, ClientRejected, TokenEndpointBusy, TokenEndpointDown.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return await self._tokens({**form, "code_verifier": verifier}, refreshing=False)

    async def refresh(self, refresh_token: str) -> TokenSet:
        """Get a new access token. Where the answer holds a refresh token, store it before using anything.

        Raises GrantRevoked, ConsentNeeded, ClientRejected, TokenEndpointBusy, TokenEndpointDown.
        """
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token}, refreshing=True)

    def require_all(self, tokens: TokenSet) -> None:
        """Raise PartialConsent where the exchange gave less than was asked for."""
        require_scopes(self.config.scopes_needed or self.config.scopes, tokens)

    async def identity(self, access_token: str, id_token: str | None, *, nonce: str | None = None) -> Identity:
        """Return who consented, by userinfo, else by introspection, else by the ID token alone.

        An ID token is checked wherever there is one; `nonce` is that of the flow,
        None for an ID token that a refresh gave. Raises IdentityUnproved,
        TokenEndpointBusy, TokenEndpointDown.
        """
        claims = None
        if id_token is not None:
            claims = id_token_claims(
                id_token,
                client_id=self.config.client_id,
                issuer=self.endpoints.issuer,
                nonce=nonce,
                now=self._now(),
            )
        answer = await self._about(access_token)
        if answer is None and claims is None:
            raise IdentityUnproved("the provider has neither userinfo, introspection nor an ID token")
        return identity_of(answer or {}, claims, address_claim=self.config.address_claim, issuer=self._issuer())

    async def revoke(self, token: str) -> Revocation:
        """Revoke a refresh token, and its grant with it (RFC 7009). Never raises for what the provider does."""
        url = self.endpoints.revoke
        if url is None:
            return Revocation.UNSUPPORTED

        async def once() -> Answer:
            return await self._post(url, {"token": token, "token_type_hint": "refresh_token"}, "revocation")

        try:
            answer = await repeating(once, is_worth_repeating, self._waits)
        except LinkingError:
            return Revocation.FAILED
        return _revocation(answer)

    async def _tokens(self, form: Mapping[str, str], *, refreshing: bool) -> TokenSet:
        async def once() -> Answer:
            return await self._post(self.endpoints.token, form, "token")

        answer = await repeating(once, is_safe_to_repeat, self._waits)
        if answer.status != 200:
            raise verdict(answer.status, answer.document, refreshing=refreshing)
        return read_tokens(answer.document, self._now())

    async def _about(self, access_token: str) -> Mapping[str, Any] | None:
        """Return what the provider says of an access token, None where it has no endpoint for that."""
        userinfo, introspect = self.endpoints.userinfo, self.endpoints.introspect
        if userinfo is not None:
            answer = await repeating(
                lambda: self._ask_userinfo(userinfo, access_token), is_worth_repeating, self._waits
            )
        elif introspect is not None:
            form = {"token": access_token, "token_type_hint": "access_token"}
            answer = await repeating(
                lambda: self._post(introspect, form, "introspection"), is_worth_repeating, self._waits
            )
        else:
            return None
        document = answer.document
        if answer.status != 200 or document is None:
            raise IdentityUnproved(f"the provider does not tell whose token it is: status {answer.status}")
        # Introspection answers 200 for dead tokens, too (RFC 7662 §2.2).
        if userinfo is None and document.get("active") is not True:
            raise IdentityUnproved("the access token is not active")
        return document

    async def _ask_userinfo(self, url: str, access_token: str) -> Answer:
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await ask(self._http, "GET", url, endpoint="userinfo", headers=headers, limits=self._limits)
        refuse_trouble(answer, "userinfo")
        return answer

    async def _post(self, url: str, form: Mapping[str, str], endpoint: str) -> Answer:
        fields, auth = self._authenticated(form)
        answer = await ask(self._http, "POST", url, endpoint=endpoint, form=fields, auth=auth, limits=self._limits)
        refuse_trouble(answer, endpoint)
        return answer

    def _authenticated(self, form: Mapping[str, str]) -> tuple[dict[str, str], httpx2.Auth | None]:
        client_id, secret = self.config.client_id, self.config.client_secret
        match self.config.token_auth_method:
            case "client_secret_basic":
                # Both are form-encoded first (RFC 6749 §2.3.1).
                return dict(form), httpx2.BasicAuth(quote(client_id, safe=""), quote(secret or "", safe=""))
            case "client_secret_post":
                return {**form, "client_id": client_id, "client_secret": secret or ""}, None
            case "none":
                return {**form, "client_id": client_id}, None

    def _issuer(self) -> str:
        """Return the issuer, or what stands for it where the operator told only addresses."""
        if self.endpoints.issuer is not None:
            return self.endpoints.issuer
        parts = urlsplit(self.endpoints.token)
        return f"{parts.scheme}://{parts.netloc}"


def _revocation(answer: Answer) -> Revocation:
    if 200 <= answer.status < 300:
        return Revocation.REVOKED
    error = (answer.document or {}).get("error")
    # Google answers 400 invalid_token for a token that is dead already; RFC 7009 §2.2 wants 200.
    if answer.status == 400 and error in _ALREADY_DEAD:
        return Revocation.REVOKED
    if answer.status in {404, 405} or error == "unsupported_token_type":
        return Revocation.UNSUPPORTED
    return Revocation.FAILED
