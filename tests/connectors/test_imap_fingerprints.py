"""Headers of many messages: in how many commands they are asked for, and what one costs that the server withholds."""

from __future__ import annotations

import pytest

from connectors.base import Fingerprint
from tests.connectors.test_imap_restored import Serve, put, serve
from tests.connectors.test_imap_withheld import HOWS, put_poison
from tests.servers.script import ScriptedFolder

__all__ = ["serve"]


async def test_they_are_asked_for_together(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.imap_fingerprints.FINGERPRINTS_MAX", 4)
    folder = ScriptedFolder()
    put(folder, *(f"m{number}" for number in range(10)))
    async with serve(folder) as reader:
        assert await reader.fetch("7:1:INBOX") is not None  # connected, and the folder selected
        folder.commands.clear()
        told = await reader.fingerprints([f"7:{uid}:INBOX" for uid in range(1, 12)])
        assert len(told) == 10
        assert len(folder.commands) == 3, folder.commands
        assert all(b"BODY.PEEK[HEADER]" in line for line in folder.commands)
        folder.commands.clear()
        assert await reader.fingerprints([f"6:{uid}:INBOX" for uid in range(1, 9)]) == {}, "of another UIDVALIDITY"
        assert folder.commands == []


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
async def test_one_that_is_withheld_costs_no_other_its_own(serve: Serve, how: bytes) -> None:
    folder = ScriptedFolder()
    put(folder, *(f"m{number}" for number in range(9)))
    poison = put_poison(folder, "poison", {"body", "header"}, how)
    put(folder, "last")
    async with serve(folder) as reader:
        told = await reader.fingerprints([f"7:{uid}:INBOX" for uid in folder.messages])
        headers = {uid: one.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for uid, one in folder.messages.items()}
        del headers[poison]
        assert told == {f"7:{uid}:INBOX": Fingerprint(None, header) for uid, header in headers.items()}
        asked = [line for line in folder.commands if b"BODY.PEEK[HEADER]" in line]
        assert len(asked) <= 9, "as halves of halves"
