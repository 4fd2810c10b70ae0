"""Authentication-Results (RFC 8601): what the provider found out about the sender.

Parts of these headers are the sender's own words, such as the quoted local part of an envelope
sender, or what a provider writes into comments. So they are taken apart by the grammar, quotes and
nested comments included, and encoded words are never decoded: each could say "dmarc=pass".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from ingestd.mail.types import AuthResult

_VALUE_BYTES_MAX = 8192
_ITEMS_MAX = 50
_DOMAINS_MAX = 20
_OUTSIDE = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s;("]+|[\s;(]', re.DOTALL)
_INSIDE = re.compile(r"\\.|[()]", re.DOTALL)
_PLAIN_COMMENT = re.compile(r"\([^()]*\)")
_HARD = re.compile(r'[()"\\]| =|= ')
_RESULT = re.compile(r"[a-z]+")
_METHODS = frozenset({"dkim", "spf", "dmarc", "arc", "iprev", "auth", "compauth"})
_SPF_SENDER = ("smtp.mailfrom", "smtp.mail", "smtp.from", "smtp.envelope-from")
"""Mail.ru and most write the first, Yandex the second."""

_Result = tuple[str, str, dict[str, str]]
"""Method, result, and the properties that come with it."""


def parse_auth(value: str) -> AuthResult | None:
    """Read one header value, raw but for its folding; None where it says nothing.

    Of several DKIM signatures one that passes is enough (§2.7.1). Another method that comes twice with
    different results has not passed. Whether `authserv_id` is the provider's is for the caller to check (§5, §7.1).

    >>> parse_auth("mx.example.com; dkim=fail (bad); dkim=pass header.d=a.example; dmarc=pass").methods
    {'dkim': 'pass', 'dmarc': 'pass'}
    >>> parse_auth("spf=pass smtp.mailfrom=a.example; dmarc=none header.from=b.example").spf_domain
    'a.example'
    """
    items = _items(value[:_VALUE_BYTES_MAX])
    if not items or not any(items):
        return None
    first = items[0]
    # Outlook puts no authserv-id in front: the first item is a result already.
    named = bool(first) and "=" not in first[0]
    methods: dict[str, str] = {}
    dkim_domains: dict[str, None] = {}
    spf_domain, from_domain = "", ""
    for method, result, properties in _results(items[1:] if named else items):
        if method == "dkim":
            methods[method] = "pass" if "pass" in (result, methods.get(method)) else result
            if result == "pass":
                dkim_domains[_domain(properties.get("header.d") or properties.get("header.i", ""))] = None
            continue
        if method not in methods or (methods[method] == "pass" and result != "pass"):
            methods[method] = result
        if method == "spf":
            sender = next((properties[name] for name in _SPF_SENDER if name in properties), "")
            spf_domain = _domain(sender) if not spf_domain and result == "pass" else spf_domain
        elif method == "dmarc":
            from_domain = from_domain or _domain(properties.get("header.from", ""))
    return AuthResult(
        authserv_id=first[0].lower()[:255] if named else "",
        methods=methods,
        dkim_domains=tuple(one for one in dkim_domains if one)[:_DOMAINS_MAX],
        spf_domain=spf_domain if methods.get("spf") == "pass" else "",
        from_domain=from_domain,
    )


def is_believed(authserv_id: str, names: Collection[str]) -> bool:
    """Whether a header's authserv-id is one of the provider's `names`; `*.example.com` is any host below it, and
    "" the name of a header that has none.

    >>> is_believed("mx7.example.com", ["*.example.com"]), is_believed("example.com", ["*.example.com"])
    (True, False)
    """
    if authserv_id in names:
        return True
    return any(name.startswith("*.") and authserv_id.endswith(name[1:]) for name in names)


def provider_verdict(results: Sequence[AuthResult], names: Collection[str], *, several: bool) -> AuthResult | None:
    """Return what the provider says, None where it says nothing.

    Each server writes on top of what was there, so the provider's is the topmost under its name, and
    whatever is below may be the sender's own (§5). With `several` the provider writes one header for each
    method, and removes all foreign ones under its names: then they are taken together.
    """
    ours = [one for one in results if is_believed(one.authserv_id, names)]
    if not ours or not several:
        return ours[0] if ours else None
    methods: dict[str, str] = {}
    for one in ours:
        for method, result in one.methods.items():
            methods.setdefault(method, result)
    return AuthResult(
        authserv_id=ours[0].authserv_id,
        methods=methods,
        dkim_domains=tuple(dict.fromkeys(domain for one in ours for domain in one.dkim_domains))[:_DOMAINS_MAX],
        spf_domain=next((one.spf_domain for one in ours if "spf" in one.methods), ""),
        from_domain=next((one.from_domain for one in ours if "dmarc" in one.methods), ""),
    )


def _items(value: str) -> list[list[str]]:
    """Split at semicolons, and each item into its words; comments (nested ones, too) are left out."""
    plain = _PLAIN_COMMENT.sub(" ", value) if '"' not in value and "\\" not in value else value
    if _HARD.search(plain) is None:  # almost every header
        return [one.split() for one in plain.split(";")[:_ITEMS_MAX]]
    items: list[list[str]] = [[]]
    text = " ".join(value.split()).replace(" =", "=").replace("= ", "=")  # white space around it is allowed (§2.2)
    word, position = "", 0
    while (match := _OUTSIDE.match(text, position)) is not None:
        piece, position = match[0], match.end()
        if piece not in ("(", ";") and not piece.isspace():
            word += piece
            continue
        if word:
            items[-1].append(word)
            word = ""
        if piece == ";":
            if len(items) >= _ITEMS_MAX:
                return items
            items.append([])
        elif piece == "(":
            position = _comment_end(text, position)
    if word:
        items[-1].append(word)
    return items


def _comment_end(text: str, position: int) -> int:
    """Return where the comment that began before `position` ends; one that does not end takes all the rest."""
    depth = 1
    for match in _INSIDE.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return len(text)


def _results(items: Iterable[list[str]]) -> Iterator[_Result]:
    """Yield the results in order. Zoho forgets semicolons between them: a method begins a new one anywhere."""
    for item in items:
        current: _Result | None = None
        for word in item:
            name, equals, value = word.partition("=")
            if "." in name:
                if current is not None and value:
                    current[2].setdefault(name.lower(), value)
            elif equals and (method := name.lower().partition("/")[0]) in _METHODS:
                if current is not None:
                    yield current
                result = _RESULT.match(value.lower())
                current = (method, result[0] if result else "", {})
        if current is not None:
            yield current


def _domain(value: str) -> str:
    """Return the domain of an address, or of a domain as it is: a value can be either (Mail.ru's header.from)."""
    return value.strip('"').rpartition("@")[2].rstrip(".").lower()[:253]
