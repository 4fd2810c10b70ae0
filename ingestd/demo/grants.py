"""What the demo's authorization server remembers: codes, grants and tokens. No I/O.

A *grant* is one user's consent to one client. It owns its access tokens and one
living refresh token; with rotation every refresh replaces that one, and a
replaced token that comes back ends the whole grant (RFC 9700 §4.14.2).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

_T = TypeVar("_T")

CODE_SECONDS: Final = 60.0
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
ENTRIES_MAX: Final = 200_000
"""Codes, and tokens, that are remembered at once; the oldest are forgotten first."""


class OAuthError(Exception):
    """The endpoint answers with this error code (RFC 6749 §4.1.2.1, §5.2)."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the token endpoint gives; `expires_in` in seconds."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...]
    id_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a living access token stands for; `expires_at` in seconds since the epoch."""

    address: str
    client_id: str
    scopes: tuple[str, ...]
    expires_at: float
    is_application: bool = False
    """No user's: by application permissions. Then `address` is empty."""


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """What an authorization code is bound to (RFC 6749 §4.1.3, RFC 7636 §4.4)."""

    address: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    challenge: str
    nonce: str | None
    offline: bool
    device_id: str = ""
    """The device that a grant is for, as Yandex has it; empty for none."""


@dataclass(slots=True)
class _Grant:
    address: str
    client_id: str
    scopes: tuple[str, ...]
    device_id: str = ""
    by_device_code: bool = False
    is_application: bool = False
    alive: bool = True


@dataclass(slots=True)
class _Code:
    request: CodeRequest
    expires_at: float
    grant: _Grant | None = None


@dataclass(slots=True)
class _DeviceCode:
    user_code: str
    client_id: str
    scopes: tuple[str, ...]
    expires_at: float
    address: str | None = None
    refused: bool = False


@dataclass(slots=True)
class _Access:
    grant: _Grant
    scopes: tuple[str, ...]
    expires_at: float


@dataclass(slots=True)
class _Refresh:
    grant: _Grant
    replaced: bool = False


def s256(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636 §4.2).

    >>> s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class GrantStore:
    """Codes, grants and tokens in memory; its methods may be called from any thread."""

    def __init__(self, *, access_token_seconds: float, rotate: bool, clock: Callable[[], float]) -> None:
        self.access_token_seconds = access_token_seconds
        self.rotate = rotate
        self._clock = clock
        self._lock = threading.Lock()
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, _Access] = {}
        self._refresh: dict[str, _Refresh] = {}
        self._device_codes: dict[str, _DeviceCode] = {}

    def new_code(self, request: CodeRequest) -> str:
        """Return a code that works once, within CODE_SECONDS."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            _remember(self._codes, code, _Code(request, self._clock() + CODE_SECONDS))
        return code

    def redeem(
        self, code: str, *, client_id: str, redirect_uri: str, verifier: str, drop_scopes: Collection[str] = ()
    ) -> tuple[Tokens, CodeRequest]:
        """Exchange a code. A code that is used twice ends the grant it made (RFC 6749 §4.1.2).

        Raises OAuthError (invalid_grant).
        """
        with self._lock:
            held = self._codes.get(code)
            if held is None or held.request.client_id != client_id:
                raise OAuthError("invalid_grant")
            if held.grant is not None:
                held.grant.alive = False
                raise OAuthError("invalid_grant")
            asked = held.request
            proved = secrets.compare_digest(s256(verifier), asked.challenge)
            if held.expires_at <= self._clock() or asked.redirect_uri != redirect_uri or not proved:
                del self._codes[code]
                raise OAuthError("invalid_grant")
            scopes = tuple(scope for scope in asked.scopes if scope not in drop_scopes)
            held.grant = _Grant(asked.address, client_id, scopes, asked.device_id)
            return self._mint(held.grant, scopes, with_refresh=asked.offline), asked

    def issue(self, address: str, client_id: str, scopes: Sequence[str]) -> Tokens:
        """Make a grant without asking anybody."""
        with self._lock:
            grant = _Grant(address, client_id, tuple(scopes))
            return self._mint(grant, grant.scopes, with_refresh=True)

    def as_application(self, client_id: str, scopes: Sequence[str]) -> Tokens:
        """Return a token that is no user's (RFC 6749 §4.4). Raises OAuthError where anything but .default is asked."""
        if not scopes or not all(scope.endswith("/.default") for scope in scopes):
            raise OAuthError("invalid_scope")
        with self._lock:
            grant = _Grant("", client_id, tuple(scopes), is_application=True)
            return self._mint(grant, grant.scopes, with_refresh=False)

    def refresh(self, token: str, *, client_id: str, scopes: Sequence[str] = ()) -> tuple[Tokens, str]:
        """Return new tokens and whose they are; `scopes` may narrow the access token (RFC 6749 §6).

        Raises OAuthError (invalid_grant, invalid_scope).
        """
        with self._lock:
            held = self._refresh.get(token)
            if held is None or not held.grant.alive or held.grant.client_id != client_id:
                raise OAuthError("invalid_grant")
            grant = held.grant
            if held.replaced:
                grant.alive = False
                raise OAuthError("invalid_grant")
            if not set(scopes) <= set(grant.scopes):
                raise OAuthError("invalid_scope")
            held.replaced = self.rotate
            return self._mint(grant, tuple(scopes) or grant.scopes, with_refresh=self.rotate), grant.address

    def remember_device_code(
        self, code: str, user_code: str, client_id: str, scopes: tuple[str, ...], seconds: float
    ) -> None:
        """Give out a device code that nobody has decided about yet (RFC 8628)."""
        with self._lock:
            _remember(self._device_codes, code, _DeviceCode(user_code, client_id, scopes, self._clock() + seconds))

    def approve_device(self, user_code: str, address: str) -> None:
        """Consent to a device code. Raises KeyError."""
        self._by_user_code(user_code).address = address

    def refuse_device(self, user_code: str) -> None:
        """Say no to a device code. Raises KeyError."""
        self._by_user_code(user_code).refused = True

    def redeem_device_code(self, code: str, *, client_id: str) -> tuple[Tokens, str]:
        """Exchange a device code, once (RFC 8628 §3.5). Raises OAuthError."""
        with self._lock:
            held = self._device_codes.get(code)
            if held is None or held.client_id != client_id:
                raise OAuthError("invalid_grant")
            if held.expires_at <= self._clock():
                raise OAuthError("expired_token")
            if held.refused:
                raise OAuthError("access_denied")
            if held.address is None:
                raise OAuthError("authorization_pending")
            del self._device_codes[code]
            grant = _Grant(held.address, client_id, held.scopes, by_device_code=True)
            return self._mint(grant, held.scopes, with_refresh="offline_access" in held.scopes), held.address

    def device_of(self, access_token: str) -> str:
        """Return the device that a token was issued for, "" for none."""
        with self._lock:
            held = self._access.get(access_token)
            return held.grant.device_id if held is not None else ""

    def is_by_device_code(self, refresh_token: str) -> bool:
        """Tell whether a device code brought a refresh token."""
        with self._lock:
            held = self._refresh.get(refresh_token)
            return held is not None and held.grant.by_device_code

    def revoke_grant(self, access_token: str, *, client_id: str) -> None:
        """End the grant of an access token, as Yandex does."""
        with self._lock:
            held = self._access.get(access_token)
            if held is not None and held.grant.client_id == client_id:
                held.grant.alive = False

    def check(self, access_token: str) -> TokenInfo | None:
        """Return what an access token stands for, or None if it is not alive."""
        with self._lock:
            held = self._access.get(access_token)
            if held is None or not held.grant.alive or held.expires_at <= self._clock():
                return None
            grant = held.grant
            return TokenInfo(grant.address, grant.client_id, held.scopes, held.expires_at, grant.is_application)

    def revoke_token(self, token: str, *, client_id: str) -> None:
        """Revoke as RFC 7009 §2.1: a refresh token ends its grant, an access token only itself."""
        with self._lock:
            refresh = self._refresh.get(token)
            if refresh is not None and refresh.grant.client_id == client_id:
                refresh.grant.alive = False
            access = self._access.get(token)
            if access is not None and access.grant.client_id == client_id:
                del self._access[token]

    def revoke_user(self, address: str) -> None:
        """End every grant of a user, as the user does on the provider's page."""
        with self._lock:
            for grant in self._grants(address):
                grant.alive = False

    def expire_access_tokens(self, address: str) -> None:
        """Let a user's access tokens run out now; the grants stay."""
        with self._lock:
            for held in self._access.values():
                if held.grant.address == address:
                    held.expires_at = 0.0

    def living_grants(self, address: str) -> int:
        """Return how many grants of a user could still give tokens."""
        with self._lock:
            return len({id(grant) for grant in self._grants(address) if grant.alive})

    def _by_user_code(self, user_code: str) -> _DeviceCode:
        with self._lock:
            for held in self._device_codes.values():
                if held.user_code == user_code:
                    return held
        raise KeyError("no such user code")

    def _grants(self, address: str) -> list[_Grant]:
        held = [entry.grant for entry in self._access.values()] + [entry.grant for entry in self._refresh.values()]
        return [grant for grant in held if grant.address == address]

    def _mint(self, grant: _Grant, scopes: tuple[str, ...], *, with_refresh: bool) -> Tokens:
        access = secrets.token_urlsafe(32)
        _remember(self._access, access, _Access(grant, scopes, self._clock() + self.access_token_seconds))
        refresh = None
        if with_refresh:
            refresh = secrets.token_urlsafe(32)
            _remember(self._refresh, refresh, _Refresh(grant))
        return Tokens(access, refresh, int(self.access_token_seconds), scopes)


def _remember(entries: dict[str, _T], key: str, value: _T) -> None:
    entries[key] = value
    if len(entries) > ENTRIES_MAX:
        del entries[next(iter(entries))]
