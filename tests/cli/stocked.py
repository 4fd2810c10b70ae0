"""A store for the command line's tests, with a mailbox that mail was taken in from; no daemon runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from click.testing import CliRunner, Result

from config import load
from connectors.base import RawMessage
from ingestd.build.mailboxes import open_context
from ingestd.build.store import open_store
from ingestd.cli import main
from ingestd.inbound.commit import commit_batch
from ingestd.inbound.folders import note_missing
from ingestd.inbound.intake import read_batch, seal_batch
from storage import accounts, mailboxes
from storage.leases import Held
from tests.cli.test_commands import add_mailbox
from tests.office import HereParser

_PROVIDERS = """
providers:
  local:
    kind: generic
    imap: {host: imap.example.com}
    smtp: {host: smtp.example.com}
    oauth: {issuer: "https://login.example.com", client_id: ingestd, client_secret: secret, scopes: [mail]}
"""


@dataclass(frozen=True)
class Stocked:
    """A folder with a store, and its one mailbox."""

    folder: Path
    mailbox_id: UUID
    account_id: UUID | None = None
    """None: the store's first."""

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, ["--config", str(self.folder / "ingestd.yaml"), *map(str, arguments)])

    def json(self, *arguments: object) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)

    def fence(self) -> int:
        async def read() -> int:
            async with open_store(load(self.folder / "ingestd.yaml")) as store:
                account_id = (await store.content.read(None, accounts.list_accounts))[0].account_id
                return (await store.content.read(account_id, mailboxes.get_mailbox, self.mailbox_id)).fence

        return asyncio.run(read())

    def take(self, *raws: bytes) -> None:
        """Take mail in, as the mailbox's worker does; a subject of "poison" is quarantined."""
        asyncio.run(_take(self, raws))

    def lose(self, *folders: str) -> None:
        """Note that the server does not have these folders, and has all others, as the mailbox's worker does."""
        asyncio.run(_lose(self.folder, self.mailbox_id, folders))


def stock(folder: Path, *raws: bytes, settings: str = "") -> Stocked:
    """Make a store with a mailbox in which these mails have come."""
    done = CliRunner().invoke(main, ["init", "--dir", str(folder)])
    assert done.exit_code == 0, done.output
    config = folder / "ingestd.yaml"
    config.write_text(config.read_text().replace("providers: {}\n", _PROVIDERS) + settings)
    stocked = Stocked(folder, asyncio.run(add_mailbox(folder)))
    stocked.take(*raws)
    return stocked


async def _lose(folder: Path, mailbox_id: UUID, missing: Sequence[str]) -> None:
    async with open_store(load(folder / "ingestd.yaml")) as store:
        account_id = (await store.content.read(None, accounts.list_accounts))[0].account_id
        mailbox = await store.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        held = Held(account_id, mailbox_id, mailbox.fence)
        key = (await open_context(store, mailbox)).key
        await store.content.transaction(account_id, note_missing, held, key, missing)


def stock_another(desk: Stocked, *raws: bytes) -> Stocked:
    """Make another account in the same store, with a mailbox of its own in which these mails have come."""
    account_id = UUID(desk.json("account", "create", "another")["account"])
    mailbox_id = asyncio.run(add_mailbox(desk.folder, account_id))
    stocked = Stocked(desk.folder, mailbox_id, account_id)
    stocked.take(*raws)
    return stocked


async def _take(desk: Stocked, raws: Sequence[bytes]) -> None:
    async with open_store(load(desk.folder / "ingestd.yaml")) as store:
        account_id = desk.account_id or (await store.content.read(None, accounts.list_accounts))[0].account_id
        mailbox = await store.content.read(account_id, mailboxes.get_mailbox, desk.mailbox_id)
        context = await open_context(store, mailbox)
        now = datetime.now(UTC)
        fetched = [RawMessage(f"1:{n}:INBOX", "INBOX", len(raw), now, raw, raw) for n, raw in enumerate(raws)]
        reads = await read_batch(HereParser(), context, fetched)  # type: ignore[arg-type]
        await store.content.transaction(
            account_id,
            commit_batch,
            context,
            await seal_batch(store.blobs, context, reads, set(), 10**6),
            fence=mailbox.fence,
            cursor_sequence=mailbox.cursor_sequence,
            cursor="{}",
        )
