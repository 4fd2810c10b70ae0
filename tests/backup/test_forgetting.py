"""What was forgotten stays forgotten, whatever is restored; and a backup shows nothing to whoever finds it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
import zstandard
from sqlalchemy import Connection, select

from ingestd.backup.restore import restore_keystore
from ingestd.privacy.positions import epoch
from storage import erasures, keystore, leases, meta, schema
from storage.errors import LedgerStale
from storage.tables import outbox, store_meta
from tests.backup.conftest import MakeUrls
from tests.backup.copies import back_up, into, opened
from tests.backup.desk import configure, daemon, done, ingestd
from tests.office import Office, mail
from tests.privacy.witness import forms
from tests.stores import Stores, StoreUrls
from tests.verify.builder import build

pytestmark = [pytest.mark.timeout(240), pytest.mark.postgresql_is_long]

T = TypeVar("T")
_SUBJECT = "Zeugenwörtlich"


@dataclasses.dataclass(frozen=True)
class Desk:
    """A store with two mailboxes, each with a ticket and a queued reply."""

    config: Path
    urls: StoreUrls
    offices: tuple[tuple[str, str], ...]
    """Account and mailbox of each."""

    def show(self, index: int, *, config: Path | None = None) -> tuple[int, str]:
        result = ingestd(config or self.config, "ticket", "show", "1", "--account", self.offices[index][0], "--full")
        return result.exit_code, result.output

    def disconnect(self, index: int) -> None:
        account, mailbox = self.offices[index]
        done(self.config, "mailbox", "disconnect", mailbox, "--account", account)


def _fill(folder: Path, urls: StoreUrls) -> Desk:
    async def inside() -> tuple[tuple[str, str], ...]:
        stores = await Stores.open(urls)
        try:
            held, workers = [], []
            for _ in range(2):
                office = await Office.open(stores)
                await office.take(mail(_SUBJECT, text=f"Es geht um {_SUBJECT}."))
                await office.reply(1)
                held.append((str(office.held.account_id), str(office.held.mailbox_id)))
                workers.append(office.lease.worker_id)
            for worker_id in workers:
                await stores.content.transaction(None, leases.release, worker_id)
            return tuple(held)
        finally:
            await stores.close()

    return Desk(configure(folder, urls), urls, asyncio.run(inside()))


def _read(urls: StoreUrls, function: Callable[[Connection], T], *, keys: bool = False) -> T:
    async def inside() -> T:
        async with opened(urls) as stores:
            return await (stores.keystore if keys else stores.content).read(None, function)

    return asyncio.run(inside())


def _steps(conn: Connection) -> list[str]:
    return [one.step for one in erasures.list_erasures(conn, unfinished=False)]


def _replies(conn: Connection) -> set[tuple[str, str | None]]:
    return {(row[0], row[1]) for row in conn.execute(select(outbox.c.status, outbox.c.reason))}


def _clean(config: Path) -> bool:
    return bool(json.loads(done(config, "verify", "--json"))["violations"] == [])


def test_what_was_forgotten_since_is_forgotten_again(engine: str, make_urls: MakeUrls, tmp_path: Path) -> None:
    desk = _fill(tmp_path / "desk", make_urls(engine))
    content, keys = tmp_path / "copies" / "content", tmp_path / "keys"
    done(desk.config, "backup", "content", str(content))
    done(desk.config, "backup", "keystore", str(keys))
    assert _SUBJECT in desk.show(0)[1]
    desk.disconnect(0)

    fresh = make_urls(engine)
    urls = dataclasses.replace(fresh, keystore=desk.urls.keystore)
    config = configure(tmp_path / "restored", urls)
    said = json.loads(done(config, "restore", "content", str(content), "--json"))
    assert (said["key_store"], said["to_forget_again"]) == ("fits", 1)
    status, shown = desk.show(0, config=config)
    assert status == 1
    assert _SUBJECT not in shown
    assert _SUBJECT in desk.show(1, config=config)[1]
    account, mailbox = (UUID(one) for one in desk.offices[0])
    assert _read(urls, lambda conn: erasures.count_rows(conn, account, mailbox)) != {}
    with daemon(config) as until:
        until(lambda: _read(urls, _steps) == ["done"], "it is forgotten again")
    assert _read(urls, lambda conn: erasures.count_rows(conn, account, mailbox)) == {}
    assert _SUBJECT in desk.show(1, config=config)[1]
    assert _clean(config)

    # The control, and the known limit: with both copies from before, everything is readable again.
    before = configure(tmp_path / "before", make_urls(engine))
    done(before, "restore", "keystore", str(keys))
    done(before, "restore", "content", str(content))
    assert _SUBJECT in desk.show(0, config=before)[1]


def test_an_account_that_was_closed_since_is_closed_again(engine: str, make_urls: MakeUrls, tmp_path: Path) -> None:
    desk = _fill(tmp_path / "desk", make_urls(engine))
    content, keys = tmp_path / "content", tmp_path / "keys"
    done(desk.config, "backup", "content", str(content))
    done(desk.config, "backup", "keystore", str(keys))
    account, _ = desk.offices[0]
    receipt = json.loads(done(desk.config, "account", "close", account, "--yes", "--json"))

    # An older content: its mailbox and the account are forgotten again, and the receipts are those of then.
    urls = dataclasses.replace(make_urls(engine), keystore=desk.urls.keystore)
    config = configure(tmp_path / "restored", urls)
    done(config, "restore", "content", str(content))
    assert json.loads(done(config, "account", "show", account, "--json"))["name"] is None, "its key is gone"
    with daemon(config) as until:
        until(lambda: _read(urls, _steps) == ["done", "done"], "it is closed again")
    shown = json.loads(done(config, "account", "show", account, "--json"))
    assert (shown["status"], shown["receipt"]) == ("closed", receipt)
    assert _SUBJECT in desk.show(1, config=config)[1]
    assert _clean(config)

    # An older key store: its keys are destroyed again, and the receipts written anew.
    stale = dataclasses.replace(desk.urls, keystore=make_urls(engine).keystore)
    config = configure(tmp_path / "stale", stale)
    said = json.loads(done(config, "restore", "keystore", str(keys), "--accept-stale", "--json"))
    assert said["keys_destroyed_again"] == 2
    with daemon(config) as until:
        until(lambda: _read(stale, _steps) == ["done", "done"], "its receipts are written again")
    assert json.loads(done(config, "account", "close", account, "--yes", "--json"))["left"] == {}
    assert _SUBJECT in desk.show(1, config=config)[1]
    assert _clean(config)


def test_unfinished_replies_are_not_sent_by_themselves(engine: str, make_urls: MakeUrls, tmp_path: Path) -> None:
    """Also after a backup that was made and restored within one run of a daemon: no generation tells it."""
    desk = _fill(tmp_path / "desk", make_urls(engine))
    with daemon(desk.config):
        done(desk.config, "backup", "content", str(tmp_path / "content"))
    urls = dataclasses.replace(make_urls(engine), keystore=desk.urls.keystore)
    config = configure(tmp_path / "restored", urls)
    done(config, "restore", "content", str(tmp_path / "content"))
    generations = (
        _read(urls, lambda conn: meta.get(conn, store_meta, "generation")),
        _read(urls, lambda conn: keystore.get_fact(conn, "generation"), keys=True),
    )
    assert generations == ("1", "1"), "the control: they look as if nothing had been restored"
    statuses = {status for status, _ in _read(urls, _replies)}
    assert statuses
    assert statuses <= {"queued", "deferred", "sending"}

    with daemon(config):
        assert {status for status, _ in _read(urls, _replies)} == {"unknown"}
    assert _read(urls, epoch) == 2
    with daemon(config):
        pass
    assert _read(urls, epoch) == 2, "it is a restored copy once only"
    assert _clean(config)


def test_a_stale_key_store_is_refused(engine: str, make_urls: MakeUrls, tmp_path: Path) -> None:
    desk = _fill(tmp_path / "desk", make_urls(engine))
    done(desk.config, "backup", "keystore", str(tmp_path / "keys"))
    assert _SUBJECT in desk.show(0)[1]
    desk.disconnect(0)

    urls = dataclasses.replace(desk.urls, keystore=make_urls(engine).keystore)
    config = configure(tmp_path / "restored", urls)
    refused = ingestd(config, "restore", "keystore", str(tmp_path / "keys"))
    assert refused.exit_code == 1
    assert "--accept-stale" in refused.output
    assert _read(urls, schema.current, keys=True) is None, "nothing was written"

    said = json.loads(done(config, "restore", "keystore", str(tmp_path / "keys"), "--accept-stale", "--json"))
    assert (said["content"], said["keys_destroyed_again"], said["mailboxes_without_key"]) == ("stale", 1, 0)
    owners = {str(one.owner_id) for one in _read(urls, keystore.list_keys, keys=True)}
    assert desk.offices[0][1] not in owners
    assert {desk.offices[0][0], *desk.offices[1]} <= owners, "the control: all others came back"
    assert _clean(config)
    with daemon(config) as until:
        until(lambda: _read(urls, _steps) == ["done"], "its receipt is written again")
    assert _SUBJECT in desk.show(1, config=config)[1]
    assert _clean(config)
    account, mailbox = desk.offices[0]
    receipt = json.loads(done(config, "mailbox", "disconnect", mailbox, "--account", account, "--json"))
    assert (receipt["revocation"], receipt["left"]) == ("unknown", {})


async def test_a_stale_copy_knows_no_newer_mailboxes(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    office = await Office.open(stores)
    await stores.content.transaction(None, leases.release, office.lease.worker_id)
    _, keys = await back_up(stores, tmp_path)
    await build(stores)
    urls = dataclasses.replace(stores.urls, keystore=make_urls("sqlite").keystore)
    async with opened(urls) as copy:
        with pytest.raises(LedgerStale, match="from before a mailbox was forgotten"):
            await restore_keystore(into(copy), keys)
        done = await restore_keystore(into(copy), keys, accept_stale=True)
        # Of the builder's five mailboxes one is forgotten, and of one the key is destroyed; an account is closed.
        assert (done.content, done.destroyed_again, done.without_key) == ("stale", 3, 4)
        entries = await copy.keystore.read(None, keystore.list_ledger)
        assert keystore.broken_links(entries) == []


def test_a_stale_key_store_is_told_after_the_content(engine: str, make_urls: MakeUrls, tmp_path: Path) -> None:
    """Where both are lost, the key store may come first: then the content says whether they fit."""
    desk = _fill(tmp_path / "desk", make_urls(engine))
    done(desk.config, "backup", "keystore", str(tmp_path / "keys"))
    desk.disconnect(0)
    done(desk.config, "backup", "content", str(tmp_path / "content"))
    config = configure(tmp_path / "restored", make_urls(engine))
    assert json.loads(done(config, "restore", "keystore", str(tmp_path / "keys"), "--json"))["content"] == "absent"
    assert json.loads(done(config, "restore", "content", str(tmp_path / "content"), "--json"))["key_store"] == "stale"
    assert "is OLDER than" not in done(desk.config, "backup", "check", str(tmp_path / "content"))
    refused = ingestd(config, "run")
    assert refused.exit_code == 1
    assert "stale copy of the key store" in refused.output


async def test_a_backup_shows_nothing(stores: Stores, tmp_path: Path) -> None:
    office = await Office.open(stores)
    raw = mail(_SUBJECT, sender="zeugin@example.org", text=f"Es geht um {_SUBJECT}. " * 50)
    await office.take(raw, mail("poison", text=_SUBJECT, message_id="<q2@example.org>"))
    await office.reply(1, f"Zu {_SUBJECT}: ja.", idempotency_key=_SUBJECT)
    words = [_SUBJECT, "zeugin@example.org", "support@example.com"]
    needles = [form for word in words for form in forms(word)]
    assert any(needle in raw for needle in needles), "the control: they are in the mail"
    for made in await back_up(stores, tmp_path):
        content = {path: path.read_bytes() for path in made.path.rglob("*") if path.is_file()}
        content |= {path: _unpacked(data) for path, data in content.items() if path.suffix == ".zst"}
        assert [path.name for path, data in content.items() if any(needle in data for needle in needles)] == []
        known = b"ticket.created" if made.manifest.kind == schema.CONTENT else office.held.mailbox_id.bytes
        assert any(known in data for data in content.values()), "the control: what is plain is found"


def _unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
