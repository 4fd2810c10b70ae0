"""A mail provider on this machine: the tests' Dovecot and Postfix, with tokens from the demo's authorization server."""

from __future__ import annotations

import contextlib
import shutil
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.workshop import Unavailable, Workshop
from connectors.base import AccessToken
from connectors.egress import EgressGuard
from connectors.imap_mailbox import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer, Client
from tests.servers.certs import certificates_in
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import CLIENT_ID, CLIENT_SECRET, introspection_url
from tests.servers.postfix import Postfix
from tests.servers.process import ServerMissingError, private_folder

USER = "support1@example.com"
CUSTOMER = "customer1@example.com"
"""The provider delivers to this one, too."""


def user(number: int) -> str:
    """Return the address of a mailbox, from 1 on; the first is USER."""
    return f"support{number}@example.com"


@dataclass(frozen=True, slots=True)
class Provider:
    dovecot: Dovecot
    postfix: Postfix
    auth_server: AuthServer
    ssl_context: ssl.SSLContext
    guard: EgressGuard
    executor: ThreadPoolExecutor

    def token(self, address: str = USER) -> str:
        return self.auth_server.issue(address).access_token

    def token_source(self, address: str = USER) -> _Tokens:
        return _Tokens(self.token(address))

    def access(self, address: str = USER) -> ImapAccess:
        access = ImapAccess(
            login=address,
            imap=ImapEndpoint("localhost", self.dovecot.port_tls),
            smtp=SmtpEndpoint("localhost", self.postfix.port_tls),
        )
        self.guard.permit(access.imap.host, access.imap.port)
        self.guard.permit(access.smtp.host, access.smtp.port)
        return access


class _Tokens:
    """Always the same token: no figure lasts until it expires."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        if rejected is not None:
            raise RuntimeError("the server refused a token")
        return AccessToken(self._token)


@contextlib.contextmanager
def running_provider(workshop: Workshop, mailboxes: int = 1) -> Iterator[Provider]:
    """Start the servers, stop them at the end. Raises Unavailable where one is not installed."""
    try:
        with contextlib.ExitStack() as stack:
            workshop.say("starting mail servers")
            yield _start(stack, [*map(user, range(1, mailboxes + 1)), CUSTOMER])
    except ServerMissingError as error:
        raise Unavailable(f"{error}; `make servers` installs it") from error


def _start(stack: contextlib.ExitStack, users: Sequence[str]) -> Provider:
    folder = private_folder("bench-certs")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    certificates = certificates_in(folder)
    auth_server = AuthServer(users, [Client(CLIENT_ID, CLIENT_SECRET, ())])
    auth_server.start()
    stack.callback(auth_server.stop)
    dovecot = Dovecot(certificates, introspection_url(auth_server))
    stack.callback(dovecot.destroy)
    dovecot.start()
    postfix = Postfix(certificates, dovecot, users)
    stack.callback(postfix.destroy)
    postfix.start()
    return Provider(
        dovecot,
        postfix,
        auth_server,
        client_context(certificates.ca_file),
        EgressGuard([]),
        stack.enter_context(ThreadPoolExecutor(4)),
    )
