"""The servers as session fixtures. In CI a missing server is a failure, elsewhere a skip with its reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import pytest

from ingestd.demo.authserver import AuthServer, Client
from tests.servers.certs import Certificates, certificates_in
from tests.servers.courier import Courier
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.process import ServerMissingError, private_folder

CLIENT_ID, CLIENT_SECRET = "mailserver", "not-a-secret"
USERS = tuple(f"user{number}@example.com" for number in range(300))


def missing(error: ServerMissingError) -> None:
    """Skip or fail the test that wanted the server."""
    if os.environ.get("CI"):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


class Server(Protocol):
    def start(self) -> None: ...

    def destroy(self) -> None: ...


S = TypeVar("S", bound=Server)


def started(make: Callable[[], S]) -> Iterator[S]:
    """Make a server and start it, for a fixture; it is destroyed at the end."""
    try:
        server = make()
    except ServerMissingError as error:
        missing(error)
        raise
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    folder = private_folder("certs")
    yield certificates_in(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def auth_server() -> Iterator[AuthServer]:
    server = AuthServer(USERS, [Client(CLIENT_ID, CLIENT_SECRET, ())])
    server.start()
    yield server
    server.stop()


def introspection_url(server: AuthServer) -> str:
    return server.issuer.replace("http://", f"http://{CLIENT_ID}:{CLIENT_SECRET}@") + "/introspect"


@pytest.fixture(scope="session")
def dovecot(certificates: Certificates, auth_server: AuthServer) -> Iterator[Dovecot]:
    yield from started(lambda: Dovecot(certificates, introspection_url(auth_server)))


@pytest.fixture(scope="session")
def plain_dovecot(certificates: Certificates, auth_server: AuthServer) -> Iterator[Dovecot]:
    """A poorer server: XOAUTH2 only, no IDLE, no MOVE, no SPECIAL-USE, no folders made beforehand."""
    yield from started(
        lambda: Dovecot(
            certificates,
            introspection_url(auth_server),
            mechanisms=("xoauth2",),
            special_use=False,
            capability="IMAP4rev1 LITERAL+ UIDPLUS",
        )
    )


@pytest.fixture(scope="session")
def courier(certificates: Certificates, auth_server: AuthServer) -> Iterator[Courier]:
    """A poor server of another make: no IDLE, MOVE, SPECIAL-USE, UIDNEXT; all folders below `INBOX.`."""

    def token_check(user: str, token: str) -> bool:
        found = auth_server.check(token)
        return found is not None and found.address == user

    yield from started(lambda: Courier(certificates, token_check))


@pytest.fixture(scope="session")
def postfix(certificates: Certificates, dovecot: Dovecot) -> Iterator[Postfix]:
    yield from started(lambda: Postfix(certificates, dovecot, USERS))
