"""The parser process: reads messages from stdin, writes values to stdout, and can do nothing else.

It parses what strangers wrote, so it holds no secret (its environment says only
how memory is given back), opens no socket, writes no file and starts no process: an audit hook
raises on each of these, and cannot be removed. Memory, core dumps and open
files are limited by the kernel.

A frame is a 4-byte big-endian length and so many bytes. A request is one frame
(the raw message), behind a byte of flags: whether its card numbers are to be
masked, and whether another request follows at once, so that its answer may wait
for that one's. An answer is a frame with one status byte: `+` is followed by the msgpack
of a Header, and then comes one frame a chunk; `!` is followed by the reason, and
the process ends.
"""

from __future__ import annotations

import io
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO, NoReturn

import msgspec

from ingestd.mail.transform import Transformed, transform
from ingestd.mail.types import Came, ParsedMail

LENGTH = struct.Struct(">I")
REQUEST = struct.Struct(">BI")
"""What a request begins with: its flags, and the length of its frame."""
MASKED, FOLLOWED = 1, 2
"""The flags."""
OPEN_FILES_MAX = 32
READY = b"ready"
_IN_BYTES = 256 * 1024
_OUT_BYTES = 1024 * 1024
"""Most requests are one read, and most answers one write: each wakes the daemon."""


class Header(msgspec.Struct, frozen=True):
    """An answer without its chunks, which follow one by one so that no frame is large."""

    mail: ParsedMail
    chunk_count: int
    raw_sha256: bytes
    size_bytes: int
    came: Came | None = None


class ForbiddenError(RuntimeError):
    """The parser tried something that a parser has no need of."""


# Prefixes of audit events (docs.python.org/library/audit_events).
_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.system",
    "os.startfile",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.utime",
    "pty.spawn",
    "ctypes.",
    "ftplib.",
    "http.client.",
    "smtplib.",
    "imaplib.",
    "urllib.",
    "webbrowser.",
    "sqlite3.",
    "shutil.",
    "tempfile.",
)
# Opening for writing, in the numbers of os.open: anything but O_RDONLY, or any flag that changes a file.
_WRITE_FLAGS = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event == "open":
        mode, flags = args[1], args[2]
        writes = isinstance(mode, str) and any(char in mode for char in "wax+")
        if writes or (isinstance(flags, int) and flags & _WRITE_FLAGS):
            raise ForbiddenError("open for writing")
    elif event.startswith(_FORBIDDEN):
        raise ForbiddenError(event)


def limit_process(memory_bytes_max: int) -> None:
    """Set the kernel's limits on this process."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))


def _write(out: BinaryIO, data: bytes) -> None:
    out.write(LENGTH.pack(len(data)))
    out.write(data)


def _fail(out: BinaryIO, reason: bytes) -> NoReturn:
    _write(out, b"!" + reason)
    out.flush()
    sys.exit(1)


def serve(source: BinaryIO, out: BinaryIO, work: Callable[..., Transformed], seconds_max: int) -> None:
    """Answer requests until `source` ends. After a failure the process ends: its state is not trusted again."""
    encoder = msgspec.msgpack.Encoder()
    _write(out, READY)
    out.flush()
    while len(prefix := source.read(REQUEST.size)) == REQUEST.size:
        flags, length = REQUEST.unpack(prefix)
        try:
            raw = source.read(length)
            if len(raw) != length:
                return
            # The daemon kills us when it is late; the alarm is for a daemon that is gone.
            signal.alarm(seconds_max)
            done = work(raw, masked=True) if flags & MASKED else work(raw)
            header = Header(done.mail, len(done.chunks), done.raw_sha256, done.size_bytes, done.came)
            encoded = encoder.encode(header)
        except MemoryError:
            raw = b""
            _fail(out, b"memory")
        except Exception:  # noqa: BLE001 - whatever it is, it is this message's and says nothing outside
            _fail(out, b"crash")
        finally:
            signal.alarm(0)
        _write(out, b"+" + encoded)
        for chunk in done.chunks:
            _write(out, chunk)
        if not flags & FOLLOWED:
            out.flush()
        del raw, done, header, encoded  # or a large mail would be kept until the next one comes


def main(arguments: list[str], work: Callable[..., Transformed] = transform) -> None:
    """Run the process; `arguments` are memory_bytes_max and seconds_max."""
    memory_bytes_max, seconds_max = (int(one) for one in arguments)
    limit_process(memory_bytes_max)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the daemon's to handle
    work(b"Subject: =?koi8-r?B?8NLJ18XU?=\r\n\r\nwarm up: loads what is loaded lazily")
    out = io.BufferedWriter(io.FileIO(sys.stdout.fileno(), "w", closefd=False), _OUT_BYTES)
    source = io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False), _IN_BYTES)
    sys.addaudithook(_audit)
    serve(source, out, work, seconds_max)


if __name__ == "__main__":
    main(sys.argv[1:])
