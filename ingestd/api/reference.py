"""docs/openapi.json, made of the routes: `python -m ingestd.api.reference`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from ingestd.api import v1
from ingestd.api.openapi import document

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def published() -> str:
    """Return the document as it is published; a daemon serves the same."""
    app = FastAPI(title="ingestd", version="1")
    app.include_router(v1.router)
    made: dict[str, Any] = document(app)
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(published(), encoding="utf-8")
