"""Access tokens of a Google service account: a signed assertion for a token (RFC 7523, RFC 7515).

For what belongs to the project and not to a mailbox's owner: the Pub/Sub subscription. What Google's key file says
beside its name and key is not looked at; where tokens are asked for is the configuration's to say.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from connectors.base import AccessToken, PermanentError, Trouble
from ingestd.linking.errors import LinkingError
from ingestd.linking.http import HttpLimits, ask, refuse_trouble
from ingestd.linking.keeper import as_connector_error
from ingestd.linking.tokens import read_tokens

PUBSUB_SCOPE: Final = "https://www.googleapis.com/auth/pubsub"
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS: Final = 600
_MARGIN_SECONDS: Final = 60.0
"""A token that ends so soon is replaced."""


class ServiceAccountTokens:
    """The TokenSource (connectors.base) of a service account; used by one task at a time."""

    def __init__(
        self,
        key_file: str,
        token_url: str,
        scope: str,
        http: httpx2.AsyncClient,
        *,
        limits: HttpLimits,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`key_file` is the text of the JSON that Google's console gives."""
        self._key_file = key_file
        self._token_url = token_url
        self._scope = scope
        self._http = http
        self._limits = limits
        self._now = now
        self._token: AccessToken | None = None

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        """Return a token that should work. Raises PermanentError, RateLimited, TemporaryError."""
        token = self._token
        if token is None or token.value == rejected or self._ends(token):
            self._token = token = await self._fetch()
        return token

    def _ends(self, token: AccessToken) -> bool:
        return token.expires_at is not None and token.expires_at.timestamp() - _MARGIN_SECONDS <= self._now()

    async def _fetch(self) -> AccessToken:
        form = {"grant_type": _GRANT_TYPE, "assertion": await asyncio.to_thread(self._assertion)}
        try:
            answer = await ask(self._http, "POST", self._token_url, endpoint="token", form=form, limits=self._limits)
            refuse_trouble(answer, "token")
            if answer.status != 200:
                # The key was deleted, the account switched off, or our clock is wrong.
                raise PermanentError(
                    f"token: status {answer.status} to the service account", trouble=Trouble.ADMIN_BLOCKED
                )
            tokens = read_tokens(answer.document, datetime.fromtimestamp(self._now(), UTC))
        except LinkingError as error:
            raise as_connector_error(error) from None
        return AccessToken(tokens.access_token, tokens.expires_at)

    def _assertion(self) -> str:
        try:
            document = json.loads(self._key_file)
            key = load_pem_private_key(str(document["private_key"]).encode(), None)
            name, key_id = str(document["client_email"]), str(document.get("private_key_id", ""))
        except (ValueError, KeyError, TypeError):
            raise _unusable() from None
        if not isinstance(key, RSAPrivateKey):
            raise _unusable()
        at = int(self._now())
        claims = {"iss": name, "scope": self._scope, "aud": self._token_url, "iat": at, "exp": at + _ASSERTION_SECONDS}
        signed = f"{_part({'alg': 'RS256', 'typ': 'JWT', 'kid': key_id})}.{_part(claims)}"
        return f"{signed}.{_base64(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _unusable() -> PermanentError:
    return PermanentError(
        "the service account's key cannot be used: give the JSON file that Google's console made",
        trouble=Trouble.ADMIN_BLOCKED,
    )


def _part(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document, separators=(",", ":")).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
