"""Authentication-Results (RFC 8601): what the provider found out about the sender."""

from __future__ import annotations

import re

from ingestd.mail.types import AuthResult

_PIECE = re.compile(r"\"(?:[^\"\\]|\\.)*\"?|[()]|\\.?|[^\"()\\]+", re.DOTALL)
_METHOD = re.compile(r"^\s*(dkim|spf|dmarc|arc|iprev|auth|compauth)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)", re.IGNORECASE)


def parse_auth(value: str) -> AuthResult | None:
    """Read one header value, or None where it says nothing.

    Of several DKIM signatures one that passes is enough (§2.7.1). Only the
    topmost header may be given here, and whether its `authserv_id` is the
    provider's is for the caller to check (§5, §7.1).

    >>> parse_auth("mx.example.com; dkim=fail (bad); dkim=pass header.d=a.example; dmarc=pass").methods
    {'dkim': 'pass', 'dmarc': 'pass'}
    """
    first, _, rest = _bare(value[:8192]).partition(";")
    words = first.split()
    if not words:
        return None
    # Outlook puts no authserv-id in front: the first item is a method already.
    items = rest.split(";") if "=" not in first else [first, *rest.split(";")]
    methods: dict[str, str] = {}
    for item in items[:50]:
        match = _METHOD.match(item)
        if match is None:
            continue
        method, result = match[1].lower(), match[2].lower()
        if methods.get(method) != "pass":
            methods[method] = result if method == "dkim" or method not in methods else methods[method]
    return AuthResult(authserv_id="" if "=" in first else words[0].lower()[:255], methods=methods)


def _bare(value: str) -> str:
    """Leave out comments, also nested ones, and what is quoted.

    Both repeat what the sender chose (an envelope address may hold quotes and
    semicolons), and must not be read as results: `spf=fail (x; dmarc=pass)`.
    """
    kept: list[str] = []
    depth = 0
    for piece in _PIECE.findall(value):
        if piece in "()":
            depth = depth + 1 if piece == "(" else max(0, depth - 1)
        elif depth == 0:
            kept.append('""' if piece.startswith('"') else piece)
    return "".join(kept)
