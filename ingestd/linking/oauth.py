"""The OAuth client: code and refresh exchanges, whose grant it is, revocation (RFC 6749, 7009, 7636, 9207, 9700).

A refresh with rotation is not blindly repeatable: when the answer is lost, the
old token is dead, and a second use of it may end the whole grant (RFC 9700
§4.14.2). So exchange and refresh are repeated only when no connection came about,
or when the server turned the request away (429, 503) with a short Retry-After.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx2

from ingestd.linking.client import ClientConfig, DeviceCode, Pending, Revocation, as_of_application, require_named
from ingestd.linking.discovery import Endpoints
from ingestd.linking.errors import IdentityUnproved, LinkingError, NoDeviceCode, TokenDead, TokenEndpointDown
from ingestd.linking.flow import Flow, authorize_url, check_callback_issuer, device_params
from ingestd.linking.http import (
    DEFAULT_LIMITS,
    Answer,
    HttpLimits,
    ask,
    is_safe_to_repeat,
    is_worth_repeating,
    refuse_trouble,
)
from ingestd.linking.identity import Identity, id_token_claims, identity_of, subject_of
from ingestd.linking.retry import Waits, repeating
from ingestd.linking.tokens import TokenSet, read_tokens, require_scopes, verdict
from ingestd.records import GrantRecord

_ALREADY_DEAD: Final = frozenset({"invalid_token", "invalid_grant"})
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_PENDING: Final = {"authorization_pending": Pending.WAIT, "slow_down": Pending.SLOW_DOWN}


def utc_now() -> datetime:
    """Return the time, aware, UTC."""
    return datetime.now(UTC)


class OAuthClient:
    """The ProviderClient that speaks as the RFCs say. Holds no state."""

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

    async def authorize(self, flow: Flow, *, login_hint: str | None = None) -> tuple[str, Flow]:
        """As ProviderClient.authorize; nobody is asked."""
        url = authorize_url(
            self.endpoints,
            self.config.client_id,
            self.config.scopes,
            flow,
            extra_params=self.config.extra_authorize_params,
            login_hint=login_hint,
        )
        return url, flow

    async def exchange(self, flow: Flow, code: str, iss: str | None) -> TokenSet:
        """As ProviderClient.exchange."""
        check_callback_issuer(self.endpoints, iss)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": flow.redirect_uri}
        return await self._tokens(
            {**form, "code_verifier": flow.verifier, **device_params(flow.device_id)}, refreshing=False
        )

    async def start_device(self) -> DeviceCode:
        """As ProviderClient.start_device (RFC 8628 §3.1)."""
        url = self.endpoints.device
        if url is None:
            raise NoDeviceCode("the provider gives no device codes")
        form = {"client_id": self.config.client_id, "scope": " ".join(self.config.scopes)}
        answer = await repeating(lambda: self._post(url, form, "device"), is_worth_repeating, self._waits)
        if answer.status != 200:
            if (answer.document or {}).get("error") == "unauthorized_client":
                raise NoDeviceCode("the provider gives our application no device codes")
            raise verdict(answer.status, answer.document, refreshing=False)
        return read_device_code(answer.document)

    async def ask_device(self, code: DeviceCode) -> TokenSet | Pending:
        """As ProviderClient.ask_device (RFC 8628 §3.4)."""
        form = {"grant_type": _DEVICE_GRANT, "device_code": code.memory["device_code"]}
        answer = await self._post(self.endpoints.token, form, "token")
        if answer.status == 200:
            return read_tokens(answer.document, self._now())
        error = (answer.document or {}).get("error")
        if isinstance(error, str) and error in _PENDING:
            return _PENDING[error]
        raise verdict(answer.status, answer.document, refreshing=False)

    async def refresh(self, grant: GrantRecord, scopes: Sequence[str] | None = None) -> TokenSet:
        """As ProviderClient.refresh."""
        if grant.application_mailbox:
            return await self._as_application(grant)
        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token or ""}
        if scopes is not None:
            form["scope"] = " ".join(scopes)
        return await self._tokens({**form, **device_params(grant.device_id)}, refreshing=True)

    async def _as_application(self, grant: GrantRecord) -> TokenSet:
        """Get a token with our secret alone (RFC 6749 §4.4)."""
        require_named(self.config, grant)
        form = {"grant_type": "client_credentials", "scope": " ".join(self.config.scopes)}
        try:
            return await self._tokens(form, refreshing=False)
        except LinkingError as error:
            raise as_of_application(error) from error

    def home(self) -> str:
        """As ProviderClient.home."""
        return self._issuer()

    def require_all(self, tokens: TokenSet) -> None:
        """As ProviderClient.require_all."""
        require_scopes(self.config.scopes_needed or self.config.scopes, tokens)

    async def identity(self, tokens: TokenSet, flow: Flow | None) -> Identity:
        """Return who consented, by userinfo, else by introspection, else by the ID token alone.

        An ID token is checked wherever there is one. Raises IdentityUnproved,
        TokenEndpointBusy, TokenEndpointDown.
        """
        claims = None
        if tokens.id_token is not None:
            claims = id_token_claims(
                tokens.id_token,
                client_id=self.config.client_id,
                issuer=self.endpoints.issuer,
                nonce=flow.nonce if flow else None,
                now=self._now(),
            )
        answer = await self._about(tokens.access_token)
        if answer is None and claims is None:
            raise IdentityUnproved("the provider has neither userinfo, introspection nor an ID token")
        return identity_of(
            answer or {},
            claims,
            address_claim=self.config.address_claim,
            subject_claim=self.config.subject_claim,
            issuer=self._issuer(),
        )

    async def holder(self, access_token: str) -> str | None:
        """As ProviderClient.holder."""
        answer = await self._about(access_token)
        if answer is None:
            return None
        subject = subject_of(answer, self.config.subject_claim)
        if subject is None:
            raise IdentityUnproved("the provider names no subject")
        return subject

    async def revoke(self, grant: GrantRecord) -> Revocation:
        """Revoke a refresh token, and its grant with it (RFC 7009), or the access token where the provider takes that.

        Never raises for what the provider does.
        """
        if grant.application_mailbox:
            return Revocation.NOTHING
        url = self.endpoints.revoke
        if url is None:
            return Revocation.UNSUPPORTED
        if self.config.revoke_form == "access_token":
            # Yandex ends the refresh token with it, and the access token lives as long as that one does:
            # so one that is dead already stands for a grant that is.
            form = {"access_token": grant.access_token}
        else:
            form = {"token": grant.refresh_token or grant.access_token, "token_type_hint": "refresh_token"}

        async def once() -> Answer:
            return await self._post(url, form, "revocation")

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
        # Mail.ru tells of a dead token with status 200.
        if answer.status == 401 or (answer.status == 200 and isinstance((document or {}).get("error"), str)):
            raise TokenDead("the provider says that the access token is dead")
        if answer.status != 200 or document is None:
            raise IdentityUnproved(f"the provider does not tell whose token it is: status {answer.status}")
        # Introspection answers 200 for dead tokens, too (RFC 7662 §2.2).
        if userinfo is None and document.get("active") is not True:
            raise TokenDead("the access token is not active")
        return document

    async def _ask_userinfo(self, url: str, access_token: str) -> Answer:
        headers = {}
        if self.config.userinfo_auth == "query":
            url = f"{url}{'&' if '?' in url else '?'}{urlencode({'access_token': access_token})}"
        else:
            headers["Authorization"] = f"{self.config.userinfo_auth} {access_token}"
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


def read_device_code(document: Mapping[str, Any] | None) -> DeviceCode:
    """Read a successful answer (RFC 8628 §3.2). Raises TokenEndpointDown where it is none.

    What people will read on their terminal is text that can be shown, and an address.
    """
    document = document or {}
    code, user_code = document.get("device_code"), document.get("user_code")
    # Google's name for it came before the RFC's.
    address = document.get("verification_uri", document.get("verification_url"))
    shown = all(isinstance(one, str) and one.isprintable() and 0 < len(one) <= 500 for one in (user_code, address))
    if not shown or not isinstance(code, str) or urlsplit(str(address)).scheme not in {"https", "http"}:
        raise TokenEndpointDown("device: no device code in the answer")
    return DeviceCode(
        user_code=str(user_code),
        address=str(address),
        expires_seconds=_seconds(document.get("expires_in"), default=900.0, longest=3600.0),
        interval_seconds=_seconds(document.get("interval"), default=5.0, longest=60.0),
        memory=document,
    )


def _seconds(value: object, *, default: float, longest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return default
    return min(float(value), longest)


def _revocation(answer: Answer) -> Revocation:
    if 200 <= answer.status < 300:
        return Revocation.REVOKED
    error = (answer.document or {}).get("error")
    # Google answers 400 invalid_token for a token that is dead already; RFC 7009 §2.2 wants 200.
    if answer.status == 400 and isinstance(error, str) and error in _ALREADY_DEAD:
        return Revocation.REVOKED
    if answer.status in {404, 405} or error == "unsupported_token_type":
        return Revocation.UNSUPPORTED
    return Revocation.FAILED
