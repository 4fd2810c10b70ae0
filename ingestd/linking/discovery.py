"""Where an authorization server's endpoints are: told by the operator, or by the issuer's metadata.

OpenID Connect Discovery 1.0 is asked first, RFC 8414 if there is none. Either
way an address is taken only over TLS (or on loopback) and on a host that the
caller allows: a metadata document must not decide where we connect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import httpx2

from ingestd.linking.errors import EndpointsInvalid
from ingestd.linking.http import DEFAULT_LIMITS, Answer, HttpLimits, ask, is_worth_repeating, refuse_trouble
from ingestd.linking.retry import Waits, repeating

URL_CHARS_MAX: Final = 2048

_NAMES: Final = {
    "authorize": "authorization_endpoint",
    "token": "token_endpoint",
    "userinfo": "userinfo_endpoint",
    "revoke": "revocation_endpoint",
    "introspect": "introspection_endpoint",
    "device": "device_authorization_endpoint",
}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """An authorization server's addresses."""

    authorize: str
    token: str
    userinfo: str | None = None
    revoke: str | None = None
    introspect: str | None = None
    device: str | None = None
    """Where device codes come from (RFC 8628 §4)."""
    issuer: str | None = None
    """None where the operator told the addresses and no issuer: then no `iss` can be checked."""
    callback_names_issuer: bool = False
    """Whether the server promises `iss` at the callback (RFC 9207 §3)."""


def explicit_endpoints(
    addresses: Mapping[str, str], *, issuer: str | None, allowed_hosts: Collection[str]
) -> Endpoints:
    """Return the endpoints that the operator told; the keys are those of `Endpoints`.

    Raises EndpointsInvalid.
    """
    return _endpoints({"issuer": issuer} | {_NAMES[name]: url for name, url in addresses.items()}, allowed_hosts)


async def discover(
    http: httpx2.AsyncClient,
    issuer: str,
    *,
    allowed_hosts: Collection[str],
    overrides: Mapping[str, str] | None = None,
    waits: Waits | None = None,
    limits: HttpLimits = DEFAULT_LIMITS,
) -> Endpoints:
    """Return the endpoints that the issuer's metadata names; `overrides` (as `explicit_endpoints`) go before them.

    Raises EndpointsInvalid (the operator must look), ProviderDown (try later).
    """
    check_address(issuer, "issuer", allowed_hosts)
    document: Mapping[str, Any] | None = None
    for url in metadata_urls(issuer):
        answer = await metadata(http, url, waits, limits)
        if answer.status == 200 and answer.document is not None:
            document = answer.document
            break
    if document is None:
        raise EndpointsInvalid("the issuer has no metadata")
    # A character's difference is another issuer (OpenID Connect Discovery §4.3, RFC 8414 §3.3).
    if document.get("issuer") != issuer:
        raise EndpointsInvalid("the metadata names another issuer")
    told = {_NAMES[name]: url for name, url in (overrides or {}).items()}
    return _endpoints({**document, **told}, allowed_hosts)


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return where an issuer's metadata may be.

    >>> metadata_urls("https://id.example.com/tenant")
    ('https://id.example.com/tenant/.well-known/openid-configuration', \
'https://id.example.com/.well-known/oauth-authorization-server/tenant')
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )


async def metadata(http: httpx2.AsyncClient, url: str, waits: Waits | None, limits: HttpLimits) -> Answer:
    """Return what lies at a metadata address. Raises ProviderDown."""

    async def once() -> Answer:
        answer = await ask(http, "GET", url, endpoint="discovery", limits=limits)
        refuse_trouble(answer, "discovery")
        return answer

    return await repeating(once, is_worth_repeating, waits)


def _endpoints(document: Mapping[str, Any], allowed_hosts: Collection[str]) -> Endpoints:
    addresses = {name: document.get(field) for name, field in _NAMES.items()}
    checked = {
        name: check_address(url, _NAMES[name], allowed_hosts) for name, url in addresses.items() if url is not None
    }
    if "authorize" not in checked or "token" not in checked:
        raise EndpointsInvalid("the authorization endpoint or the token endpoint is missing")
    promised = document.get("authorization_response_iss_parameter_supported") is True
    return Endpoints(**checked, issuer=document.get("issuer"), callback_names_issuer=promised)


def check_address(url: object, name: str, allowed_hosts: Collection[str]) -> str:
    """Return an address that may be asked; `name` stands for it in errors. Raises EndpointsInvalid."""
    if not isinstance(url, str) or len(url) > URL_CHARS_MAX or not url.isascii() or not url.isprintable():
        raise EndpointsInvalid(f"{name} is not an address")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise EndpointsInvalid(f"{name} is not an address") from None
    if host is None or parts.username is not None or parts.fragment or " " in url:
        raise EndpointsInvalid(f"{name} is not an address")
    if not _is_protected(parts):
        raise EndpointsInvalid(f"{name} is neither https nor on loopback")
    if host.lower() not in {allowed.lower() for allowed in allowed_hosts}:
        raise EndpointsInvalid(f"{name} is on a host that is not allowed")
    return url


def _is_protected(parts: SplitResult) -> bool:
    if parts.scheme == "https":
        return True
    if parts.scheme != "http" or parts.hostname is None:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
