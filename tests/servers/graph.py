"""The fake of Microsoft Graph as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingestd.demo.authserver import AuthServer
from ingestd.demo.graphserver import Bearer, GraphServer
from tests.servers.fixtures import USERS


@pytest.fixture(scope="session")
def graph(auth_server: AuthServer) -> Iterator[GraphServer]:
    """Opened by the tokens of the authorization server."""

    def check(token: str) -> Bearer | None:
        found = auth_server.check(token)
        return Bearer(found.address, found.scopes) if found is not None else None

    server = GraphServer(USERS, check)
    server.start()
    yield server
    server.stop()
