"""Fixtures of the connector tests: mailboxes on the real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.egress import EgressGuard
from connectors.imap_session import ImapTools
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer
from tests.connectors.mailbox import Mailbox
from tests.servers.certs import Certificates
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import USERS, auth_server, certificates, courier, dovecot, plain_dovecot, postfix
from tests.servers.postfix import Postfix

__all__ = ["auth_server", "certificates", "courier", "dovecot", "plain_dovecot", "postfix"]

_users = itertools.cycle(USERS)


@pytest.fixture
def user() -> str:
    """A mailbox that no other test uses."""
    return next(_users)


@pytest.fixture
def tools(certificates: Certificates) -> Iterator[ImapTools]:
    with ThreadPoolExecutor(4) as executor:
        yield ImapTools(client_context(certificates.ca_file), EgressGuard([]), executor)


@pytest.fixture
def mailbox(user: str, tools: ImapTools, dovecot: Dovecot, postfix: Postfix, auth_server: AuthServer) -> Mailbox:
    return Mailbox(user, tools, dovecot, postfix, auth_server)


@pytest.fixture
def plain_mailbox(
    user: str, tools: ImapTools, plain_dovecot: Dovecot, postfix: Postfix, auth_server: AuthServer
) -> Mailbox:
    """On the poorer server; only its IMAP half belongs together."""
    return Mailbox(user, tools, plain_dovecot, postfix, auth_server)


@pytest.fixture
def courier_mailbox(
    user: str, tools: ImapTools, courier: Courier, postfix: Postfix, auth_server: AuthServer
) -> Mailbox:
    """On the server of another make; only its IMAP half belongs together."""
    return Mailbox(user, tools, courier, postfix, auth_server)
