"""What a Postfix asks before it says yes (`check_policy_service`): tests refuse at an exact stage, on a real server."""

from __future__ import annotations

import socketserver
import threading
from collections import deque
from typing import Literal

Stage = Literal["MAIL", "RCPT", "DATA", "END-OF-MESSAGE"]


class Policy:
    """Answers in a thread of its own. Everything is allowed that no rule is about."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], deque[str]] = {}
        self._always: dict[tuple[str, str], str] = {}
        policy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked: dict[str, str] = {}
                for line in self.rfile:
                    name, equals, value = line.decode("utf-8", "replace").rstrip("\n").partition("=")
                    if equals:
                        asked[name] = value
                    elif asked:
                        self.wfile.write(f"action={policy._answer(asked)}\n\n".encode())
                        asked = {}

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, stage: Stage, who: str, *answers: str) -> None:
        """Let the next questions at this stage about a sender (or, at RCPT, a recipient) be answered so."""
        self._answers[stage, who] = deque(answers)

    def always(self, stage: Stage, who: str, answer: str) -> None:
        self._always[stage, who] = answer

    def _answer(self, asked: dict[str, str]) -> str:
        stage = asked.get("protocol_state", "")
        for who in (asked.get("recipient", ""), asked.get("sender", "")):
            answers = self._answers.get((stage, who))
            if answers:
                return answers.popleft()
            if (stage, who) in self._always:
                return self._always[stage, who]
        return "DUNNO"
