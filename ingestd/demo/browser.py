"""The mailbox owner's browser: it follows redirects, keeps cookies, and presses "Allow" on the consent page."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin

import httpx2

_TIMEOUT_SECONDS: Final = 20.0
_HEADING: Final = re.compile(r"<h1>(.*?)</h1>", re.DOTALL)


@dataclass(slots=True)
class Visit:
    """What the owner saw: the consent page's heading and hidden fields, and the last page's heading."""

    asked: str
    fields: dict[str, str] = field(repr=False)
    told: str = ""


class _Form(HTMLParser):
    """Reads the hidden fields and the action of a page's only form."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and "name" in values:
            self.fields[values["name"]] = values.get("value", "")


def loopback_http(*, follow_redirects: bool = False) -> httpx2.AsyncClient:
    """Return a client for plain HTTP on loopback, which the caller closes.

    Its TLS context trusts nobody: loading the system's authorities, for every client anew, takes 0.1 s.
    """
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncClient(
        follow_redirects=follow_redirects, trust_env=False, timeout=_TIMEOUT_SECONDS, verify=nobody
    )


async def allow(address: str, user: str) -> Visit:
    """Open the address that `ingestd mailbox link` printed, and allow it as `user`."""
    async with loopback_http(follow_redirects=True) as http:
        asked = await http.get(address)
        form = _Form()
        form.feed(asked.text)
        visit = Visit(_heading(asked.text), form.fields)
        if not form.action:
            visit.told = visit.asked  # an error page
            return visit
        answer = {**form.fields, "user": user, "decision": "allow"}
        ended = await http.post(urljoin(str(asked.url), form.action), data=answer)
        visit.told = _heading(ended.text)
        return visit


def _heading(page: str) -> str:
    found = _HEADING.search(page)
    return unescape(found[1]).strip() if found else ""
