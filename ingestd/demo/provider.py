"""The demo's provider with mail servers: authorization server, IMAP, submission and their mailboxes, on loopback.

What it does as a provider does: it refuses tokens that are expired, revoked or
somebody else's; it adds trace headers on delivery; and it files the Sent copy, or not.
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from email import message_from_bytes, policy, utils
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, Self

from ingestd.demo.authserver import AuthServer, Client
from ingestd.demo.certificates import make_certificates
from ingestd.demo.imapserver import DemoImap
from ingestd.demo.local import AUTHSERV_ID, HOST, oauth_settings, server_of
from ingestd.demo.submission import DemoSubmission, Submission

SUBMISSIONS_MAX: Final = 1_000
DEMO_CLIENT: Final = Client("ingestd-demo", "demo-secret", ())


class DemoProvider:
    """A `LocalProvider` with one mailbox for each address.

    `files_sent_copy` says whether submission files a copy in Sent by itself, as
    Gmail does. Ports are chosen by the system unless given; after the start
    they are in `imap_port`, `smtp_port` and in the issuer, `auth.issuer`.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        clients: Sequence[Client] = (DEMO_CLIENT,),
        files_sent_copy: bool = True,
        smtp_tls: Literal["implicit", "starttls"] = "implicit",
        access_token_seconds: float = 3600,
        auto_consent: bool = True,
        directory: Path | None = None,
        auth_port: int = 0,
        imap_port: int = 0,
        smtp_port: int = 0,
    ) -> None:
        self.addresses = tuple(addresses)
        self.files_sent_copy = files_sent_copy
        self.auth = AuthServer(
            self.addresses,
            clients,
            access_token_seconds=access_token_seconds,
            auto_consent=auto_consent,
            port=auth_port,
        )
        self.submissions: deque[Submission] = deque(maxlen=SUBMISSIONS_MAX)
        """What was accepted for sending, oldest first; the last SUBMISSIONS_MAX."""
        self.host = HOST
        self.imap_port = imap_port
        self.smtp_port = smtp_port
        self.smtp_tls = smtp_tls
        self.ca_file = Path()
        """PEM file of the authority that clients must trust; there while it runs."""
        self._directory = directory
        self._imap: DemoImap | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve in this event loop until the block ends. The mailboxes are empty at the start."""
        _silence()
        async with AsyncExitStack() as stack:
            directory = self._directory or Path(stack.enter_context(TemporaryDirectory(prefix="ingestd-demo-")))
            files = make_certificates(directory)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.cert_file, files.key_file)
            self._imap = DemoImap(self.addresses, context, self.auth.check)
            submission = DemoSubmission(
                context, self.auth.check, self.addresses.__contains__, self._accept, tls=self.smtp_tls
            )
            await stack.enter_async_context(self.auth.running())
            await stack.enter_async_context(self._imap.running(self.imap_port))
            await stack.enter_async_context(submission.running(self.smtp_port))
            self.ca_file, self.imap_port, self.smtp_port = files.ca_file, self._imap.port, submission.port
            yield self

    @property
    def described(self) -> str:
        return f"IMAP and submission with TLS on {self.host}"

    @property
    def servers(self) -> frozenset[str]:
        here = {f"{self.host}:{port}" for port in (self.imap_port, self.smtp_port)}
        return frozenset({server_of(self.auth.issuer), *here})

    def settings(self, client: Client) -> dict[str, Any]:
        oauth = {"issuer": self.auth.issuer, "scopes": ["openid", "email", "offline_access", "mail"]}
        return {
            "kind": "generic",
            "imap": {"host": self.host, "port": self.imap_port},
            "smtp": {"host": self.host, "port": self.smtp_port},
            "tls_ca_file": str(self.ca_file),
            "authserv_ids": [AUTHSERV_ID],
            "oauth": oauth_settings(client) | oauth,
        }

    async def deliver(
        self, address: str, raw: bytes, *, folder: str = "INBOX", received_at: datetime | None = None
    ) -> None:
        """Put a message into a mailbox exactly as given, as if it had come in at `received_at` (None: just now).

        Raises KeyError for an unknown address or folder.
        """
        await self._mailboxes.append(address, folder, raw, received_at=received_at)

    async def mails(self, address: str, folder: str = "INBOX") -> list[bytes]:
        """Return a folder's messages, oldest first. Raises KeyError for an unknown address or folder."""
        return await self._mailboxes.messages(address, folder)

    @property
    def _mailboxes(self) -> DemoImap:
        if self._imap is None:
            raise RuntimeError("the provider does not run")
        return self._imap

    async def _accept(self, submission: Submission) -> None:
        self.submissions.append(submission)
        for recipient in submission.recipients:
            await self._mailboxes.append(recipient, "INBOX", _trace(submission, recipient) + submission.content)
        if self.files_sent_copy:
            await self._mailboxes.append(submission.sender, "Sent", submission.content, seen=True)


def _trace(submission: Submission, recipient: str) -> bytes:
    """Return the header lines that a receiving server adds on top (RFC 5321 §4.4, RFC 8601)."""
    header = message_from_bytes(submission.content, policy=policy.compat32)
    _, author = utils.parseaddr(str(header.get("From", "")))
    # The login proves the sender; it proves the author only where they are the same.
    dmarc = "pass" if author == submission.sender else "fail"
    domain = submission.sender.rpartition("@")[2]
    lines = (
        f"Return-Path: <{submission.sender}>",
        f"Delivered-To: {recipient}",
        f"Authentication-Results: {AUTHSERV_ID};",
        f"\tspf=pass smtp.mailfrom={submission.sender};",
        f"\tdmarc={dmarc} header.from={domain}",
        f"Received: from localhost by {AUTHSERV_ID} with ESMTPSA; {utils.formatdate(usegmt=True)}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def _silence() -> None:
    # Both write addresses, aiosmtpd from INFO on, pymap whole sessions with tokens at DEBUG.
    for name in ("mail.log", "pymap"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
