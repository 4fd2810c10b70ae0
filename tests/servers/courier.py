"""A private Courier-IMAP: no MOVE, no SPECIAL-USE, no IDLE, no UIDNEXT, all folders below `INBOX.`.

Courier has no OAuth. A front of ours speaks TLS, greets, and takes XOAUTH2; behind it runs one `imapd` a connection,
which believes whoever starts it. So it needs no root, no daemon and no system configuration.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imapclient import IMAPClient

from tests.servers.certs import Certificates
from tests.servers.process import ServerMissingError, private_folder

CAPABILITY = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA"
_UNPACKED = Path(sys.prefix, "share", "courier")

TokenCheck = Callable[[str, str], bool]
"""Whether a token opens a user's mailbox."""


class Courier:
    """One instance, with the helpers that the tests use of Dovecot's, too."""

    def __init__(self, certificates: Certificates, token_check: TokenCheck, *, capability: str = CAPABILITY) -> None:
        self._program, libraries = _find_program()
        self.home = private_folder("courier")
        self.capability = capability
        self.token_check = token_check
        # imapd looks for it for more than a second where it does not run.
        self._gamin: subprocess.Popen[bytes] | None = None
        self.environment = {
            "GAM_CLIENT_ID": self.home.name,
            "IMAP_CAPABILITY": capability,
            "IMAP_KEYWORDS": "1",
            "IMAP_TRASHFOLDERNAME": "Trash",
            "PATH": os.defpath,
            **({"LD_LIBRARY_PATH": libraries} if libraries else {}),
        }
        self._running: dict[str, set[subprocess.Popen[bytes]]] = {}
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.cert_file, certificates.key_file)
        self._server = _Front(self, context)
        self.port_tls: int = self._server.server_address[1]

    def start(self) -> None:
        server = next(_UNPACKED.rglob("gam_server"), None)
        if server is not None:
            quiet = subprocess.DEVNULL
            self._gamin = subprocess.Popen(
                [server, "--notimeout", self.home.name],
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                env=self.environment,
            )
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def destroy(self) -> None:
        self._server.shutdown()
        for user in tuple(self._running):
            self.kick(user)
        self._server.server_close()
        if self._gamin is not None:
            self._gamin.kill()
            self._gamin.wait(10)
        shutil.rmtree(self.home, ignore_errors=True)

    def name_of(self, folder: str) -> str:
        return folder if folder == "INBOX" else "INBOX." + folder.replace("/", ".")

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> None:
        with self._client(user) as client:
            client.append(self.name_of(folder), raw)

    def mails(self, user: str, folder: str = "INBOX") -> list[bytes]:
        return [row[b"BODY[]"] for row in self._fetch(user, folder, "BODY.PEEK[]")]

    def flags(self, user: str, folder: str = "INBOX") -> list[str]:
        return [b" ".join(row[b"FLAGS"]).decode() for row in self._fetch(user, folder, "FLAGS")]

    def folders(self, user: str) -> list[str]:
        with self._client(user) as client:
            return [name for _, _, name in client.list_folders()]

    def create_folder(self, user: str, folder: str) -> None:
        with self._client(user) as client:
            client.create_folder(self.name_of(folder))

    def delete_folder(self, user: str, folder: str) -> None:
        with self._client(user) as client:
            client.delete_folder(self.name_of(folder))

    def rename_folder(self, user: str, folder: str, to: str) -> None:
        with self._client(user) as client:
            client.rename_folder(self.name_of(folder), self.name_of(to))

    def expunge(self, user: str, folder: str, uid: int) -> None:
        with self._client(user) as client:
            client.select_folder(self.name_of(folder))
            client.delete_messages([uid])
            client.uid_expunge([uid])

    def kick(self, user: str) -> None:
        for process in tuple(self._running.get(user, ())):
            process.kill()

    def connections(self, user: str) -> int:
        return len(self._running.get(user, ()))

    @contextlib.contextmanager
    def serving(self, user: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run an imapd for a user who has authenticated."""
        process = subprocess.Popen(
            [self._program, "Maildir"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._mail_folder(user),
            env={**self.environment, "AUTHENTICATED": user},
        )
        running = self._running.setdefault(user, set())
        running.add(process)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)
            running.discard(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _mail_folder(self, user: str) -> Path:
        for name in ("cur", "new", "tmp"):
            (self.home / user / "Maildir" / name).mkdir(parents=True, exist_ok=True)
        return self.home / user

    @contextlib.contextmanager
    def _client(self, user: str) -> Iterator[IMAPClient]:
        """A client on a pipe, without front and token."""
        words = [f"{name}={value}" for name, value in {**self.environment, "AUTHENTICATED": user}.items()]
        command = shlex.join(["env", "-i", f"--chdir={self._mail_folder(user)}", *words, self._program, "Maildir"])
        client = _PipeClient(f"{command} 2>/dev/null", stream=True, ssl=False)
        try:
            yield client
        finally:
            client.logout()

    def _fetch(self, user: str, folder: str, item: str) -> list[dict[bytes, Any]]:
        with self._client(user) as client:
            client.select_folder(self.name_of(folder), readonly=True)
            rows = client.fetch(client.search(), [item])
            return [dict(rows[uid]) for uid in sorted(rows)]


class _PipeClient(IMAPClient):
    def _set_read_timeout(self) -> None:
        """A pipe has none."""


class _Front(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, courier: Courier, context: ssl.SSLContext) -> None:
        self.courier = courier
        self.context = context
        super().__init__(("127.0.0.1", 0), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Connection(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        with self.server.context.wrap_socket(self.request, server_side=True) as tls:
            # Unbuffered for writing, and for reading until imapd takes over: clients wait for each answer.
            stream = tls.makefile("rwb", buffering=0)
            user = self._log_in(stream)
            if user is not None:
                self._serve(tls, user)

    def _log_in(self, stream: Any) -> str | None:
        courier = self.server.courier
        stream.write(b"* OK Courier-IMAP ready.\r\n")
        while line := stream.readline(65536):
            words = line.split()
            if len(words) >= 2 and words[1].upper() == b"CAPABILITY":
                stream.write(b"* CAPABILITY %s AUTH=XOAUTH2\r\n" % courier.capability.encode())
                stream.write(words[0] + b" OK CAPABILITY completed\r\n")
            elif len(words) == 3 and [word.upper() for word in words[1:]] == [b"AUTHENTICATE", b"XOAUTH2"]:
                stream.write(b"+ \r\n")
                user, token = _credentials(stream.readline(65536))
                if courier.token_check(user, token):
                    stream.write(words[0] + b" OK LOGIN Ok.\r\n")
                    return user
                stream.write(words[0] + b" NO Login failed.\r\n")
            else:
                stream.write((words or [b"*"])[0] + b" NO Error in IMAP command received by server.\r\n")
        return None

    def _serve(self, tls: ssl.SSLSocket, user: str) -> None:
        with self.server.courier.serving(user) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            while not process.stdout.readline().startswith(b"* PREAUTH"):
                pass
            back = threading.Thread(target=_pump_back, args=(process, tls), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := tls.recv(65536):
                    process.stdin.write(data)
                    process.stdin.flush()
            process.kill()
            back.join(10)


def _pump_back(process: subprocess.Popen[bytes], tls: ssl.SSLSocket) -> None:
    assert process.stdout is not None
    with contextlib.suppress(OSError, ValueError):
        while data := os.read(process.stdout.fileno(), 65536):
            tls.sendall(data)
    with contextlib.suppress(OSError):
        # Wakes the thread that reads from the client.
        socket.socket.shutdown(tls, socket.SHUT_RDWR)


def _credentials(line: bytes) -> tuple[str, str]:
    """Read XOAUTH2's first message: user=…^Aauth=Bearer …^A^A."""
    fields = dict(part.split("=", 1) for part in base64.b64decode(line).decode().split("\x01") if "=" in part)
    return fields["user"], fields["auth"].removeprefix("Bearer ")


def _find_program() -> tuple[str, str | None]:
    """Return imapd and where its libraries are: unpacked by the set-up, or installed."""
    if (program := _UNPACKED / "usr/bin/imapd").is_file():
        places = {str(path.parent) for path in (_UNPACKED / "usr/lib").rglob("*.so.*")}
        return str(program), ":".join(sorted(places))
    if Path("/usr/lib/courier").is_dir() and (installed := shutil.which("imapd")):
        return installed, None
    raise ServerMissingError("courier-imap is not there (make servers unpacks it)")
