"""How the demo's authorization server answers where real providers have ways of their own.

Beside the standard addresses it has Microsoft's (`/{tenant}/oauth2/v2.0/…`, with ID tokens
that name directory and account, numbered errors and no revocation), Yandex's below
`/yandex` (`info` with `Authorization: OAuth`, `revoke_token` for what was issued for a
device), Mail.ru's userinfo below `/mailru` (the token in the query, 200 for a dead one)
and device codes (RFC 8628).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from ingestd.demo.assertions import is_signed
from ingestd.demo.endpoints import NO_STORE, Client, Endpoints, User, read_form
from ingestd.demo.grants import DEVICE_GRANT, OAuthError

PERSONAL_TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
WORK_TENANT: Final = "11111111-2222-4333-8444-555555555555"
"""The directory that every user of Microsoft's addresses is in, but for `consumers`."""
DEVICE_CODE_SECONDS: Final = 900


class Dialects(Endpoints):
    """The answers of the other providers' addresses."""

    device_interval_seconds = 5
    """How long a device waits between two questions."""
    entra_error = 0
    """The number (AADSTS…) with which Microsoft's token address refuses, until it is 0 again."""

    async def on_device_authorization(self, request: Request) -> Response:
        form = await read_form(request)
        client = self._client(request, form)
        scopes = tuple(scope for scope in form.get("scope", "").split() if scope in self.scopes)
        return self._device_answer(client, scopes)

    def approve_device(self, user_code: str, user: str) -> None:
        """Consent to a device code, as its owner does on another machine. Raises KeyError."""
        self.grants.approve_device(user_code, self.users[user].address)

    def refuse_device(self, user_code: str) -> None:
        """Say no to a device code. Raises KeyError."""
        self.grants.refuse_device(user_code)

    # Microsoft's.

    async def on_entra_discovery(self, request: Request) -> Response:
        tenant = request.path_params["tenant"]
        base = f"{self.issuer}/{tenant}"
        directory = {"common": "{tenantid}", "organizations": "{tenantid}", "consumers": PERSONAL_TENANT}
        return JSONResponse(
            {
                "issuer": f"{self.issuer}/{directory.get(tenant, WORK_TENANT)}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{self.issuer}/jwks",
            }
        )

    async def on_entra_authorize(self, request: Request) -> Response:
        # No `iss` comes back from Microsoft.
        return await self.on_authorize(request, names_issuer=False)

    async def on_entra_token(self, request: Request) -> Response:
        form = await read_form(request)
        self.requests[f"token.{form.get('grant_type', '')}"] += 1
        if self.entra_error:
            return _entra_refusal("invalid_grant", self.entra_error)
        if len({_resource(one) for one in form.get("scope", "").split()} - {""}) > 1:
            return _entra_refusal("invalid_scope", 28000)  # a token is good for one resource
        try:
            if "client_assertion" in form:
                client = self._signing_client(request, form)
            else:
                client = self._client(request, form) if "client_secret" in form else self._public_client(form)
            tokens, address, nonce = self._granted(request, form, client)
        except OAuthError as error:
            return _entra_refusal(error.code, _NUMBERS.get(error.code, 0))
        # Microsoft's answers name the permissions of the one resource, and not those of OpenID Connect.
        shown = replace(tokens, scopes=_of_one_resource(tokens.scopes, form.get("scope", "").split()))
        if "openid" in tokens.scopes:
            claims = _entra_claims(self.users[address], request.path_params["tenant"], self.issuer)
            shown = replace(shown, id_token=self._id_token(client, self.users[address], nonce, claims))
        return self._token_answer(shown)

    async def on_entra_devicecode(self, request: Request) -> Response:
        form = await read_form(request)
        scopes = tuple(scope for scope in form.get("scope", "").split() if scope in self.scopes)
        return self._device_answer(self._public_client(form), scopes)

    def _signing_client(self, request: Request, form: dict[str, str]) -> Client:
        client = self.clients.get(form.get("client_id", ""))
        audience = f"{self.issuer}{request.url.path}"
        if client is None or not is_signed(
            form["client_assertion"],
            client.certificate,
            client_id=client.client_id,
            audience=audience,
            now=self._clock(),
        ):
            raise OAuthError("invalid_client", 401)
        return client

    def _public_client(self, form: dict[str, str]) -> Client:
        """Return the application that shows no secret, as Microsoft lets one do that allows public flows."""
        client = self.clients.get(form.get("client_id", ""))
        device = form.get("grant_type") in {None, DEVICE_GRANT}
        refreshed = self.grants.is_by_device_code(form.get("refresh_token", ""))
        if client is None or (client.client_secret is not None and not device and not refreshed):
            raise OAuthError("invalid_client", 401)
        return client

    # Yandex's and Mail.ru's.

    async def on_yandex_info(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        info = self.grants.check(token) if scheme == "OAuth" else None
        if info is None:
            return Response(status_code=401)
        user = self.users[info.address]
        number = str(int(hashlib.sha256(user.sub.encode()).hexdigest()[:8], 16))
        return JSONResponse({"id": number, "login": user.address, "default_email": user.address}, headers=NO_STORE)

    async def on_yandex_revoke(self, request: Request) -> Response:
        form = await read_form(request)
        client = self._client(request, form)
        token = form.get("access_token", "")
        if self.grants.check(token) is None:
            raise OAuthError("invalid_grant")
        if not self.grants.device_of(token):
            raise OAuthError("unsupported_token_type")
        self.grants.revoke_grant(token, client_id=client.client_id)
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def on_mailru_userinfo(self, request: Request) -> Response:
        info = self.grants.check(request.query_params.get("access_token", ""))
        if info is None:
            return JSONResponse({"error": "token not found", "error_code": 6})
        user = self.users[info.address]
        return JSONResponse({"id": user.sub, "email": user.address}, headers=NO_STORE)

    def _device_answer(self, client: Client, scopes: tuple[str, ...]) -> Response:
        device_code, user_code = secrets.token_urlsafe(32), secrets.token_hex(4).upper()
        self.grants.remember_device_code(device_code, user_code, client.client_id, scopes, DEVICE_CODE_SECONDS)
        return JSONResponse(
            {
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": f"{self.issuer}/device",
                "expires_in": DEVICE_CODE_SECONDS,
                "interval": self.device_interval_seconds,
            },
            headers=NO_STORE,
        )


_NUMBERS: Final = {"invalid_client": 7000215, "invalid_grant": 70008, "invalid_scope": 1002012}


def _entra_claims(user: User, tenant: str, issuer: str) -> dict[str, object]:
    directory = PERSONAL_TENANT if tenant == "consumers" else WORK_TENANT
    account = str(UUID(hashlib.sha256(user.sub.encode()).hexdigest()[:32]))
    return {
        "iss": f"{issuer}/{directory}/v2.0",
        "tid": directory,
        "oid": account,
        "preferred_username": user.address,
        "ver": "2.0",
    }


def _entra_refusal(error: str, number: int) -> Response:
    described = {"error_codes": [number], "error_description": f"AADSTS{number}: no."} if number else {}
    return JSONResponse({"error": error, **described}, 400, headers=NO_STORE)


def _resource(scope: str) -> str:
    """Return the host of a permission's resource, "" for those of OpenID Connect."""
    return urlsplit(scope).netloc


def _of_one_resource(granted: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    """Return the permissions of the resource that was asked for, else of the first one."""
    named = [one for one in (*asked, *granted) if _resource(one)]
    return tuple(one for one in granted if named and _resource(one) == _resource(named[0]))
