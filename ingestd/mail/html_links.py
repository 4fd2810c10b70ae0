"""Where a link really leads, and whether its text says otherwise.

Hosts are read as browsers read them (WHATWG URL §4.4, which forgives much),
since it is they that will follow the link. What is shown of a host is ASCII:
an internationalized name is shown as it is asked for, with its `xn--`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from html import escape, unescape
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from ingestd.mail.html_tags import words

_IGNORED = dict.fromkeys((*range(32), 127))
_LINK = re.compile(r"(https?|ftp)[\t\n\r]*:[/\\]*", re.IGNORECASE)
_AUTHORITY = re.compile(r"[^/\\?#]*+")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")
_DOTS = {ord(dot): "." for dot in "\u3002\uff0e\uff61\u2024"}
_SLASHES = re.compile("[\u2044\u2215\u29f8\uff0f\u2571\u29f6]")
"""What looks like a slash and belongs to the host: bank.example∕login.evil.example."""
_TOKEN = re.compile(r"[^\s<>()\[\]{}\"'«»“”„,;|]+")
_SHOWN_URL = re.compile(r"(https?:[/\\]*)?([^/\\?#]*+)", re.IGNORECASE)
_SHOWN_HOST = re.compile(r"[\w-]++(?>(?:\.[\w-]++)+)")
_DOTTED = re.compile("[.\u3002\uff0e\uff61\u2024](?=\\w)")
_SHOWN_CHARS_MAX = 2000
_SHOWN_HOSTS_MAX = 5
_NO_HOSTS = words(
    "7z ai asp aspx avi bat bin bmp css csv cs dll doc docm docx eml exe gif gz htm html ico ics ini java jpeg jpg js "
    "json jsx key log md mov mp3 mp4 msg odp ods odt otf pages pdf php pl png pps ppt pptm pptx ps psd pub py rar rb "
    "rtf sh sln sql svg tar tif tiff ts tsx txt vcf wav webp wma wmv xls xlsm xlsx xml yaml yml zip"
)
"""Endings of files: "report.doc" alone names no host."""

_ENDINGS = words(
    "app bank biz cloud club com dev edu email gov group info int link live ltd me mil mobi money name net news online "
    "org page pay pro shop site store support team tech top tv vip website work world xyz"
)
"""Endings by which a host is known among other words; as the whole text, or behind "www." or "https:", any is."""

# Letters of other scripts that cannot be told from Latin ones (UTS 39, the common fonts).
_LATIN_LIKE = frozenset("аеорсухіјѕԁԛԝһӏвкмнтгьԍґзбпοονυιαρτκγωηѵհոսցքօզ")
_ASCII_HOST = re.compile(r"[a-z0-9.:_\[\]-]{1,253}")

_UNWRAPPED_CHARS_MAX = 8192
_WRAPPERS: Mapping[str, str] = {
    "safelinks.protection.outlook.com": "url",
    "urldefense.proofpoint.com": "u",
    "google.com": "q",
    "www.google.com": "q",
}
"""Scanners that put their own address around each link of a mail, and where the link is in theirs."""


def host_of(url: str) -> str:
    """Return the host that a browser asks for a URL, in lower case, "" where there is none.

    >>> host_of("https://bank.example@Evil.example:8080/x"), host_of("mailto:a@example.com")
    ('evil.example', '')
    """
    url = url.strip() if url.isprintable() else url.strip().translate(_IGNORED)
    scheme = _LINK.match(url)
    if scheme is None:
        return ""
    match = _AUTHORITY.match(url, scheme.end())
    authority = match[0] if match else ""
    return _plain_host(authority.rpartition("@")[2].partition(":")[0])


def _plain_host(host: str) -> str:
    """Return a host as it is asked for: percent decoded, compatible forms folded, in lower case, in Unicode."""
    if "%" in host:
        host = unquote(host)
    if not host.isascii():
        host = unicodedata.normalize("NFKC", _INVISIBLE.sub("", host).translate(_DOTS))
    return ".".join(_decoded(label) for label in host.lower().rstrip(".").split("."))


def _decoded(label: str) -> str:
    if not label.startswith("xn--") or len(label) > 63:
        return label
    try:
        return label[4:].encode("ascii").decode("punycode").lower()
    except (UnicodeError, ValueError, OverflowError):
        return label


def ascii_host(host: str) -> str:
    """Return a host so that nothing can be mistaken in it.

    >>> ascii_host("пример.example")
    'xn--e1afmkfd.example'
    """
    labels = (
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in host.split(".")
    )
    shown = ".".join(labels)
    return shown if _ASCII_HOST.fullmatch(shown) else ascii(shown)[1:-1]


def is_deceptive(host: str) -> bool:
    """Tell whether a host is made to look like another: a label of mixed scripts, or of Latin lookalikes only.

    >>> is_deceptive("аpple.example"), is_deceptive("пример.example"), is_deceptive("example.com")
    (True, False, False)
    """
    if host.isascii():
        return False
    if _BIDI.search(host) or _SLASHES.search(host):
        return True
    labels = host.split(".")
    return any(_mixes_scripts(label) for label in labels) or (
        labels[-1].isascii()
        and any(not label.isascii() and all(c in _LATIN_LIKE or c.isascii() for c in label) for label in labels)
    )


def _mixes_scripts(label: str) -> bool:
    """Latin goes with Japanese, Chinese and Korean writing (UTS 39 §5.2); Cyrillic or Greek go with nothing."""
    scripts = {unicodedata.name(c, "?").split(" ", 1)[0] for c in label[:64] if c.isalpha()}
    return len(scripts) > 1 and not scripts <= {
        "LATIN",
        "CJK",
        "HIRAGANA",
        "KATAKANA",
        "KATAKANA-HIRAGANA",
        "HANGUL",
        "BOPOMOFO",
    }


def unwrap(url: str) -> str:
    """Return the link inside the link of a mail scanner, or the URL itself.

    >>> unwrap("https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fexample.com%2Fa&data=x")
    'https://example.com/a'
    """
    host = host_of(url)
    parameter = _WRAPPERS.get(host)
    if parameter is None and host.endswith(".safelinks.protection.outlook.com"):
        parameter = "url"
    if len(url) > _UNWRAPPED_CHARS_MAX:
        return url
    if parameter is None:
        return _urldefense(url) if host == "urldefense.com" else url
    if parameter == "q" and "google.com/url?" not in url:
        return url
    query = url.partition("?")[2]
    try:
        inner = dict(parse_qsl(query, max_num_fields=50)).get(parameter, "")
    except ValueError:
        return url
    if parameter == "u":
        # Proofpoint 2: "-" for "%" and "_" for "/".
        inner = unquote(inner.replace("-", "%").replace("_", "/"))
    return inner if _LINK.match(inner) else url


def _urldefense(url: str) -> str:
    """Proofpoint 3: https://urldefense.com/v3/__https://example.com/a__;!!x ("*" for what is listed behind)."""
    inner = url.partition("/v3/__")[2].partition("__;")[0]
    return inner if _LINK.match(inner) else url


def mark_targets(html: str) -> tuple[str, int]:
    """Show, behind each link of *sanitized* HTML whose text names another host, the real one; count them.

    A link to a host that is made to look like another counts, too, whatever its text.

    >>> mark_targets('<a href="https://evil.example/">bank.example</a>')[0].endswith('> [evil.example]</span>')
    True
    """
    out: list[str] = []
    targets: dict[str, _Target] = {}
    kept = count = 0
    for match in _ANCHOR.finditer(html):
        inner = match[2]
        href = match[1]
        if href.isascii() and "xn--" not in href and "@" not in href and not _DOTTED.search(inner):
            continue
        if href[:7].lower() == "mailto:":
            real = _mail_mismatch(unescape(href)[7:], _text(inner))
        else:
            target = targets.get(href)
            if target is None:
                target = targets[href] = _target(unescape(href))
            real = _mismatch(target, _text(inner))
        if not real:
            continue
        count += 1
        marker = f'<span style="color:#b00020" title="link target"> [{escape(real)}]</span>'
        if not html.startswith(marker, match.end()):
            out += (html[kept : match.end()], marker)
            kept = match.end()
    return ("".join([*out, html[kept:]]) if out else html), count


_ANCHOR = re.compile(r'<a (?:[^>]*? )??href="([^"]*+)"[^>]*+>([^<]*+(?>(?:<(?!/a>)[^<]*+)*))</a>')
_ALT = re.compile(r'<img [^>]*?alt="([^"]*+)"[^>]*+>')
_TAGS = re.compile(r"<[^>]*+>")


def _text(inner: str) -> str:
    if "<" in inner:
        inner = _TAGS.sub("", _ALT.sub(r"\1", inner)) if len(inner) < 100_000 else ""
    return unescape(inner[:_SHOWN_CHARS_MAX]).strip()


class _Target(NamedTuple):
    host: str
    real: str
    """Of the link inside, where a scanner put its own around it."""
    deceptive: bool


def _target(href: str) -> _Target:
    host = host_of(href)
    real = (host_of(unwrap(href)) or host) if host else ""
    return _Target(host, real, "@" in _authority(href) or is_deceptive(host) or is_deceptive(real))


def _mismatch(target: _Target, shown: str) -> str:
    """Return what is to be shown of the target; "" where the text does not deceive."""
    if target.host and target.deceptive:
        return ascii_host(target.real)
    for host, deceptive in _shown_hosts(shown) if target.host else ():
        if deceptive or not (_same_site(host, target.host) or _same_site(host, target.real)):
            return ascii_host(target.real)
    return ""


def _authority(url: str) -> str:
    url = url.strip() if url.isprintable() else url.strip().translate(_IGNORED)
    scheme = _LINK.match(url)
    match = _AUTHORITY.match(url, scheme.end()) if scheme else None
    return match[0] if match else ""


def _mail_mismatch(target: str, shown: str) -> str:
    address = unquote(target.partition("?")[0]).strip().lower()
    domain = _plain_host(address.rpartition("@")[2])
    if is_deceptive(domain):
        return ascii_host(domain)
    for token in _tokens(shown):
        if "@" in token and "." in token and token.lower().strip(".") not in address:
            return address if address.isascii() else ascii(address)[1:-1]
    return ""


def _tokens(shown: str) -> list[str]:
    return [token for token in _TOKEN.findall(shown) if _DOTTED.search(token)][:_SHOWN_HOSTS_MAX]


def _shown_hosts(shown: str) -> Iterator[tuple[str, bool]]:
    """Yield the hosts that a text names, and whether they are written to deceive."""
    bidi = _BIDI.search(shown) is not None
    if not shown.isascii():
        shown = _INVISIBLE.sub("", shown).translate(_DOTS)
    tokens = _tokens(shown)
    for token in tokens:
        url = _SHOWN_URL.match(token)
        if url is None:
            continue
        local, _, host = url[2].rpartition("@")
        deceptive = bidi or _SLASHES.search(host) is not None
        host = _plain_host(_SLASHES.split(host, maxsplit=1)[0].partition(":")[0])
        if _SHOWN_HOST.fullmatch(host) is None:
            continue
        ending = host.rpartition(".")[2]
        if url[1] or local or host.startswith("www.") or _is_ending(ending, alone=token == shown):
            yield host, deceptive or is_deceptive(host)


def _is_ending(ending: str, *, alone: bool) -> bool:
    if ending in _NO_HOSTS or not ending.isalpha():
        return False
    return ending in _ENDINGS or len(ending) == 2 or (alone and len(ending) > 1)


def _same_site(shown: str, target: str) -> bool:
    """Equal, or one below the other: what shop.example links to is click.shop.example."""
    shown, target = shown.removeprefix("www."), target.removeprefix("www.")
    return shown == target or target.endswith("." + shown) or shown.endswith("." + target)
