"""The API as a helpdesk meets it: served over HTTP, on real databases, for an office with mail in it."""

from __future__ import annotations

import base64
import functools
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import httpx2
from fastapi import FastAPI
from starlette.routing import BaseRoute

from config import Settings, allowed_hosts
from connectors.egress import EgressGuard
from connectors.tls import client_context
from ingestd.access import Access, Scope, make_token
from ingestd.api import v1
from ingestd.api.app import create_app
from ingestd.api.backend import Backend
from ingestd.api.edge import Edge
from ingestd.events.courier import Courier
from ingestd.events.desk import WebhookDesk
from ingestd.events.feed import EventFeed
from ingestd.inbound.audit import Audited, AuditTools
from ingestd.inbound.explain import Looks
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.parser import ParserPool
from ingestd.linking.browser import BrowserLinking
from ingestd.linking.link import Linking
from ingestd.telemetry.health import Health
from ingestd.wakes import Bell
from tests.api.conftest import Linking as NoLinking
from tests.api.conftest import serving
from tests.office import HereParser, Office

ALL: Final = tuple(Scope)
PROVIDER: Final = {
    "kind": "generic",
    "imap": {"host": "imap.example.com"},
    "smtp": {"host": "smtp.example.com"},
    "oauth": {
        "issuer": "https://login.example.com",
        "client_id": "ingestd",
        "client_secret": "secret",
        "scopes": ["mail"],
    },
}


_READY: Final[dict[str, BaseRoute]] = {}
"""The routes of the first app, made ready."""


def settings(**sections: Any) -> Settings:
    """Settings with one provider, and what a test needs otherwise."""
    return Settings.model_validate(
        {
            "keys": {"master_key": base64.b64encode(bytes(range(32))).decode()},
            "providers": {"local": PROVIDER},
            **sections,
        }
    )


@dataclass
class ApiDesk:
    """An office whose API is served."""

    office: Office
    client: httpx2.AsyncClient
    backend: Backend
    token: str
    """Of the office's account, with every scope."""

    @property
    def account_id(self) -> UUID:
        return self.office.held.account_id

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx2.Response:
        """Send a request to a path of the office's account (`/tickets`), or to a whole one (`/v1/accounts`)."""
        whole = path if path.startswith("/v1") else f"/v1/accounts/{self.account_id}{path}"
        sent = {"Authorization": f"Bearer {self.token if token is None else token}", **(headers or {})}
        if key is not None:
            sent["Idempotency-Key"] = key
        return await self.client.request(method, whole, headers=sent, **more)

    async def get(self, path: str, **more: Any) -> Any:
        """Return the JSON of a GET that must be good."""
        return _good(await self.ask("GET", path, **more))

    async def post(self, path: str, json: Any = None, **more: Any) -> Any:
        """Return the JSON of a POST that must be good."""
        return _good(await self.ask("POST", path, json=json, **more))

    async def new_token(
        self,
        scopes: Sequence[Scope] = ALL,
        *,
        account_id: UUID | None = None,
        operator: bool = False,
        expires_at: datetime | None = None,
    ) -> str:
        """Make a token of the office's account, of another's, or of the operator's."""
        made = await make_token(
            self.backend.content,
            None if operator else account_id or self.account_id,
            label="test",
            scopes=scopes,
            expires_at=expires_at,
            tokens_max=100,
        )
        return made.text

    async def verified(self) -> None:
        """Assert that every invariant holds."""
        await self.office.check()


def assert_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that it is a problem with this code, and return it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    content: dict[str, Any] = response.json()
    assert (response.status_code, content["status"], content["code"]) == (status, status, code), content
    return content


@asynccontextmanager
async def api_desk(
    office: Office,
    given: Settings | None = None,
    *,
    linking: Linking | None = None,
    parser: ParserPool | None = None,
    readers: Audited | None = None,
    **edge: Any,
) -> AsyncIterator[ApiDesk]:
    """Serve the API of an office. `linking` is needed where mailboxes are linked; without a `parser`, mail is parsed
    in the test's own process. `readers` are those of the office's mailbox, where its provider is asked."""
    chosen = given or settings()
    api = chosen.api
    guard = EgressGuard([], open_to_accounts=[(one.host, one.port or 443) for one in allowed_hosts(chosen)])
    courier = Courier(guard, _tls_context(), lambda: chosen.webhooks)
    bell = Bell()

    async def begin(account_id: UUID, mailbox_id: UUID) -> tuple[MailboxContext, Audited]:
        assert (account_id, mailbox_id) == (office.held.account_id, office.held.mailbox_id)
        if readers is None:
            raise KeyError("local")
        return office.context, readers

    parses = cast("ParserPool", HereParser()) if parser is None else parser
    tools = AuditTools(office.stores.content, office.stores.blobs, parses, office.desk.blob_bytes_min, 10, "closed")
    backend = Backend(
        settings=lambda: chosen,
        desk=office.desk,
        keystore=office.stores.keystore,
        keys=office.keys,
        access=Access(
            office.stores.content,
            failures_per_minute_max=api.failures_per_minute_max,
            requests_per_second_max=api.token_requests_per_second_max,
            burst_max=api.token_burst_max,
        ),
        linking=linking,  # type: ignore[arg-type]
        webhooks=WebhookDesk(
            office.stores.content,
            office.keys,
            guard,
            courier,
            lambda: chosen.webhooks,
            locations=lambda: chosen.locations,
        ),
        feed=EventFeed(office.stores.content, bell, lambda: chosen.events),
        bell=bell,
        parser=parses,
        open_context=office.known_of,
        looks=Looks(lambda: tools, begin, at_once=1),
    )
    office.stores.content.on_wake(backend.bell.ring)
    app = create_app(
        Edge(
            health=Health([]),
            metrics=None,
            linking=NoLinking() if linking is None else BrowserLinking(linking),
            public_url="http://127.0.0.1:8025",
            backend=backend,
            **edge,
        )
    )
    _share_routes(app)
    try:
        async with serving(app) as client:
            desk = ApiDesk(office, client, backend, "")
            desk.token = await desk.new_token()
            yield desk
    finally:
        await backend.feed.close()
        await courier.close()


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Read the authorities once: it takes longer than a request."""
    return client_context()


def _share_routes(app: FastAPI) -> None:
    """Let the app have the routes of the first one, which are ready. FastAPI makes each route ready for each app anew,
    at its first request: with ours that took as long as twenty requests. They depend on no app; what a request needs
    of it, the backend, is in the app's state."""
    for place, route in enumerate(app.router.routes):
        if getattr(route, "original_router", None) is v1.router:
            app.router.routes[place] = _READY.setdefault("v1", route)
            return
    raise AssertionError("the app does not include version 1")


def _good(response: httpx2.Response) -> Any:
    assert response.is_success, (response.status_code, response.text)
    return response.json() if response.content else None
