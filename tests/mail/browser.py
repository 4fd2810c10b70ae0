"""Debian's Chromium, started headless on pages of ours, with a server that counts what the pages load.

Pages come from one port; every name of `.example` leads to another, on which each connection counts. No other name
can be resolved, so nothing leaves the machine, and nothing that the browser does for itself is counted.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--disable-site-isolation-trials",
    "--renderer-process-limit=1",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--autoplay-policy=no-user-gesture-required",
    "--noerrdialogs",
)
_ASKED = re.compile(rb"v(\d+)\.load\.example")


def find_browser() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Sink:
    """Counts connections, by the host that they ask for: of a request, or of a TLS greeting."""

    def __init__(self) -> None:
        self.connections = 0
        self.asked: list[int] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            data = b""
            with contextlib.suppress(TimeoutError):
                data = connection.recv(65_536)
            found = _ASKED.search(data)
            if found:
                self.asked.append(int(found[1]))
            if data:
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self._socket.close()


@dataclass
class Pages:
    """Serves texts by path. A POST to /report ends the visit; one to /asked is answered with what was asked so far."""

    texts: Mapping[str, str]
    sink: Sink
    report: dict[str, Any] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    """Paths that no page of ours names."""
    reported: threading.Event = field(default_factory=threading.Event)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = pages.texts.get(self.path)
                if text is None and self.path != "/favicon.ico":
                    pages.strays.append(self.path)
                kind = "text/javascript" if self.path.endswith(".js") else "text/html"
                self._answer(404 if text is None else 200, text or "", f"{kind}; charset=utf-8")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                if self.path == "/report":
                    pages.report.update(json.loads(body))
                    pages.reported.set()
                elif self.path != "/asked":
                    pages.strays.append(self.path)
                self._answer(200, json.dumps([pages.sink.connections, pages.strays]), "application/json")

            def _answer(self, status: int, text: str, kind: str) -> None:
                data = text.encode("utf-8", "surrogatepass")
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass(frozen=True)
class Visit:
    """What happened while the browser was on the pages."""

    report: Mapping[str, Any]
    asked: frozenset[int]
    """Numbers of the hosts v….load.example that were asked."""
    strays: tuple[str, ...]


def visit(browser: str, texts: Mapping[str, str], profile: Path, *, seconds: float) -> Visit:
    """Open "/" of the texts and return when the page has reported; TimeoutError if it does not in time."""
    sink = Sink()
    pages = Pages(texts, sink)
    with _serving(pages) as port, contextlib.closing(sink):
        command = [
            browser,
            *_FLAGS,
            f"--user-data-dir={profile}",
            f"--host-resolver-rules=MAP *.example 127.0.0.1:{sink.port},MAP * ~NOTFOUND,EXCLUDE 127.0.0.1",
            f"http://127.0.0.1:{port}/",
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                if not pages.reported.wait(seconds):
                    raise TimeoutError(f"no report after {seconds} s; exit status {process.poll()}")
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
    return Visit(pages.report, frozenset(sink.asked), tuple(pages.strays))


@contextlib.contextmanager
def _serving(pages: Pages) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), pages.handler())
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
