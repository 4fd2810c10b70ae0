"""The two SASL mechanisms that carry an OAuth token: OAUTHBEARER (RFC 7628) and Google's XOAUTH2."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence

OAUTHBEARER = "OAUTHBEARER"
XOAUTH2 = "XOAUTH2"


def choose_mechanism(offered: Collection[str], allowed: Sequence[str] = (OAUTHBEARER, XOAUTH2)) -> str | None:
    """Return the first of `allowed` that the server offers, or None where it takes no token of ours.

    OAUTHBEARER is first by default: it is the standard, and only there is the answer to an
    error challenge specified (RFC 7628 §3.2.3). Servers that never learned it
    (Microsoft, Yandex, Mail.ru) do not offer it, so the choice costs nothing.

    >>> choose_mechanism({"PLAIN", "XOAUTH2", "OAUTHBEARER"})
    'OAUTHBEARER'
    >>> choose_mechanism({"PLAIN", "XOAUTH2", "OAUTHBEARER"}, allowed=("XOAUTH2",))
    'XOAUTH2'
    """
    names = {name.upper() for name in offered}
    return next((name for name in allowed if name in names), None)


def initial_response(mechanism: str, *, login: str, token: str, host: str, port: int) -> bytes:
    r"""Return the client's first message, not yet in base64.

    >>> initial_response("XOAUTH2", login="a@example.com", token="t", host="h", port=993)
    b'user=a@example.com\x01auth=Bearer t\x01\x01'
    >>> initial_response("OAUTHBEARER", login="a=b,c", token="t", host="h", port=993)
    b'n,a=a=3Db=2Cc,\x01host=h\x01port=993\x01auth=Bearer t\x01\x01'

    Raises ValueError where a value holds a control character: it would end its field early.
    """
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in login + token):
        raise ValueError("a control character in login or token")
    if mechanism == XOAUTH2:
        return f"user={login}\x01auth=Bearer {token}\x01\x01".encode()
    name = login.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01".encode()


def error_answer(mechanism: str) -> bytes:
    """Return what must be sent after an error challenge, or the connection hangs (RFC 7628 §3.2.3)."""
    return b"\x01" if mechanism == OAUTHBEARER else b""


def encode(message: bytes) -> bytes:
    return base64.b64encode(message)
