"""A parser process that does what hostile messages wish for. Test-only: started by test_parser.py through `command`."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from ingestd.inbound import parser_main
from ingestd.mail.transform import Transformed, transform


def _tried(action: str) -> str:
    try:
        if action == "socket":
            socket.socket()
        elif action == "connect":
            socket.create_connection(("127.0.0.1", 9))
        elif action == "write":
            Path("/dev/null").write_text("x")
        elif action == "subprocess":
            subprocess.run(["/bin/true"], check=False)
        elif action == "exec":
            os.execv("/bin/true", ["true"])
        elif action == "fork":
            os.fork()
    except parser_main.ForbiddenError:
        return "forbidden"
    return "allowed"


def work(raw: bytes) -> Transformed:
    if found := re.search(rb"^X-Wait-For: (\S+)\r$", raw, re.MULTILINE):
        while not Path(found[1].decode()).exists():
            time.sleep(0.01)
    command = raw.partition(b"\r\n")[0].decode("ascii", "replace")
    if command == "sleep":
        time.sleep(60)
    elif command == "memory":
        return transform(bytes(4 * 1024 * 1024 * 1024))
    elif command == "crash":
        raise ValueError(command)
    elif command == "abort":
        os.abort()
    elif command == "environment":
        return transform(f"Subject: {sorted(os.environ)} {Path.cwd()}\r\n\r\n".encode())
    elif command == "limits":
        limits = [resource.getrlimit(one)[0] for one in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)]
        return transform(f"Subject: {limits}\r\n\r\n".encode())
    elif command.startswith("try "):
        return transform(f"Subject: {_tried(command[4:])}\r\n\r\n".encode())
    return transform(raw)


if __name__ == "__main__":
    parser_main.main(sys.argv[1:], work)
