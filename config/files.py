"""Reads small files with care: no devices, no pipes, no endless ones."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, bytes_max: int) -> tuple[bytes, int]:
    """Return at most `bytes_max` + 1 bytes of a regular file, and its mode.

    Raises OSError, with EINVAL for what is no regular file.
    """
    # O_NONBLOCK: opening a FIFO must not hang the start.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = b""
        while len(content) <= bytes_max and (more := os.read(descriptor, bytes_max + 1 - len(content))):
            content += more
        return content, mode
    finally:
        os.close(descriptor)


def reason(error: OSError) -> str:
    """Why a file could not be read, for people.

    >>> reason(PermissionError(13, ""))
    'Permission denied'
    """
    return "not a regular file" if error.errno == errno.EINVAL else os.strerror(error.errno or errno.EIO)
