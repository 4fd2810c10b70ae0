"""Fixtures of the tests that take mail in from a real server."""

from __future__ import annotations

from tests.connectors.conftest import mailbox, tools, user
from tests.servers.fixtures import auth_server, certificates, dovecot, postfix

__all__ = ["auth_server", "certificates", "dovecot", "mailbox", "postfix", "tools", "user"]
