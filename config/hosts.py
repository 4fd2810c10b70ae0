"""Every host that the daemon will contact because the operator says so.

Hosts that accounts supply (webhooks) are not here: they pass other checks, unless they are in `egress.allow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.checks import check_host, is_loopback
from config.providers import Provider
from config.settings import Settings


@dataclass(frozen=True, slots=True)
class Host:
    """A host, the port (None: any), and why it is contacted."""

    host: str
    port: int | None
    why: str


def hosts(settings: Settings) -> list[Host]:
    """Return every host once, in the order of the configuration, with all its reasons.

    An issuer's discovery document cannot add a host: `endpoint_allowed` tells
    what of it is used.
    """
    reasons: dict[tuple[str, int | None], list[str]] = {}
    for found in _all(settings):
        known = reasons.setdefault((found.host, found.port), [])
        if found.why not in known:
            known.append(found.why)
    return [Host(host, port, "; ".join(why)) for (host, port), why in reasons.items()]


def allowed_hosts(settings: Settings) -> list[Host]:
    """Return the hosts of `egress.allow`: accounts may name them as well, private as they may be."""
    return list(_allowed(settings))


def endpoint_allowed(url: str, provider: Provider, settings: Settings) -> bool:
    """Whether an address that a discovery document names may be used.

    It must be https (or http on this machine) on the issuer's own host and
    port, or on a host of `egress.allow`. Otherwise whoever controls the
    document could send our client secret and our users' tokens to any host.
    """
    try:
        host, port, scheme = *_address(url), urlsplit(url).scheme
    except ValueError:
        return False
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        return False
    oauth = provider.oauth
    own = {_address(url) for url in (oauth.issuer, oauth.authority if oauth.client == "msal" else None) if url}
    return (host, port) in own or any(
        host == allowed.host and allowed.port in {None, port} for allowed in _allowed(settings)
    )


def _all(settings: Settings) -> Iterator[Host]:
    for key, url in (("database", settings.storage.database), ("keystore", settings.storage.keystore)):
        if url.startswith("postgresql://"):
            parts = urlsplit(url)
            yield Host(check_host(parts.hostname or ""), parts.port or 5432, f"storage.{key}")
    if settings.storage.bucket is not None:
        yield Host(*_address(settings.storage.bucket.endpoint), "storage.bucket")
    for name in settings.providers:
        yield from _of_ways(settings.provider(name))
        yield from _of_oauth(settings.provider(name))
    yield from _allowed(settings)


def _of_ways(provider: Provider) -> Iterator[Host]:
    prefix = f"providers.{provider.name}"
    ways = {*provider.read_by, *provider.send_by}
    if ways & {"imap", "smtp"}:  # what is sent by SMTP is looked for, and filed, by IMAP
        yield Host(provider.imap.host, provider.imap.port, f"{prefix}.imap")
    if "smtp" in ways:
        yield Host(provider.smtp.host, provider.smtp.port, f"{prefix}.smtp")
    if provider.gmail_url is not None and "gmail" in ways:
        yield Host(*_address(provider.gmail_url), f"{prefix}.gmail_url")
    if (push := provider.gmail_push) is not None:
        yield Host(*_address(push.pubsub_url), f"{prefix}.gmail_push.pubsub_url")
        yield Host(*_address(push.token_url), f"{prefix}.gmail_push.token_url")
    if provider.graph_url is not None and "graph" in ways:
        yield Host(*_address(provider.graph_url), f"{prefix}.graph_url")
        for url in provider.upload_urls:
            yield Host(*_address(url), f"{prefix}.upload_urls")


def _of_oauth(provider: Provider) -> Iterator[Host]:
    prefix, oauth = f"providers.{provider.name}", provider.oauth
    if oauth.issuer:
        why = f"{prefix}.oauth.issuer, and what its discovery document names on the same host and port"
        yield Host(*_address(oauth.issuer), why)
    if oauth.client == "msal" and oauth.authority:
        why = f"{prefix}.oauth.authority, and what its metadata names on the same host and port"
        yield Host(*_address(oauth.authority), why)
        return  # nothing but the authority is asked
    # The authorize address is opened by the user's browser only.
    for key in ("token_url", "userinfo_url", "revoke_url", "introspect_url", "device_authorization_url"):
        if url := getattr(oauth, key):
            yield Host(*_address(url), f"{prefix}.oauth.{key}")


def _allowed(settings: Settings) -> Iterator[Host]:
    for text in settings.egress.allow:
        parts = urlsplit(f"//{text}" if not _is_bare_ipv6(text) else f"//[{text}]")
        yield Host(check_host(parts.hostname or ""), parts.port, "egress.allow")


def _is_bare_ipv6(text: str) -> bool:
    return text.count(":") > 1 and not text.startswith("[")


def _address(url: str) -> tuple[str, int]:
    """Host and port of a web address. Raises ValueError."""
    parts = urlsplit(url)
    return check_host(parts.hostname or ""), parts.port or (80 if parts.scheme == "http" else 443)
