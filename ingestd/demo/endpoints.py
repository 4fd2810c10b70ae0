"""What the demo's authorization server answers at each of its addresses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from ingestd.demo.consent import consent_page
from ingestd.demo.grants import DEVICE_GRANT, CodeRequest, GrantStore, OAuthError, Tokens

FORM_BYTES_MAX: Final = 64 * 1024
NO_STORE: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a mailbox. `subject` is the stable id, made from the address when left out."""

    address: str
    subject: str = ""

    @property
    def sub(self) -> str:
        return self.subject or hashlib.sha256(self.address.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Client:
    """An application that may ask; without `client_secret` it is a public client."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    redirect_uris: tuple[str, ...] = ()
    certificate: bytes = field(default=b"", repr=False)
    """PEM of the certificate whose key it may sign with, at Microsoft's addresses, in place of a secret."""


class Endpoints:
    """The answers. When it runs and how it fails is the business of `AuthServer`."""

    def __init__(
        self,
        users: Iterable[User | str],
        clients: Iterable[Client],
        grants: GrantStore,
        *,
        auto_consent: bool,
        scopes: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        named = (User(user) if isinstance(user, str) else user for user in users)
        self.users = {user.address: user for user in named}
        self.clients = {client.client_id: client for client in clients}
        self.grants = grants
        self.scopes = tuple(scopes)
        self.issuer = ""
        self.auto_consent = auto_consent
        """Consent without asking, for the user of `login_hint`."""
        self.consent_as: str | None = None
        """Consent without asking, as this user, whatever `login_hint` says."""
        self.advertise_revocation = True
        self.requests: Counter[str] = Counter()
        """Requests per endpoint, and per grant type as `token.refresh_token`."""
        self._clock = clock

    async def on_discovery(self, request: Request) -> Response:
        methods = ["client_secret_basic", "client_secret_post", "none"]
        revocation = {"revocation_endpoint": f"{self.issuer}/revoke"} if self.advertise_revocation else {}
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "introspection_endpoint": f"{self.issuer}/introspect",
                "device_authorization_endpoint": f"{self.issuer}/device_authorization",
                **revocation,
                "jwks_uri": f"{self.issuer}/jwks",
                "scopes_supported": list(self.scopes),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["HS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": methods,
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def on_jwks(self, request: Request) -> Response:
        # ID tokens are signed with the client's secret (HS256, OpenID Connect Core §10.1): no public key exists.
        return JSONResponse({"keys": []})

    async def on_authorize(self, request: Request, *, names_issuer: bool = True) -> Response:
        params = dict(request.query_params) if request.method == "GET" else await read_form(request)
        client = self.clients.get(params.get("client_id", ""))
        redirect_uri = params.get("redirect_uri", "")
        # Never redirect to an address that the client did not register (RFC 6749 §4.1.2.1).
        if client is None or redirect_uri not in client.redirect_uris:
            raise OAuthError("invalid_request")
        named = {"iss": self.issuer} if names_issuer else {}
        if error := self._refusal(params):
            return self._back(redirect_uri, params, {"error": error, **named})
        if request.method == "POST" and params.get("decision") != "allow":
            return self._back(redirect_uri, params, {"error": "access_denied", **named})
        address = params.get("user") if request.method == "POST" else self._automatic(params)
        if address is None or address not in self.users:
            return consent_page(client.client_id, params, list(self.users))
        scopes = tuple(scope for scope in params.get("scope", "").split() if scope in self.scopes)
        asked = CodeRequest(
            address=address,
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            scopes=_without_mail(scopes) if request.state.partial else scopes,
            challenge=params["code_challenge"],
            nonce=params.get("nonce"),
            offline="offline_access" in scopes or params.get("access_type") == "offline",
            device_id=params.get("device_id", ""),
        )
        return self._back(redirect_uri, params, {"code": self.grants.new_code(asked), **named})

    def _refusal(self, params: Mapping[str, str]) -> str | None:
        if params.get("response_type") != "code":
            return "unsupported_response_type"
        if params.get("code_challenge_method") != "S256" or len(params.get("code_challenge", "")) != 43:
            return "invalid_request"
        return None

    def _automatic(self, params: Mapping[str, str]) -> str | None:
        if self.consent_as is not None:
            return self.consent_as
        return params.get("login_hint") if self.auto_consent else None

    def _back(self, redirect_uri: str, params: Mapping[str, str], answer: Mapping[str, str]) -> Response:
        state = {"state": params["state"]} if "state" in params else {}
        query = urlencode({**answer, **state})
        joiner = "&" if "?" in redirect_uri else "?"
        return RedirectResponse(f"{redirect_uri}{joiner}{query}", 303, headers=NO_STORE)

    async def on_token(self, request: Request) -> Response:
        form = await read_form(request)
        self.requests[f"token.{form.get('grant_type', '')}"] += 1
        client = self._client(request, form)
        tokens, address, nonce = self._granted(request, form, client)
        if "openid" in tokens.scopes:
            tokens = replace(tokens, id_token=self._id_token(client, self.users[address], nonce))
        return self._token_answer(tokens)

    def _granted(self, request: Request, form: Mapping[str, str], client: Client) -> tuple[Tokens, str, str | None]:
        """Return what a request for tokens gets, whose it is, and the nonce. Raises OAuthError."""
        match form.get("grant_type"):
            case "authorization_code":
                tokens, asked = self.grants.redeem(
                    form.get("code", ""),
                    client_id=client.client_id,
                    redirect_uri=form.get("redirect_uri", ""),
                    verifier=form.get("code_verifier", ""),
                    drop_scopes=("mail",) if request.state.partial else (),
                )
                return tokens, asked.address, asked.nonce
            case "refresh_token":
                scopes = form.get("scope", "").split()
                token = form.get("refresh_token", "")
                return *self.grants.refresh(token, client_id=client.client_id, scopes=scopes), None
            case "client_credentials":
                if client.client_secret is None and not client.certificate:
                    raise OAuthError("unauthorized_client")
                return self.grants.as_application(client.client_id, form.get("scope", "").split()), "", None
            case "urn:ietf:params:oauth:grant-type:device_code":
                return *self.grants.redeem_device_code(form.get("device_code", ""), client_id=client.client_id), None
            case _:
                raise OAuthError("unsupported_grant_type")

    def _token_answer(self, tokens: Tokens) -> Response:
        # Microsoft does not say what an application may.
        scope = " ".join(one for one in tokens.scopes if not one.endswith("/.default")) or None
        optional = {"scope": scope, "refresh_token": tokens.refresh_token, "id_token": tokens.id_token}
        return JSONResponse(
            {
                "access_token": tokens.access_token,
                "token_type": "Bearer",
                "expires_in": tokens.expires_in,
                **{name: value for name, value in optional.items() if value is not None},
            },
            headers=NO_STORE,
        )

    def _id_token(self, client: Client, user: User, nonce: str | None, more: Mapping[str, object] | None = None) -> str:
        now = int(self._clock())
        claims = {"iss": self.issuer, "sub": user.sub, "aud": client.client_id, "iat": now, "exp": now + 300}
        claims |= {"email": user.address, "email_verified": True, **({"nonce": nonce} if nonce else {}), **(more or {})}
        signed = f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{_segment(claims)}"
        mac = hmac.digest((client.client_secret or "").encode(), signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    async def on_userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        info = self.grants.check(token) if scheme.lower() == "bearer" else None
        if info is None or info.is_application:
            refused = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return JSONResponse({"error": "invalid_token"}, 401, headers=refused)
        user = self.users[info.address]
        return JSONResponse({"sub": user.sub, "email": user.address, "email_verified": True}, headers=NO_STORE)

    async def on_introspect(self, request: Request) -> Response:
        form = await read_form(request)
        if self._client(request, form).client_secret is None:
            raise OAuthError("invalid_client", 401)
        info = self.grants.check(form.get("token", ""))
        if info is None or info.is_application:
            return JSONResponse({"active": False}, headers=NO_STORE)
        user = self.users[info.address]
        return JSONResponse(
            {
                "active": True,
                "username": user.address,
                "email": user.address,
                "sub": user.sub,
                "client_id": info.client_id,
                "scope": " ".join(info.scopes),
                "exp": int(info.expires_at),
                "token_type": "Bearer",
                "iss": self.issuer,
            },
            headers=NO_STORE,
        )

    async def on_revoke(self, request: Request) -> Response:
        form = await read_form(request)
        client = self._client(request, form)
        # A token that we do not know is no error (RFC 7009 §2.2).
        self.grants.revoke_token(form.get("token", ""), client_id=client.client_id)
        return Response(status_code=200, headers=NO_STORE)

    def _client(self, request: Request, form: Mapping[str, str]) -> Client:
        client_id, secret = _basic(request) or (form.get("client_id", ""), form.get("client_secret"))
        client = self.clients.get(client_id)
        if client is None or not hmac.compare_digest((client.client_secret or "").encode(), (secret or "").encode()):
            raise OAuthError("invalid_client", 401)
        return client


def _without_mail(scopes: Sequence[str]) -> tuple[str, ...]:
    return tuple(scope for scope in scopes if scope != "mail")


def _segment(value: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form in the body, and keep them for who asks again. Raises OAuthError."""
    known: dict[str, str] | None = getattr(request.state, "form", None)
    if known is not None:
        return known
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise OAuthError("invalid_request", 413)
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100))
    request.state.form = form
    return form


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise OAuthError("invalid_client", 401) from error
    # Both halves are form-encoded first (RFC 6749 §2.3.1).
    return unquote(client_id), unquote(secret)
