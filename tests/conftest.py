"""Fixtures that all tests share. In CI a missing server is a failure, elsewhere a skip that says what to install."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.postgres import PostgresServer, find_binaries
from tests.stores import Stores, StoreUrls, postgres_urls, sqlite_urls

# Time says more about the machine than about the code: what must be quick has a bound of its own.
settings.register_profile("ingestd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ingestd")


def missing(what: str, package: str) -> None:
    """Fail in CI, skip elsewhere."""
    text = f"{what} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(autouse=True)
def umask_of_its_own() -> Iterator[None]:
    """A command that runs in the tests' process sets the umask: the servers started later must not inherit it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    binaries = find_binaries()
    if binaries is None:
        missing("PostgreSQL", "postgresql")
        return
    server = PostgresServer(binaries)
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_urls(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUrls:
    """Addresses of empty databases: every test that uses them runs on both engines."""
    if request.param == "sqlite":
        return sqlite_urls(tmp_path)
    return postgres_urls(request.getfixturevalue("postgres").create_database, tmp_path)


@pytest.fixture
async def stores(store_urls: StoreUrls) -> AsyncIterator[Stores]:
    opened = await Stores.open(store_urls)
    yield opened
    await opened.close()
