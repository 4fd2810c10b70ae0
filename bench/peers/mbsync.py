"""mbsync (isync), the yardstick of how fast a mailbox can be read: it writes each mail to a file, and no more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.timing import Stopwatch
from bench.workshop import Unavailable

_CHANNEL = """
IMAPStore far{n}
Host localhost
Port {port}
User {user}
Pass {password}
AuthMechs PLAIN
SSLType IMAPS
CertificateFile {ca_file}

MaildirStore near{n}
Path {folder}/{n}/
Inbox {folder}/{n}/inbox

Channel all{n}
Far :far{n}:INBOX
Near :near{n}:
Create Near
Sync Pull New
SyncState *
"""


def mbsync(folder: Path, *, port: int, users: Sequence[str], password: str, ca_file: Path, mails: int) -> float:
    """Pull the INBOX of each of `users` into Maildirs below a new folder; return the seconds that it took.

    Raises Unavailable where it is not installed, RuntimeError where it did not write `mails`.
    """
    program = shutil.which("mbsync")
    if program is None:
        raise Unavailable("mbsync is not installed: apt-get install isync")
    config = folder / "mbsyncrc"
    texts = []
    for number, user in enumerate(users):
        (folder / str(number)).mkdir()
        texts.append(_CHANNEL.format(n=number, port=port, user=user, password=password, ca_file=ca_file, folder=folder))
    config.write_text("\n".join(texts))
    watch = Stopwatch()
    subprocess.run([program, "--quiet", "--config", str(config), "--all"], check=True)  # noqa: S603
    seconds = watch.seconds()
    written = sum(1 for _ in folder.glob("*/inbox/*/*"))
    if written < mails:
        raise RuntimeError(f"mbsync wrote {written} of {mails} mails")
    return seconds
