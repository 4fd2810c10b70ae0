"""The small checks that the settings' types share. Each message says what to write instead."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from typing import Annotated, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from config.secrets import Secret, SecretUrl

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")


_ELSEWHERE: Final = frozenset({"host", "hostaddr", "port", "service", "dsn"})


class Section(BaseModel):
    """A part of the settings: immutable, without unknown keys, and silent about its input in errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address always means this machine (RFC 6761 §6.3).

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("login.example.com")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_host(text: str) -> str:
    """Return a host name or IP address in lower case, without the root's dot. Raises ValueError."""
    host = text.strip("[]").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > 253 or not all(_LABEL.match(label) for label in host.split(".")):
        raise ValueError("must be a host name or IP address alone, without scheme, port or path: mail.example.com")
    return host


def check_host_port(text: str) -> str:
    """Return `host` or `host:port` in its normal form. Raises ValueError."""
    name, colon, port = text.rpartition(":")
    if not colon or (text.count(":") > 1 and not name.startswith("[")):
        return check_host(text)
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("must be host or host:port, with a port from 1 to 65535: mail.example.com:993")
    host = check_host(name)
    return f"[{host}]:{int(port)}" if ":" in host else f"{host}:{int(port)}"


def check_web_url(text: str) -> str:
    """Return an https address, or an http one of this machine (RFC 8252 §8.3). Raises ValueError."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"https", "http"} or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be a whole address: https://login.example.com/path")
    check_host(host)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must hold neither user, password nor fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must begin with https:// (http:// is for 127.0.0.1, ::1 and localhost only)")
    return text


def check_database(text: str) -> str:
    """Return a database address that we can open. Raises ValueError, whose text never repeats it."""
    if text.startswith("sqlite:///"):
        if len(text) == len("sqlite:///") or text == "sqlite:///:memory:" or set("?#\n\0") & set(text):
            raise ValueError("must name a file: sqlite:////var/lib/ingestd/content.db")
        return text
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme != "postgresql" or not parts.path.strip("/"):
        raise ValueError("must be sqlite:///path/to/file or postgresql://user@host/database")
    # They would lead elsewhere than the host that check-config lists.
    if {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)} & _ELSEWHERE:
        raise ValueError("must name its host and port before the path, not in the query")
    return text


def database_identity(url: str) -> tuple[str, ...]:
    """What two addresses of one database have in common.

    >>> database_identity("postgresql://a@DB:5432/x") == database_identity("postgresql://b:c@db/x")
    True
    """
    if url.startswith("sqlite:///"):
        return ("sqlite", os.path.realpath(url.removeprefix("sqlite:///")))
    parts = urlsplit(url)
    return ("postgresql", parts.hostname or "", str(parts.port or 5432), unquote(parts.path.strip("/")))


def decode_master_key(key: Secret) -> bytes:
    """Return the 32 bytes of a base64 key. Raises ValueError, whose text never repeats it."""
    try:
        raw = base64.b64decode(key.get_secret_value().strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ValueError("must be 32 random bytes in base64; make one with: openssl rand -base64 32")
    return raw


def _check_master_key(key: Secret) -> Secret:
    decode_master_key(key)
    return key


def check_provider_name(text: str) -> str:
    """Return a name that can stand in addresses and metrics. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError("must be made of a-z, 0-9, - and _, at most 63 of them")
    return text


def check_mail_address(text: str) -> str:
    """Return a bare mail address. Raises ValueError."""
    if len(text) > 320 or not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", text):
        raise ValueError("must be a mail address alone: forms@example.com")
    return text


def check_address_or_domain(text: str) -> str:
    """Return a bare mail address, or a domain without its @. Raises ValueError."""
    bare = text.removeprefix("@")
    if "@" in bare:
        return check_mail_address(bare)
    try:
        return check_host(bare)
    except ValueError:
        raise ValueError("must be a mail address or a domain: kim@example.com, or example.com") from None


def check_authserv_id(text: str) -> str:
    """Return a name of Authentication-Results: a host, `*.` before a domain, or "" for none. Raises ValueError.

    >>> check_authserv_id("*.Example.net"), check_authserv_id("")
    ('*.example.net', '')
    """
    if not text:
        return ""
    below = text.removeprefix("*.")
    try:
        host = check_host(below)
    except ValueError:
        host = ""
    # A whole top-level domain would be everybody's.
    if not host or (below != text and "." not in host):
        raise ValueError('must be a host name (mx.example.com), *.example.com, or "" for headers without a name')
    return host if below == text else f"*.{host}"


def check_tenant(text: str) -> str:
    """Return a tenant of Microsoft's as it stands in addresses. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", text):
        raise ValueError("must be common, organizations, consumers, or a directory's GUID or domain: example.com")
    return text.lower()


Text = Annotated[str, Strict(), Field(min_length=1, max_length=4096)]
HostName = Annotated[str, Strict(), AfterValidator(check_host)]
HostPort = Annotated[str, Strict(), AfterValidator(check_host_port)]
Port = Annotated[int, Field(ge=1, le=65535)]
ProviderName = Annotated[str, AfterValidator(check_provider_name)]
MailAddress = Annotated[str, Strict(), AfterValidator(check_mail_address)]
AddressOrDomain = Annotated[str, Strict(), AfterValidator(check_address_or_domain)]
AuthservId = Annotated[str, Strict(), AfterValidator(check_authserv_id)]
Tenant = Annotated[str, Strict(), AfterValidator(check_tenant)]
WebUrl = Annotated[str, Strict(), AfterValidator(check_web_url)]
DatabaseUrl = Annotated[SecretUrl, AfterValidator(check_database)]
MasterKey = Annotated[Secret, AfterValidator(_check_master_key)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 30)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
