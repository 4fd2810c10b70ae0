"""The OpenAPI document (3.1): FastAPI's, with our errors in place of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ingestd.api.problems import CODES, MEDIA_TYPE

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_PRECONDITION_FAILED: Final = 412
"""Of what takes an If-Match."""
_EVERYWHERE: Final = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 504)
_SOMEWHERE: Final = (410,)
_DESCRIPTION: Final = """\
The mail channel of a helpdesk. `docs/integrate.md` walks through an afternoon with it.

Every request carries a token: `Authorization: Bearer …`. Errors are problem details (RFC 9457); decide by
their `code`, never by their text. Every write takes an `Idempotency-Key`. Lists are paged by `after` and `limit`.
What belongs to another account is answered as if it were not there.
"""
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error, as RFC 9457 spells it.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(CODES), "description": "What clients decide by."},
        "detail": {"type": "string", "description": "What was wrong with this request, for people."},
        "reason": {"type": "string", "description": "With the code `reply_refused`: which limit, as a fixed word."},
        "errors": {
            "type": "array",
            "description": "With the code `invalid`: each mistake.",
            "items": {
                "type": "object",
                "required": ["where", "message"],
                "properties": {"where": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, the same one for the same version of ingestd."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes, description=_DESCRIPTION)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["Problem"] = _PROBLEM
        everything = (*_EVERYWHERE, *_SOMEWHERE, _PRECONDITION_FAILED)
        made["components"]["responses"] = {str(status): _response(status) for status in everything}
        for operation in _operations(made):
            conditional = any(one["name"] == "If-Match" for one in operation.get("parameters", ()))
            operation["responses"] |= {
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in (*_EVERYWHERE, *([_PRECONDITION_FAILED] if conditional else []))
            }
        app.openapi_schema = made
    return app.openapi_schema


def _response(status: int) -> dict[str, Any]:
    meanings = "\n".join(f"- `{code}`: {text}" for code, (of, text) in CODES.items() if of == status)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": meanings, "content": {MEDIA_TYPE: {"schema": schema}}}


def _operations(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in made["paths"].values():
        for method, operation in path.items():
            if method in _METHODS:
                yield operation
