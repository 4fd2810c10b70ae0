"""Fixtures that all tests share. In CI a missing server is a failure, elsewhere a skip that says what to install."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpcore2
import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Engine, event

from ingestd.events.catalogue import EVENTS
from ingestd.garbage import keep_what_was_loaded
from tests import scopes, secrecy
from tests.servers.postgres import PostgresServer, find_binaries
from tests.stores import (
    Stores,
    StoreUrls,
    migrated_once,
    postgres_copies,
    postgres_urls,
    sqlite_copies,
    sqlite_urls,
)

# Time says more about the machine than about the code: what must be quick has a bound of its own.
settings.register_profile("ingestd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ingestd")


def log_plainly() -> None:
    """What tests log is shown where they fail. structlog's own default draws each traceback with rich: 0.2 s each."""
    structlog.reset_defaults()
    *others, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, secrecy.noted, renderer])


log_plainly()
scopes.install()
secrecy.install()

# Each HTTP client would read all certificate authorities anew, 37 ms each, and the tests' servers are known to none.
httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)


@event.listens_for(Engine, "before_cursor_execute")
def every_event_is_in_the_catalogue(
    _conn: Connection, _cursor: object, statement: str, _parameters: object, context: Any, _many: bool
) -> None:
    """Look at what all tests write to the log; a type can be made of parts that no look at the sources would find."""
    if statement.startswith("INSERT INTO events "):
        unknown = {row["type"] for row in context.compiled_parameters} - set(EVENTS)
        assert not unknown, f"{unknown} is not in the catalogue of events"


def missing(what: str, package: str) -> None:
    """Fail in CI, skip elsewhere."""
    text = f"{what} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


SLOW_FIRST: Final = tuple(
    Path(__file__).parent / name
    for name in (
        *("crash", "demo", "story", "upgrade", "privacy", "backup", "verify", "inbound", "outbound", "connectors"),
        *("bench", "events", "api"),
    )
)
"""Folders whose files take long: begun last, one of them would be waited for alone."""


def pytest_collection_finish() -> None:
    keep_what_was_loaded()  # thousands of tests among it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, one in enumerate(SLOW_FIRST) if item.path.is_relative_to(one)), 99))
    for item in items:
        values = getattr(item, "callspec", None)
        if item.get_closest_marker("postgresql_is_long") and values and "postgresql" in values.params.values():
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """When all that a test started has ended: nothing personal is in what it logged."""
    yield
    secrecy.check()


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
    """Addresses of empty databases: every test that uses them runs on both engines.

    Where the test has `stores`, they are copies of migrated ones: migrating took longer than most tests.
    """
    migrated = "stores" in request.fixturenames
    if request.param == "sqlite":
        if not migrated:
            return sqlite_urls(tmp_path)
        return sqlite_copies(request.getfixturevalue("sqlite_migrated"), tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    if not migrated:
        return postgres_urls(server.create_database, tmp_path)
    return postgres_copies(server, request.getfixturevalue("postgres_migrated"), tmp_path)


@pytest.fixture(scope="session")
def sqlite_migrated(tmp_path_factory: pytest.TempPathFactory) -> StoreUrls:
    return migrated_once(sqlite_urls(tmp_path_factory.mktemp("migrated")))


@pytest.fixture(scope="session")
def postgres_migrated(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> StoreUrls:
    return migrated_once(postgres_urls(postgres.create_database, tmp_path_factory.mktemp("migrated")))


@pytest.fixture
async def stores(store_urls: StoreUrls) -> AsyncIterator[Stores]:
    opened = Stores.connect(store_urls)
    yield opened
    await opened.close()
