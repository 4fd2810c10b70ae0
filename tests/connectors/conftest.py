"""Fixtures of the connector tests: mailboxes on the real servers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.egress import EgressGuard
from connectors.gmail_mailbox import gmail_tools
from connectors.gmail_session import GmailTools
from connectors.imap_session import ImapTools
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer
from ingestd.demo.gmailserver import GmailServer
from tests.connectors.gmail_box import GmailMailbox
from tests.connectors.mailbox import Mailbox
from tests.servers.certs import Certificates
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import USERS, auth_server, certificates, courier, dovecot, plain_dovecot, postfix
from tests.servers.postfix import Postfix

__all__ = ["auth_server", "certificates", "courier", "dovecot", "plain_dovecot", "postfix"]

SUBSCRIPTION = "projects/demo/subscriptions/gmail"
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


@pytest.fixture(scope="session")
def gmail(auth_server: AuthServer) -> Iterator[GmailServer]:
    """Google's API, as far as it is known; tests that make it fail have users of their own, but share its faults."""
    server = GmailServer(auth_server.check, subscriptions=(SUBSCRIPTION,))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def gmail_tools_of_test(gmail: GmailServer) -> Iterator[GmailTools]:
    guard = EgressGuard([("127.0.0.1", gmail.port)])
    with ThreadPoolExecutor(8) as executor:
        yield gmail_tools(
            ssl_context=client_context(),
            guard=guard,
            executor=executor,
            root_url=gmail.root,
            units_per_user_minute=10_000_000,
            units_per_project_minute=100_000_000,
        )


@pytest.fixture
async def gmail_mailbox(
    user: str, gmail_tools_of_test: GmailTools, gmail: GmailServer, auth_server: AuthServer
) -> AsyncIterator[GmailMailbox]:
    gmail.faults.clear()
    mailbox = GmailMailbox(user, gmail_tools_of_test, gmail, auth_server)
    yield mailbox
    await mailbox.close()


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
