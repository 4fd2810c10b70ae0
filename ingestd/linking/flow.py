"""The front channel: what we send the owner's browser to the provider with, and what comes back. Pure."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ingestd.linking.discovery import Endpoints
from ingestd.linking.errors import CallbackRejected

DEVICE_NAME: Final = "ingestd"
"""What a provider with device ids shows its user beside our application's name."""

RESERVED_PARAMS: Final = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "device_id",
        "device_name",
        "login_hint",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)


@dataclass(frozen=True, slots=True)
class Flow:
    """What one linking remembers between the request and the callback.

    `state` is good for one callback; keeping and spending it is the storage's job.
    """

    state: str = field(repr=False)
    """256 bits, bound to the browser's session by the caller (RFC 9700 §4.7)."""
    verifier: str = field(repr=False)
    """The PKCE verifier (RFC 7636 §4.1), 86 characters."""
    nonce: str = field(repr=False)
    """Comes back in the ID token (OpenID Connect Core §3.1.2.1)."""
    redirect_uri: str = ""
    """Where the browser comes back to."""
    device_id: str = ""
    """What a provider with device ids knows this linking by; empty where it has none."""
    memory: str = field(default="", repr=False)
    """What the provider's client wants to have again at the callback; opaque to everybody else."""

    @property
    def challenge(self) -> str:
        """The S256 challenge of the verifier (RFC 7636 §4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def new_flow(
    redirect_uri: str = "", device_id: str = "", *, random_text: Callable[[int], str] = secrets.token_urlsafe
) -> Flow:
    """Return a flow with fresh secrets; `random_text` gives URL-safe text from so many random bytes."""
    return Flow(random_text(32), random_text(64), random_text(32), redirect_uri, device_id)


def authorize_url(
    endpoints: Endpoints,
    client_id: str,
    scopes: Sequence[str],
    flow: Flow,
    *,
    extra_params: Mapping[str, str] | None = None,
    login_hint: str | None = None,
) -> str:
    """Return where to send the owner's browser (RFC 6749 §4.1.1, RFC 7636 §4.3).

    Raises ValueError where `extra_params` would replace a parameter of ours.
    """
    extra = dict(extra_params or {})
    if taken := sorted(RESERVED_PARAMS & extra.keys()):
        raise ValueError(f"reserved parameters: {', '.join(taken)}")
    ours = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": flow.redirect_uri,
        "scope": " ".join(scopes),
        "state": flow.state,
        **device_params(flow.device_id),
        "nonce": flow.nonce,
        "code_challenge": flow.challenge,
        "code_challenge_method": "S256",
    }
    if login_hint is not None:
        ours["login_hint"] = login_hint
    parts = urlsplit(endpoints.authorize)
    # The endpoint may have a query of its own, which stays (RFC 6749 §3.1); it may not replace ours.
    own = {name: value for name, value in parse_qsl(parts.query) if name not in ours}
    return urlunsplit(parts._replace(query=urlencode({**own, **extra, **ours})))


def device_params(device_id: str) -> dict[str, str]:
    """Return the parameters that tell the provider a linking's device, none where it has none.

    Source: Yandex ID, "Device token". It revokes only what was issued for a device.
    """
    return {"device_id": device_id, "device_name": DEVICE_NAME} if device_id else {}


def check_callback_issuer(endpoints: Endpoints, iss: str | None) -> None:
    """Refuse a callback that another authorization server sent (mix-up, RFC 9207 §2.4).

    `iss` is the callback's parameter, None where there is none. Raises CallbackRejected.
    """
    if iss is None:
        if endpoints.callback_names_issuer:
            raise CallbackRejected("the callback lacks the issuer that the server promises")
        return
    # Where the operator told no issuer there is nothing to compare with.
    if endpoints.issuer is not None and iss != endpoints.issuer:
        raise CallbackRejected("the callback names another issuer")
