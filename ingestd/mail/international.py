"""Addresses beyond ASCII (RFC 6531): domains as the DNS has them, so that only local parts need SMTPUTF8."""

from __future__ import annotations

from collections.abc import Iterable

import idna


def ascii_address(addr: str) -> str:
    """Return an address with its domain in A-labels (RFC 5890 §2.3.2.1), which every server takes.

    The local part stays: it has no ASCII form. Raises ValueError for a domain that no DNS can have.

    >>> ascii_address("jane@пример.example"), ascii_address("Jane@Example.com")
    ('jane@xn--e1afmkfd.example', 'Jane@Example.com')
    """
    local, at, domain = addr.rpartition("@")
    if not at or domain.isascii():
        return addr
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError as error:
        raise ValueError("the domain is none") from error


def same_spelling(addr: str) -> str:
    """Return the form under which both spellings of a domain are one; what is no domain stays.

    >>> same_spelling("jane@пример.example") == same_spelling("jane@xn--e1afmkfd.example")
    True
    """
    try:
        return ascii_address(addr)
    except ValueError:
        return addr


def needs_smtputf8(addresses: Iterable[str]) -> bool:
    """Tell whether a server must offer SMTPUTF8 (RFC 6531 §3.1) for these addresses.

    >>> needs_smtputf8(["jane@example.com"]), needs_smtputf8(["жанна@example.com"])
    (False, True)
    """
    return not all(one.isascii() for one in addresses)
