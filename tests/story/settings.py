"""A configuration file for the tests: the real settings, with short times."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.stores import StoreUrls

_FAST = {
    "inbound": {
        "backoff": {"initial_seconds": 0.2, "max_seconds": 1.0},
        "lease_seconds": 2.0,
        "heartbeat_seconds": 0.5,
        "poll_seconds": 2.0,
        "connect_timeout_seconds": 5.0,
        "read_timeout_seconds": 5.0,
    },
    "outbound": {
        "backoff": {"initial_seconds": 0.2, "max_seconds": 1.0},
        "sent_wait_seconds": 1.0,
        "connect_timeout_seconds": 5.0,
        "command_timeout_seconds": 5.0,
        "dot_timeout_seconds": 5.0,
    },
    "linking": {"backoff": {"initial_seconds": 0.1, "max_seconds": 0.5}, "refresh_ahead_seconds": 0.0},
    "parser": {"processes": 1},
    "storage": {"data_version_poll_seconds": 0.05},
    "shutdown_seconds": 10.0,
}


def provider_document(
    *,
    imap_port: int,
    smtp_port: int,
    ca_file: str | Path,
    issuer: str,
    client_id: str,
    client_secret: str,
    **more: Any,
) -> dict[str, Any]:
    """Return a provider of kind `generic` on loopback, TLS from the first byte; `more` goes beside it."""
    return {
        "kind": "generic",
        "imap": {"host": "127.0.0.1", "port": imap_port},
        "smtp": {"host": "127.0.0.1", "port": smtp_port},
        "tls_ca_file": str(ca_file),
        "oauth": {
            "issuer": issuer,
            "client_id": client_id,
            "client_secret": client_secret,
            "scopes": ["openid", "email", "offline_access", "mail"],
            "scopes_needed": ["mail"],
        },
        **more,
    }


def settings_document(
    urls: StoreUrls, folder: Path, *, port: int, providers: Mapping[str, Any], **sections: Any
) -> dict[str, Any]:
    """Return the whole document; `sections` are merged into it, section by section."""
    master = folder / "master.key"
    if not master.exists():
        master.write_text(base64.b64encode(bytes(range(32))).decode() + "\n")
        master.chmod(0o600)
    document: dict[str, Any] = {
        "storage": {"database": urls.content, "keystore": urls.keystore, "blobs_dir": str(urls.blobs)},
        "keys": {"master_key_file": str(master)},
        "api": {"listen_host": "127.0.0.1", "listen_port": port, "public_url": f"http://127.0.0.1:{port}"},
        "providers": dict(providers),
    }
    return merged(merged(document, _FAST), sections)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return `one` with the values of `other` over it, mapping by mapping."""
    result = copy.deepcopy(dict(one))
    for name, value in other.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def write_settings(path: Path, document: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(document), allow_unicode=True))
    path.chmod(0o600)
    return path
