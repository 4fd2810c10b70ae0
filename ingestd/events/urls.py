"""The addresses that a webhook may have. Pure: what the name resolves to is the egress guard's, at each connection."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from connectors.egress import ACCOUNT_PORTS, is_public

URL_CHARS_MAX: Final = 2048
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS: Final = {"https": 443, "http": 80}


class UrlRefused(Exception):
    """The address cannot be a webhook's. The text says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook leads."""

    url: str
    host: str
    port: int


def read_url(text: str, is_open: Callable[[str, int], bool]) -> Target:
    """Return where an address leads. `is_open` tells which hosts the operator opened to accounts.

    Raises UrlRefused.

    >>> read_url("https://desk.example.com/hooks", lambda host, port: False).port
    443
    >>> read_url("https://desk.example.com:22/", lambda host, port: False)
    Traceback (most recent call last):
    ingestd.events.urls.UrlRefused: its port must be 443 or one from 1024 on
    """
    parts = _split(text)
    if parts.scheme not in _PORTS:
        raise UrlRefused("it must begin with https://")
    # Clients send it as a password, or put it into their logs; who needs one has the signature.
    if "@" in parts.netloc:
        raise UrlRefused("it must hold neither user nor password: check the signature instead")
    if "#" in text:
        raise UrlRefused("it must have no fragment (#): that is never sent")
    try:
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise UrlRefused("its port is no number from 1 to 65535") from None
    open_ = is_open(host, port)
    _check_host(host, open_)
    if not open_ and parts.scheme == "http":
        raise UrlRefused("it must begin with https:// (http:// is for hosts that the operator allowed: egress.allow)")
    if not open_ and not any(port in ports for ports in ACCOUNT_PORTS):
        raise UrlRefused("its port must be 443 or one from 1024 on")
    return Target(text, host, port)


def _split(text: str) -> SplitResult:
    if len(text) > URL_CHARS_MAX:
        raise UrlRefused(f"it is longer than {URL_CHARS_MAX} characters")
    # Two programs may not agree on what such an address means: where it begins, where its host ends.
    if any(char <= " " or char in "\\\x7f" for char in text):
        raise UrlRefused("it holds a space, a backslash or a control character")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        raise UrlRefused("it is no web address: https://desk.example.com/hooks") from None
    # Of a name in another script there is more than one reading (IDNA 2003 and 2008): the one that is checked here
    # might not be the one that is asked for there.
    if not host.isascii():
        raise UrlRefused("write its host as the DNS has it (xn--…)")
    if not text.isascii():
        raise UrlRefused("write other characters than ASCII percent-encoded")
    if not host:
        raise UrlRefused("it names no host: https://desk.example.com/hooks")
    return parts


def _check_host(host: str, open_: bool) -> None:
    if _is_address(host):
        if "%" in host or not (open_ or is_public(host)):
            raise UrlRefused("its address is not a public one")
        return
    labels = host.split(".")
    # 127.1, 0x7f000001 and 2130706433 are this machine to the resolver.
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or _NUMBER.fullmatch(labels[-1]):
        raise UrlRefused("its host is no name that the DNS can have")
    # `db` is whatever our own network calls so.
    if len(labels) == 1 and not open_:
        raise UrlRefused("its host must be a full name: desk.example.com")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
