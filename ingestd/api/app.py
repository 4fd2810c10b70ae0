"""The HTTP side as an ASGI app: routes, and no logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from ingestd.api import v1
from ingestd.api.backend import Backend
from ingestd.api.edge import Edge, LinkOutcome
from ingestd.api.limits import LimitsMiddleware
from ingestd.api.linking import PAGE_PATHS, linking_routes
from ingestd.api.notifications import notification_routes
from ingestd.api.openapi import document
from ingestd.api.pages import page
from ingestd.api.problems import SECURITY_HEADERS, problem
from ingestd.api.refusals import add_refusals
from ingestd.telemetry.metrics import CONTENT_TYPE
from storage.errors import StorageUnavailable

# After a 413 the rest of the body is still on its way: there is no next request on this connection.
_ERROR_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {413: {"Connection": "close"}}


def create_app(deps: Edge) -> FastAPI:
    """Return the app. Has no state of its own: everything is in `deps`."""
    app = FastAPI(
        title="ingestd",
        version="1",
        # Served by a route of our own, as it was published.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect to another spelling of a path would repeat the query, code and state included.
        redirect_slashes=False,
        # On by default, FastAPI would hand requests and exceptions, messages included, to any
        # OpenTelemetry provider, and by an environment variable to any host.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    if deps.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(deps.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID"],
            expose_headers=["ETag", "Idempotency-Replayed", "Location", "Retry-After"],
        )
    app.add_middleware(LimitsMiddleware, limits=deps.limits)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StorageUnavailable, _unavailable)
    app.add_exception_handler(Exception, _defect)
    _add_health(app, deps)
    if deps.metrics is not None:
        _add_metrics(app, deps.metrics)
    app.include_router(linking_routes(deps))
    if (notifications := deps.notifications) is not None:
        app.include_router(notification_routes(notifications, per_second_max=deps.notifications_per_second_max))
    if deps.backend is not None:
        _add_api(app, deps.backend)
    return app


def _add_api(app: FastAPI, backend: Backend) -> None:
    app.state.backend = backend
    app.include_router(v1.router)
    add_refusals(app)

    @app.get(f"{v1.PREFIX}/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(document(app), headers=dict(SECURITY_HEADERS))


def _add_health(app: FastAPI, deps: Edge) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return _health(*deps.health.livez())

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        return _health(*deps.health.readyz())


def _add_metrics(app: FastAPI, render: Callable[[], bytes]) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(render(), headers={**SECURITY_HEADERS, "Content-Type": CONTENT_TYPE})


def _health(good: bool, details: Mapping[str, str]) -> Response:
    content = {"status": "ok" if good else "failing", "checks": dict(details)}
    return JSONResponse(content, status_code=200 if good else 503, headers=dict(SECURITY_HEADERS))


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = getattr(error, "headers", None) or {}
    headers = {**_ERROR_HEADERS.get(status, {}), **{name: said[name] for name in ("Allow",) if name in said}}
    # `detail` is not repeated: a library may have put the client's input into it.
    return problem(status, headers=headers)


async def _unavailable(_request: Request, _error: Exception) -> Response:
    return problem(503, headers={"Retry-After": "5"})


async def _defect(request: Request, _error: Exception) -> Response:
    if request.url.path in PAGE_PATHS:
        return page(LinkOutcome.UNAVAILABLE)
    return problem(500)
