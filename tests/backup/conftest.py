"""Fixtures: filled stores, and empty ones to restore into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stores import StoreUrls, postgres_urls, sqlite_urls

MakeUrls = Callable[[str], StoreUrls]


@pytest.fixture
def make_urls(request: pytest.FixtureRequest, tmp_path: Path) -> MakeUrls:
    """Return a function that gives the addresses of an empty store on an engine."""
    made: list[StoreUrls] = []

    def make(engine: str) -> StoreUrls:
        folder = tmp_path / f"store{len(made)}"
        folder.mkdir()
        if engine == "sqlite":
            urls = sqlite_urls(folder)
        else:
            urls = postgres_urls(request.getfixturevalue("postgres").create_database, folder)
        made.append(urls)
        return urls

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)
