"""The document that engineers read: published as the daemon serves it, whole, and with an example of each object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestd.api.reference import FILE, published
from tests.api.desk import api_desk
from tests.office import Office
from tests.stores import Stores


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return made


def test_the_published_one_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == published(), "run: python -m ingestd.api.reference"


async def test_the_daemon_serves_the_same(stores: Stores, document: dict[str, Any]) -> None:
    async with api_desk(await Office.open(stores)) as desk:
        served = await desk.client.get("/v1/openapi.json")
        assert served.json() == document


def test_every_operation_says_what_it_does_and_how_it_fails(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len(operations) >= 50
    for operation in operations:
        assert operation["summary"]
        assert operation["tags"]
        assert {"401", "404", "422", "429", "503"} <= set(operation["responses"])
        assert any(status.startswith("2") for status in operation["responses"])


def test_no_schema_is_left_open(document: dict[str, Any]) -> None:
    """Bodies that are taken refuse what they do not know; strings that are taken have an end."""
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert document["components"]["schemas"][name]["additionalProperties"] is False, name
