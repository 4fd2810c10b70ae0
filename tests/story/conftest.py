"""Fixtures of the stories: the real servers, and mailboxes that no other test uses."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from ingestd.demo.authserver import AuthServer
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import USERS, auth_server, certificates, dovecot, postfix
from tests.servers.graph import graph
from tests.servers.postfix import Postfix
from tests.story.house import Servers

__all__ = ["auth_server", "certificates", "dovecot", "graph", "postfix"]

_users = itertools.cycle(USERS)


@pytest.fixture(scope="session")
def servers(dovecot: Dovecot, postfix: Postfix, auth_server: AuthServer, certificates: Certificates) -> Servers:
    return Servers(dovecot, postfix, auth_server, certificates)


@pytest.fixture(scope="session")
def new_user() -> Callable[[], str]:
    """Gives mailboxes that no other test uses."""
    return lambda: next(_users)
