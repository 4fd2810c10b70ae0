"""A helpdesk in one file: it is told of events by a webhook, shows tickets in a browser, and replies.

It shows how to work with ingestd, and no more: it keeps tickets in memory, and has no users.

    pip install standardwebhooks
    export INGESTD_URL=http://127.0.0.1:8025 INGESTD_ACCOUNT=… INGESTD_TOKEN=… INGESTD_WEBHOOK_SECRET=whsec_…
    python helpdesk.py

docs/integrate.md tells where these come from. It listens on 127.0.0.1:8080, or on HELPDESK_PORT.
"""

from __future__ import annotations

import html
import json
import os
import secrets
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1024 * 1024


class Ingestd:
    """The API of one account."""

    def __init__(self, url: str, account: str, token: str) -> None:
        self._base = f"{url}/v1/accounts/{account}"
        self._token = token

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any], key: str) -> Any:
        """Ask for something under an idempotency key: asked again, it is still done once."""
        return self._ask("POST", path, body, {"Idempotency-Key": key})

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, more: dict[str, str] | None = None
    ) -> Any:
        request = urllib.request.Request(
            self._base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(more or {})},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


class Helpdesk:
    """The tickets that this helpdesk knows, by their numbers."""

    def __init__(self, ingestd: Ingestd) -> None:
        self.ingestd = ingestd
        self._tickets: dict[int, dict[str, Any]] = {}
        self._seen: dict[str, None] = {}
        self._lock = threading.Lock()

    def load(self) -> None:
        """Read all tickets: what was there before the first webhook."""
        path = "/tickets?limit=200"
        while path:
            page = self.ingestd.get(path)
            with self._lock:
                self._tickets |= {one["number"]: one for one in page["items"]}
            path = f"/tickets?limit=200&after={urllib.parse.quote(page['next'])}" if page["next"] else ""

    def tickets(self) -> list[dict[str, Any]]:
        with self._lock:
            return sorted(self._tickets.values(), key=lambda one: one["updated_at"], reverse=True)

    def messages(self, number: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.ingestd.get(f"/tickets/{number}/messages")["items"]
        return messages

    def reply(self, number: int, text: str, key: str) -> None:
        self.ingestd.post(f"/tickets/{number}/replies", {"text": text}, key)

    def hear(self, webhook_id: str, event: dict[str, Any]) -> None:
        """Take an event. It may come twice; it is a hint to read again, so that is all there is to do."""
        with self._lock:
            if webhook_id in self._seen:
                return
        data = event["data"]
        if event["type"] == "mailbox.disconnected":
            # What we hold of this mailbox must go: nobody may read it any more.
            with self._lock:
                self._tickets = {n: one for n, one in self._tickets.items() if one["mailbox_id"] != data["mailbox_id"]}
        elif data.get("ticket_number") is not None:
            self._read_again(data["ticket_number"])
        with self._lock:
            # Only now: had it failed, it would be told again.
            self._seen[webhook_id] = None
            while len(self._seen) > 10_000:
                del self._seen[next(iter(self._seen))]

    def _read_again(self, number: int) -> None:
        try:
            ticket = self.ingestd.get(f"/tickets/{number}")
        except urllib.error.HTTPError as error:
            if error.code != 404:  # its mailbox was disconnected meanwhile
                raise
            with self._lock:
                self._tickets.pop(number, None)
            return
        with self._lock:
            self._tickets[number] = ticket


class Handler(BaseHTTPRequestHandler):
    helpdesk: Helpdesk
    webhook: Webhook

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path == "/":
            self._answer(200, self._list())
        elif path.startswith("/tickets/") and path[9:].isdigit():
            self._answer(200, self._ticket(int(path[9:])))
        else:
            self._answer(404, "<p>There is nothing here.</p>")

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > BODY_BYTES_MAX:
            self._answer(413, "<p>Too much.</p>")
            return
        body = self.rfile.read(size)
        if self.path == "/webhook":
            self._hear(body)
        elif self.path.startswith("/tickets/") and self.path[9:].isdigit():
            form = urllib.parse.parse_qs(body.decode())
            self.helpdesk.reply(int(self.path[9:]), form["text"][0], form["key"][0])
            self.send_response(303)
            self.send_header("Location", self.path)
            self.end_headers()
        else:
            self._answer(404, "<p>There is nothing here.</p>")

    def _hear(self, body: bytes) -> None:
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self._answer(401, "<p>Not signed by whom we know.</p>")
            return
        self.helpdesk.hear(self.headers["webhook-id"], event)
        self._answer(204, "")

    def _list(self) -> str:
        rows = "".join(
            f"<li><a href='/tickets/{one['number']}'>#{one['number']} {html.escape(one['subject'])}</a> "
            f"({one['status']}) from {html.escape(one['requester']['address'])}</li>"
            for one in self.helpdesk.tickets()
        )
        return f"<h1>Tickets</h1><ul>{rows}</ul>"

    def _ticket(self, number: int) -> str:
        said = "".join(
            f"<h3>{'we' if one['direction'] == 'out' else 'they'}, {one['received_at']}</h3>"
            f"<pre>{html.escape(one['new_text'])}</pre>"
            for one in self.helpdesk.messages(number)
        )
        # The key goes out with the form: sent twice by an impatient finger, it is one reply.
        form = (
            f"<form method='post'><input type='hidden' name='key' value='{secrets.token_urlsafe()}'>"
            "<textarea name='text' required></textarea><button>Reply</button></form>"
        )
        return f"<p><a href='/'>All tickets</a></p><h1>#{number}</h1>{said}{form}"

    def _answer(self, status: int, page: str) -> None:
        content = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    env = os.environ
    helpdesk = Helpdesk(Ingestd(env["INGESTD_URL"], env["INGESTD_ACCOUNT"], env["INGESTD_TOKEN"]))
    helpdesk.load()
    Handler.helpdesk, Handler.webhook = helpdesk, Webhook(env["INGESTD_WEBHOOK_SECRET"])
    server = ThreadingHTTPServer(("127.0.0.1", int(env.get("HELPDESK_PORT", "8080"))), Handler)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
