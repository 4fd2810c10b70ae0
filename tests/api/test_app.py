"""Health, metrics, errors and limits, over real HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import httpx2
import pytest
import structlog
from fastapi import FastAPI, Request
from pydantic import BaseModel

from ingestd.api.app import create_app
from ingestd.api.edge import Edge, Limits
from ingestd.telemetry import logs
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from storage.errors import StorageUnavailable
from tests.api.conftest import Linking, serving
from tests.telemetry.conftest import Lines, logging_restored

__all__ = ["logging_restored"]

LIMITS = Limits(body_bytes_max=1000, query_bytes_max=500, header_bytes_max=2000, request_seconds_max=0.2)


def edge(health: Health, metrics: Metrics | None, linking: Linking, **more: object) -> Edge:
    return Edge(
        health=health,
        metrics=metrics.render if metrics else None,
        linking=linking,
        public_url="http://127.0.0.1:8025",
        **more,  # type: ignore[arg-type]
    )


class Body(BaseModel):
    text: str


def with_more_routes(app: FastAPI) -> FastAPI:
    """Routes as they will come: with bodies, slow ones, and ones with defects."""

    @app.post("/body")
    async def body(body: Body) -> int:
        return len(body.text)

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.get("/defect/{name}")
    async def defect(name: str) -> None:
        raise ValueError(name)

    @app.get("/storage")
    async def storage() -> None:
        raise StorageUnavailable("content: locked")

    return app


@pytest.fixture
def lines() -> Lines:
    stream = Lines()
    logs.configure("json", "debug", stream, strict=True)
    return stream


@pytest.fixture
async def client(lines: Lines, health: Health, metrics: Metrics, linking: Linking) -> AsyncIterator[httpx2.AsyncClient]:
    app = with_more_routes(create_app(edge(health, metrics, linking, limits=LIMITS)))
    async with serving(app) as client:
        yield client


def assert_problem(response: httpx2.Response, status: int, code: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert (content["status"], content["code"]) == (status, code)
    assert content["title"]


async def test_health(client: httpx2.AsyncClient, health: Health) -> None:
    live = await client.get("/livez")
    assert (live.status_code, live.json()) == (200, {"status": "ok", "checks": {"loop": "ok"}})
    unready = await client.get("/readyz")
    assert (unready.status_code, unready.json()) == (503, {"status": "failing", "checks": {"database": "missing"}})
    health.set("database", good=True)
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok"})
    assert ready.headers["cache-control"] == "no-store"
    assert "server" not in ready.headers


async def test_metrics(client: httpx2.AsyncClient, metrics: Metrics) -> None:
    metrics.tickets_opened(4)
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "ingestd_tickets_total 4.0" in response.text


async def test_metrics_can_be_off(health: Health, linking: Linking) -> None:
    async with serving(create_app(edge(health, None, linking))) as client:
        assert_problem(await client.get("/metrics"), 404, "not_found")


async def test_errors_are_problems_that_repeat_nothing(client: httpx2.AsyncClient, lines: Lines) -> None:
    assert_problem(await client.get("/anna@example.com?code=anna"), 404, "not_found")
    assert_problem(await client.get("/livez/?code=anna"), 404, "not_found")
    wrong = await client.post("/livez")
    assert_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"
    assert_problem(await client.get("/defect/anna@example.com"), 500, "internal")
    unavailable = await client.get("/storage")
    assert_problem(unavailable, 503, "unavailable")
    assert unavailable.headers["retry-after"] == "5"
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert_problem(await client.get(path), 404, "not_found")
    assert "anna" not in lines.getvalue()
    errors = [event for event in lines.events() if event["event"] == "library.message"]
    assert [(event["logger"], event["error"]) for event in errors] == [("uvicorn.error", "ValueError")]


async def test_requests_are_logged_by_route(client: httpx2.AsyncClient, lines: Lines) -> None:
    structlog.contextvars.clear_contextvars()
    await client.get("/livez?name=anna")
    await client.get("/defect/anna")
    await client.request("ANNA", "/nowhere/anna")
    seen = [event for event in lines.events() if event["event"] == "http.request"]
    assert [(e["level"], e["method"], e["route"], e["status_code"]) for e in seen] == [
        ("debug", "get", "/livez", 200),
        ("info", "get", "/defect/{name}", 500),
        ("info", "other", None, 404),
    ]
    assert all(event["duration_seconds"] >= 0 for event in seen)
    assert not re.search("anna", lines.getvalue(), re.IGNORECASE)


async def test_sizes_are_limited(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/body", json={"text": "x" * 900})).json() == 900
    assert_problem(await client.post("/body", json={"text": "x" * 1000}), 413, "body_too_large")
    assert_problem(await client.get("/livez?" + "x" * 501), 414, "query_too_long")
    assert_problem(await client.get("/" + "x" * 2048), 414, "query_too_long")
    assert_problem(await client.get("/livez", headers={"x-long": "x" * 2000}), 431, "headers_too_large")


@pytest.mark.parametrize("path", ["/body", "/stream"])
async def test_a_body_without_length_is_counted(client: httpx2.AsyncClient, path: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    response = await client.post(path, content=pieces(), headers={"content-type": "application/json"})
    assert_problem(response, 413, "body_too_large")


async def test_a_slow_request_ends(client: httpx2.AsyncClient) -> None:
    assert_problem(await client.get("/slow"), 504, "timeout")
    assert (await client.get("/livez")).status_code == 200


def test_fastapis_telemetry_stays_off(
    monkeypatch: pytest.MonkeyPatch, health: Health, metrics: Metrics, linking: Linking
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example.com")
    app = create_app(edge(health, metrics, linking))
    assert not app._native_telemetry.enabled()
    switches = ["tracing", "metrics", "logs", "operation_spans", "auto_configure"]
    assert app._telemetry.items() >= dict.fromkeys(switches, False).items()
