"""Before anything runs: init, check-config, migrate."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from config import Locations, Settings, after_import_note, hosts
from ingestd.accounts import create_account
from ingestd.build.store import Store, open_store
from ingestd.cli.common import Trouble, json_option, print_done, print_json, read_settings, running
from ingestd.lock import StoreLock
from ingestd.privacy.residency import mismatches
from ingestd.telemetry import logs
from storage import accounts, leases, schema
from storage.database import describe
from storage.errors import StorageError
from storage.sealing import new_key

_CONFIG = """\
# yaml-language-server: $schema=https://example.com/ingestd/settings.schema.json
# ingestd's configuration. `ingestd check-config` tests it; docs/configuration.md explains every setting.
storage:
  database: sqlite:///content.db
  keystore: sqlite:///keys/keys.db   # never back this up together with the database above
  blobs_dir: blobs
keys:
  master_key_file: master.key        # whoever has this and the key store can read everything
api:
  listen_host: 127.0.0.1
  listen_port: 8025
  public_url: http://127.0.0.1:8025  # where browsers reach the OAuth callback
providers: {}
"""

_VERSIONS_NOTE: Final = (
    "where the bucket keeps versions, those of deleted objects stay, as ciphertext without a key, until a lifecycle "
    "rule of yours removes them: ingestd cannot"
)


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Make a folder with configuration, master key and SQLite databases, ready to run.",
)
@click.option("--master-key", type=click.Path(dir_okay=False, path_type=Path), help="Only make a master key file.")
@click.option("--account", "name", default="default", show_default=True, help="Name of the first account.")
@json_option
@click.pass_obj
def init(config: Path, folder: Path | None, master_key: Path | None, name: str, as_json: bool) -> None:
    """Make a store: master key, databases, first account. Run again, it changes nothing that is there."""
    if master_key is not None:
        if not _write_new(master_key, _new_master_key()):
            raise Trouble(f"{master_key} exists: a master key is never overwritten, it would lock all content away")
        print_done({"master_key": master_key}, as_json, words=f"master key: {master_key}")
        return
    if folder is not None:
        config = _make_folder(folder)
    settings = read_settings(config)
    account_id = running(_init(settings, name))
    words = f"configuration: {config}\naccount:       {account_id}"
    done: dict[str, object] = {"configuration": config, "account": account_id}
    if folder is not None:
        done["master_key"] = folder / "master.key"
        words += f"\nmaster key:    {folder / 'master.key'}  (keep a copy in a safe place, apart from backups)"
    print_done(done, as_json, words=words)


def _make_folder(folder: Path) -> Path:
    for path in (folder, folder / "keys", folder / "blobs"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_new(folder / "master.key", _new_master_key())
    _write_new(folder / "ingestd.yaml", _CONFIG)
    return folder / "ingestd.yaml"


def _new_master_key() -> str:
    return base64.b64encode(new_key()).decode() + "\n"


def _write_new(path: Path, text: str) -> bool:
    """Write a file that only its owner can read; False where there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}") from error
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        os.fsync(file.fileno())
    return True


async def _init(settings: Settings, name: str) -> object:
    prepare_folders(settings)
    async with open_store(settings, check=False) as store:
        await _migrate(store)
        found = await store.content.read(None, accounts.list_accounts)
        return found[0].account_id if found else (await create_account(store.content, store.keys, name)).account_id


def prepare_folders(settings: Settings) -> None:
    """Make the folders that the store will lie in, for its owner only."""
    for url in (settings.storage.database, settings.storage.keystore):
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.storage.bucket is None:
        settings.storage.blobs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite makes its files with the umask: nobody else is to read them.
    os.umask(0o077)


@click.command("check-config")
@json_option
@click.pass_obj
def check_config(config: Path, as_json: bool) -> None:
    """Test the configuration.

    Lists every host that the daemon will contact; it contacts no other. Where `locations` says something, the accounts
    that are pinned elsewhere are looked up in the store, if it can be read.
    """
    settings = read_settings(config)
    misplaced = _misplaced(settings)
    found, notes = hosts(settings), {}
    if note := after_import_note(settings.mailbox_defaults.after_import):
        notes["mailbox_defaults.after_import"] = note
    if settings.storage.bucket is not None:
        notes["storage.bucket"] = _VERSIONS_NOTE
    if as_json:
        named = [{"host": one.host, "port": one.port or 443, "why": one.why} for one in found]
        fields = {"configuration": config, "hosts": named, "notes": list(notes.values())}
        if misplaced is not None:
            fields["locations"] = settings.locations.model_dump()
            fields["misplaced"] = misplaced
        print_json(fields)
        return
    for name, note in notes.items():
        click.echo(f"note: {name}: {note}")
    click.echo(f"{config}: ok\nThe daemon will contact these hosts and no others:")
    for one in found:
        click.echo(f"  {one.host}:{one.port or 443}  ({one.why})")
    if not found:
        click.echo("  (none: no provider is configured)")
    if misplaced is not None:
        _print_locations(settings, misplaced)


def _misplaced(settings: Settings) -> list[str] | None:
    """Return which accounts are pinned elsewhere, or that it is not known; None where no location is configured."""
    locations = settings.locations
    if locations == Locations():
        return None
    files = [url.removeprefix("sqlite:///") for url in (settings.storage.database, settings.storage.keystore)]
    if not all(name.startswith("postgresql:") or Path(name).exists() for name in files):
        return []  # no store is there yet, and SQLite would make one

    async def inside() -> list[str]:
        async with open_store(settings) as store:
            return [one.words() for one in await mismatches(store.content, locations)]

    logs.configure("console", "error")
    try:
        return asyncio.run(inside())
    except StorageError as error:
        return [f"not known: the store cannot be read ({error})"]


def _print_locations(settings: Settings, misplaced: Sequence[str]) -> None:
    click.echo("Locations:")
    for store, label in settings.locations.stores().items():
        click.echo(f"  {store}: {label or '(none: no account can be pinned)'}")
    for pattern, label in settings.locations.webhooks.items():
        click.echo(f"  webhooks to {pattern}: {label}")
    for words in misplaced:
        click.echo(f"  MISPLACED: {words}")


@click.command()
@json_option
@click.pass_obj
def migrate(config: Path, as_json: bool) -> None:
    """Bring both databases to this version's schema. Refused while a daemon of the older version runs on them."""
    settings = read_settings(config)

    async def inside() -> None:
        async with open_store(settings, check=False) as store:
            changed = await _migrate(store)
            names = [describe(database.url) for database in (store.content, store.keystore)]
        words = "\n".join(f"{name}: current" for name in names)
        print_done({"databases": names, "changed": changed}, as_json, words=words)

    running(inside())


async def _migrate(store: Store) -> bool:
    """Migrate both databases, one transaction each; return whether an older schema was there."""
    outdated = await store.content.transaction(None, schema.is_outdated, schema.CONTENT)
    outdated |= await store.keystore.transaction(None, schema.is_outdated, schema.KEYSTORE)
    with contextlib.ExitStack() as stack:
        if outdated:
            await _refuse_beside_daemon(store, stack)
        await store.content.transaction(None, schema.upgrade, schema.CONTENT)
        await store.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
    return outdated


async def _refuse_beside_daemon(store: Store, stack: contextlib.ExitStack) -> None:
    """Raise where a daemon runs: it would go on with a schema that is not there any more."""
    if (path := store.content.sqlite_path) is not None:
        stack.enter_context(StoreLock(path))
        return
    alive = await store.content.read(None, leases.others_alive, None, store.settings.inbound.lease_seconds)
    if alive:
        raise Trouble(f"{alive} processes of ingestd run on this database: stop them, then migrate")
