"""The HTTP side as an ASGI app: routes, and no logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ingestd.api.edge import Edge, LinkOutcome
from ingestd.api.limits import LimitsMiddleware
from ingestd.api.linking import PAGE_PATHS, linking_routes
from ingestd.api.pages import page
from ingestd.api.problems import SECURITY_HEADERS, problem
from ingestd.telemetry.metrics import CONTENT_TYPE
from storage.errors import StorageUnavailable

# After a 413 the rest of the body is still on its way: there is no next request on this connection.
_ERROR_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {405: {"Allow": "GET"}, 413: {"Connection": "close"}}


def create_app(deps: Edge) -> FastAPI:
    """Return the app. Has no state of its own: everything is in `deps`."""
    app = FastAPI(
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
    app.add_middleware(LimitsMiddleware, limits=deps.limits)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StorageUnavailable, _unavailable)
    app.add_exception_handler(Exception, _defect)
    _add_health(app, deps)
    if deps.metrics is not None:
        _add_metrics(app, deps.metrics)
    app.include_router(linking_routes(deps))
    return app


def _add_health(app: FastAPI, deps: Edge) -> None:
    @app.get("/livez")
    async def livez() -> Response:
        return _health(*deps.health.livez())

    @app.get("/readyz")
    async def readyz() -> Response:
        return _health(*deps.health.readyz())


def _add_metrics(app: FastAPI, render: Callable[[], bytes]) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(render(), headers={**SECURITY_HEADERS, "Content-Type": CONTENT_TYPE})


def _health(good: bool, details: Mapping[str, str]) -> Response:
    content = {"status": "ok" if good else "failing", "checks": dict(details)}
    return JSONResponse(content, status_code=200 if good else 503, headers=dict(SECURITY_HEADERS))


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    # `detail` is not repeated: a library may have put the client's input into it.
    return problem(status, headers=_ERROR_HEADERS.get(status))


async def _unavailable(_request: Request, _error: Exception) -> Response:
    return problem(503, headers={"Retry-After": "5"})


async def _defect(request: Request, _error: Exception) -> Response:
    if request.url.path in PAGE_PATHS:
        return page(LinkOutcome.UNAVAILABLE)
    return problem(500)
