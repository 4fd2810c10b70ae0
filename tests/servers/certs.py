"""Certificates for the test servers: the demo's own maker, in a folder that servers with other users can read."""

from __future__ import annotations

from pathlib import Path

from ingestd.demo.certificates import Certificates, make_certificates

__all__ = ["Certificates", "certificates_in"]


def certificates_in(directory: Path) -> Certificates:
    """Return a throw-away CA and a certificate for localhost and 127.0.0.1."""
    directory.mkdir(parents=True, exist_ok=True)
    return make_certificates(directory)
