"""A host of mailboxes on this machine that open by OAuth and by a password, filled with the corpus as it comes in."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.corpus import corpus
from bench.provider import user
from bench.workshop import Unavailable
from ingestd.demo.authserver import AuthServer, Client
from tests.servers.certs import Certificates, certificates_in
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import CLIENT_ID, CLIENT_SECRET, introspection_url
from tests.servers.postfix import Postfix
from tests.servers.process import ServerMissingError, private_folder
from tests.story.house import Servers

PASSWORD = "not-a-secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class MailHost:
    """A Dovecot, and what goes with it."""

    servers: Servers
    certificates: Certificates
    users: Sequence[str]

    @property
    def dovecot(self) -> Dovecot:
        return self.servers.dovecot

    def fill(self, mails: int) -> None:
        """Let each mailbox hold its share of the corpus, and nothing else; delivered just now, and indexed."""
        share = mails // len(self.users)
        for number, address in enumerate(self.users):
            self.put(address, (mail.raw for mail in corpus(share, first=number * share)))

    def put(self, address: str, mails: Iterable[bytes]) -> None:
        """Let a mailbox hold these mails, and nothing else."""
        self._index(address)
        folder = self.dovecot.home / "mail" / address
        for old in (*folder.glob("new/*"), *folder.glob("cur/*")):
            old.unlink()
        owner, at = (folder / "cur").stat(), int(time.time())
        for number, raw in enumerate(mails):
            name = f"{at}.M{number:06}P1.bench"
            file = folder / "tmp" / name
            file.write_bytes(raw.replace(b"\r\n", b"\n"))
            os.chown(file, owner.st_uid, owner.st_gid)
            file.rename(folder / "new" / name)
        self._index(address)

    def _index(self, address: str) -> None:
        self.dovecot.doveadm("mailbox", "status", "-u", address, "messages", "INBOX")


@contextlib.contextmanager
def running_mailhost(mailboxes: int = 1) -> Iterator[MailHost]:
    """Start the servers, stop them at the end. Raises Unavailable where one is not installed."""
    users = [user(number) for number in range(1, mailboxes + 1)]
    try:
        with contextlib.ExitStack() as stack:
            folder = private_folder("bench-certs")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            certificates = certificates_in(folder)
            auth = AuthServer(users, [Client(CLIENT_ID, CLIENT_SECRET, ())])
            auth.start()
            stack.callback(auth.stop)
            dovecot = Dovecot(certificates, introspection_url(auth), password=PASSWORD)
            postfix = Postfix(certificates, dovecot, users)
            for server in (dovecot, postfix):
                stack.callback(server.destroy)
                server.start()
            yield MailHost(Servers(dovecot, postfix, auth, certificates), certificates, users)
    except ServerMissingError as error:
        raise Unavailable(f"{error}; `make servers` installs it") from error
