"""What reaches other hosts follows a configuration that changes under the running daemon."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from config import Settings
from connectors.egress import EgressRefused
from ingestd.build.outside import Outside

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OAUTH = {"issuer": "https://127.0.0.1:4443", "client_id": "desk"}


def settings(**ports: int) -> Settings:
    providers: dict[str, Any] = {
        name: {
            "kind": "generic",
            "imap": {"host": "127.0.0.1", "port": port},
            "smtp": {"host": "127.0.0.1"},
            "oauth": OAUTH,
        }
        for name, port in ports.items()
    }
    return TypeAdapter(Settings).validate_python({"keys": {"master_key": KEY}, "providers": providers})


async def test_a_reload_changes_providers_and_hosts() -> None:
    outside = Outside(settings(old=1993))
    try:
        await outside.guard.resolve("127.0.0.1", 1993)
        await outside.reload(settings(new=2993))
        assert outside.provider("new").imap.port == 2993
        with pytest.raises(KeyError):
            outside.provider("old")
        await outside.guard.resolve("127.0.0.1", 2993)
        with pytest.raises(EgressRefused):
            await outside.guard.resolve("127.0.0.1", 1993)
        with pytest.raises(EgressRefused):
            outside.guard.check("127.0.0.1", 1993)
    finally:
        await outside.close()
