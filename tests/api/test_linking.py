"""The browser's two steps: cookie, redirect, pages."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import quote

import httpx2
import pytest

from connectors.base import TemporaryError
from ingestd.api.app import create_app
from ingestd.api.edge import Edge, LinkOutcome, LinkRefused, LinkResult
from ingestd.api.pages import page
from ingestd.telemetry import logs
from ingestd.telemetry.health import Health
from storage.errors import StorageUnavailable
from tests.api.conftest import AUTHORIZE, STATE, Linking, serving
from tests.telemetry.conftest import Lines, logging_restored

__all__ = ["logging_restored"]


def app_edge(linking: Linking, public_url: str = "http://127.0.0.1:8025") -> Edge:
    return Edge(health=Health(), metrics=None, linking=linking, public_url=public_url)


@pytest.fixture
def lines() -> Lines:
    stream = Lines()
    logs.configure("json", "debug", stream, strict=True)
    return stream


@pytest.fixture
async def client(lines: Lines, linking: Linking) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(create_app(app_edge(linking))) as client:
        yield client


def cookie_of(response: httpx2.Response) -> tuple[str, str, dict[str, str]]:
    """Return name, value and attributes of the one cookie that is set."""
    (header,) = response.headers.get_list("set-cookie")
    ((name, morsel),) = SimpleCookie(header).items()
    return name, morsel.value, {key: str(value) for key, value in morsel.items() if value}


def assert_page(response: httpx2.Response, status: int, title: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{title}</h1>" in response.text
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["content-security-policy"].startswith("default-src 'none';")


async def test_the_way_there_and_back(client: httpx2.AsyncClient, linking: Linking, lines: Lines) -> None:
    start = await client.get("/oauth/start", params={"state": STATE})
    assert (start.status_code, start.headers["location"]) == (303, AUTHORIZE)
    assert start.headers["cache-control"] == "no-store"
    assert start.headers["referrer-policy"] == "no-referrer"
    name, browser, attributes = cookie_of(start)
    assert linking.opened == [(STATE, browser)]
    assert len(base64.urlsafe_b64decode(browser + "=")) == 32
    assert attributes == {"httponly": "True", "samesite": "lax", "path": "/oauth", "max-age": "600"}

    linking.answer = LinkResult(LinkOutcome.LINKED, mailbox="support@example.com")
    query = {"state": STATE, "code": "c/1", "iss": "https://login.example.com", "session_state": "x"}
    back = await client.get("/oauth/callback", params=query)
    assert linking.completed == [
        {"state": STATE, "browser": browser, "code": "c/1", "error": None, "iss": "https://login.example.com"}
    ]
    assert_page(back, 200, "Mailbox linked")
    assert "support@example.com" in back.text
    assert "You can close this window." in back.text
    assert cookie_of(back)[0] == name
    assert cookie_of(back)[2]["max-age"] == "0"
    assert name not in client.cookies
    for secret in (STATE, browser, "c/1", "support", "login.example.com"):
        assert secret not in lines.getvalue()


async def test_two_tabs_have_two_cookies(client: httpx2.AsyncClient, linking: Linking) -> None:
    other = "t" * 43
    first = cookie_of(await client.get("/oauth/start", params={"state": STATE}))
    second = cookie_of(await client.get("/oauth/start", params={"state": other}))
    assert first[0] != second[0]
    assert first[1] != second[1]
    await client.get("/oauth/callback", params={"state": STATE, "code": "1"})
    await client.get("/oauth/callback", params={"state": other, "code": "2"})
    assert [call["browser"] for call in linking.completed] == [first[1], second[1]]


async def test_behind_https_the_cookie_is_secure(linking: Linking) -> None:
    app = create_app(app_edge(linking, "https://helpdesk.example.com/mail"))
    async with serving(app) as client:
        name, browser, attributes = cookie_of(await client.get("/oauth/start", params={"state": STATE}))
        assert name.startswith("__Secure-")
        assert attributes["secure"] == "True"
        assert attributes["path"] == "/mail/oauth"
        # The proxy ends TLS, so that the cookie comes over plain http.
        await client.get(
            "/oauth/callback", params={"state": STATE, "code": "1"}, headers={"cookie": f"{name}={browser}"}
        )
        assert linking.completed[0]["browser"] == browser


async def test_another_browser_has_no_cookie(client: httpx2.AsyncClient, linking: Linking) -> None:
    linking.answer = LinkRefused(LinkOutcome.OTHER_BROWSER)
    back = await client.get("/oauth/callback", params={"state": STATE, "code": "1"})
    assert linking.completed[0]["browser"] == ""
    assert_page(back, 403, "Mailbox not linked")
    assert "same browser" in back.text


async def test_a_forged_cookie_is_none(client: httpx2.AsyncClient, linking: Linking) -> None:
    name, _, _ = cookie_of(await client.get("/oauth/start", params={"state": STATE}))
    client.cookies.clear()
    cookie = {"cookie": f"{name}=<script>"}
    await client.get("/oauth/callback", params={"state": STATE, "code": "1"}, headers=cookie)
    assert linking.completed[0]["browser"] == ""


async def test_a_providers_no_is_passed_on(client: httpx2.AsyncClient, linking: Linking) -> None:
    linking.answer = LinkResult(LinkOutcome.DENIED)
    query = {"state": STATE, "error": "access_denied", "error_description": "<b>anna</b>"}
    back = await client.get("/oauth/callback", params=query)
    assert linking.completed[0]["error"] == "access_denied"
    assert linking.completed[0]["code"] is None
    assert_page(back, 403, "Mailbox not linked")
    assert "anna" not in back.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=1",
        "state=short&code=1",
        f"state={STATE}",
        f"state={STATE}&code=1&error=x",
        f"state={STATE}&code=1&code=2",
        f"state={STATE}&state={STATE}&code=1",
        f"state={STATE}&code=" + "x" * 4097,
        f"state={STATE}&code=1&iss=" + "x" * 513,
        f"state={STATE}&error=" + "x" * 65,
        f"state={STATE}&error=%0d%0aset-cookie:x",
        "state=" + quote("<script>alert(1)</script>") + "&code=1",
        "state=%00%ff%fe" + STATE + "&code=1",
    ],
)
async def test_malformed_answers_go_nowhere(client: httpx2.AsyncClient, linking: Linking, query: str) -> None:
    response = await client.get(f"/oauth/callback?{query}")
    assert_page(response, 502, "Mailbox not linked")
    assert linking.completed == []
    assert "script" not in response.text
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("query", ["", "state=", "state=x", f"state={STATE}&state={STATE}", "state=" + "x" * 513])
async def test_malformed_starts_go_nowhere(client: httpx2.AsyncClient, linking: Linking, query: str) -> None:
    response = await client.get(f"/oauth/start?{query}")
    assert_page(response, 410, "This link is no longer valid")
    assert linking.opened == []
    assert "set-cookie" not in response.headers


async def test_a_refused_start_sets_no_cookie(client: httpx2.AsyncClient, linking: Linking) -> None:
    linking.refusal = LinkRefused(LinkOutcome.EXPIRED)
    response = await client.get("/oauth/start", params={"state": STATE})
    assert_page(response, 410, "This link is no longer valid")
    assert "set-cookie" not in response.headers


async def test_a_location_cannot_hold_a_line(linking: Linking) -> None:
    class Odd(Linking):
        async def open(self, state: str, browser: str) -> str:
            return "https://login.example.com/?a=1\r\nX-Forged: 1"

    async with serving(create_app(app_edge(Odd()))) as client:
        response = await client.get("/oauth/start", params={"state": STATE})
    assert "x-forged" not in response.headers
    assert response.headers["location"] == "https://login.example.com/?a=1%0D%0AX-Forged:%201"


@pytest.mark.parametrize("error", [StorageUnavailable("content: locked"), TemporaryError("login.example.com")])
async def test_what_passes_is_a_page_that_says_so(
    client: httpx2.AsyncClient, linking: Linking, error: Exception
) -> None:
    linking.refusal = linking.answer = error
    for path in ("/oauth/start", "/oauth/callback?code=1"):
        response = await client.get(path, params={"state": STATE, "code": "1"})
        assert_page(response, 503, "Please try again in a few minutes")
        assert response.headers["retry-after"] == "60"


async def test_a_defect_is_a_page_without_its_message(
    client: httpx2.AsyncClient, linking: Linking, lines: Lines
) -> None:
    linking.answer = RuntimeError("anna@example.com")
    response = await client.get("/oauth/callback", params={"state": STATE, "code": "1"})
    assert_page(response, 503, "Please try again in a few minutes")
    assert "anna" not in response.text + lines.getvalue()


async def test_previews_by_head_open_nothing(client: httpx2.AsyncClient, linking: Linking) -> None:
    response = await client.head("/oauth/start", params={"state": STATE})
    assert response.status_code == 405
    assert linking.opened == []


class Reader(HTMLParser):
    """What a browser would build of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text: list[str] = []
        self.style = ""
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag == "style":
            self.style += data
        else:
            self.text.append(data)


@pytest.mark.parametrize("outcome", list(LinkOutcome))
def test_every_page_is_inert_and_escaped(outcome: LinkOutcome) -> None:
    hostile = "</p><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'{title}@example.com"
    response = page(outcome, mailbox=hostile)
    reader = Reader()
    reader.feed(bytes(response.body).decode())
    assert [tag for tag, _ in reader.tags] == [
        *("html", "head", "meta", "meta", "title", "style", "body", "main", "h1", "p", "bdi", "p")
    ]
    assert {name for _, attrs in reader.tags for name, _ in attrs} == {"lang", "charset", "name", "content"}
    assert hostile in reader.text
    # The browser applies the style only if its hash is the policy's.
    digest = base64.b64encode(hashlib.sha256(reader.style.encode()).digest()).decode()
    policy = response.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert not re.search(r"unsafe|script-src|http", policy)


def test_a_page_without_a_mailbox_has_no_empty_paragraph() -> None:
    assert "<p></p>" not in bytes(page(LinkOutcome.LINKED).body).decode()
    assert "bdi" not in bytes(page(LinkOutcome.LINKED).body).decode()
