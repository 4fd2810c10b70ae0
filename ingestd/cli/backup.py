"""Backups: backup content, backup keystore, backup check; restore content, restore keystore."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from config import Settings
from ingestd.backup.check import check_backup
from ingestd.backup.dump import back_up_content, back_up_keystore
from ingestd.backup.errors import BackupDamaged, BackupError
from ingestd.backup.folder import Backup, Target, open_backup, open_target
from ingestd.backup.progress import Step
from ingestd.backup.restore import Databases, restore_content, restore_keystore
from ingestd.build.store import Store, open_store
from ingestd.cli.common import Trouble, json_option, print_fields, print_json, read_settings, running, with_store
from ingestd.cli.setup import prepare_folders
from ingestd.lock import StoreLock
from storage import schema

P = ParamSpec("P")
T = TypeVar("T")

_target = click.argument("target", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
_source = click.argument("source", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
_keep = click.option(
    "--keep", type=click.IntRange(min=1), help="Delete all but so many of the newest backups in DIR, this one included."
)


def _told(function: Callable[P, T]) -> Callable[P, T]:
    """Turn what is wrong with a backup into one line."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BackupDamaged as error:
            raise Trouble(f"the backup is damaged: {error}. Nothing was restored from it; use another one") from error
        except BackupError as error:
            raise Trouble(str(error)) from error

    return command


@click.group()
def backup() -> None:
    """Make backups, of the content or of the key store.

    Never keep both in one place: together they hold what was forgotten, and the keys to it. docs/backup.md says how
    long to keep which.
    """


@backup.command("content")
@_target
@_keep
@json_option
@_told
@with_store
async def backup_content(store: Store, target: Path, keep: int | None, as_json: bool) -> None:
    """Add a backup of the content database and the blobs to the folder DIR.

    The daemon may be running. What is sealed stays sealed.
    """
    with open_target(target, schema.CONTENT) as folder:
        made = await back_up_content(store.content, store.blobs, folder, _progress)
        _print_made(made, _prune(folder, keep), as_json)
    if missing := made.manifest.blobs_missing:
        raise Trouble(
            f"the backup is made, but {missing} messages have lost their bytes in the store itself: "
            "`ingestd verify` names them"
        )


@backup.command("keystore")
@_target
@_keep
@json_option
@_told
@with_store
async def backup_keystore(store: Store, target: Path, keep: int | None, as_json: bool) -> None:
    """Add a backup of the key store to the folder DIR.

    The daemon may be running. The keys are wrapped by the master key, which is not in it. What is forgotten from now
    on can still be read with this copy: keep it no longer than you must.
    """
    with open_target(target, schema.KEYSTORE) as folder:
        made = await back_up_keystore(store.keystore, folder, _progress)
        _print_made(made, _prune(folder, keep), as_json)


@backup.command("check")
@_source
@json_option
@_told
def check(source: Path, as_json: bool) -> None:
    """Read a backup and compare every file with its manifest.

    DIR is one backup, or a folder of backups, of which the newest is taken.
    """
    found = open_backup(source)
    check_backup(found, _progress)
    _print_made(found, 0, as_json)


@click.group()
def restore() -> None:
    """Make a store of a backup, where there is none.

    DIR is one backup, or a folder of backups, of which the newest is taken. SQLite or PostgreSQL: a backup of the one
    can be restored into the other. Stop every daemon first.
    """


@restore.command("content")
@_source
@json_option
@_told
@click.pass_obj
def restore_content_command(config: Path, source: Path, as_json: bool) -> None:
    """Restore the content database and the blobs.

    At its next start the daemon forgets again what was forgotten since, and sends no unfinished reply by itself.
    """
    found = open_backup(source, schema.CONTENT)

    async def inside() -> None:
        async with _empty_store(read_settings(config)) as into:
            done = await restore_content(into, found, _progress)
        fields = {"key_store": done.key_store, "to_forget_again": done.to_forget}
        _print_restored(found, fields, _WORDS_CONTENT[done.key_store], as_json)

    running(inside())


@restore.command("keystore")
@click.option(
    "--accept-stale",
    is_flag=True,
    help="Take a copy that is older than the last disconnect: the keys of what was forgotten since are destroyed "
    "again. Only where no newer copy is left.",
)
@_source
@json_option
@_told
@click.pass_obj
def restore_keystore_command(config: Path, source: Path, accept_stale: bool, as_json: bool) -> None:
    """Restore the key store.

    Refused where it is older than what the content database knows of the erasure ledger.
    """
    found = open_backup(source, schema.KEYSTORE)

    async def inside() -> None:
        async with _empty_store(read_settings(config)) as into:
            done = await restore_keystore(into, found, accept_stale=accept_stale, progress=_progress)
        fields = {
            "content": done.content,
            "keys_destroyed_again": done.destroyed_again,
            "mailboxes_without_key": done.without_key,
            "revocations_left_out": sum(found.manifest.left_out.values()),
        }
        words = _WORDS_KEYSTORE[done.content]
        if done.without_key:
            words += (
                f"\n{done.without_key} mailboxes were linked after this copy was made: nobody can read what they hold. "
                "Disconnect them and link them anew."
            )
        if fields["revocations_left_out"]:
            words += (
                f"\n{fields['revocations_left_out']} grants were still to be revoked at their providers when this copy "
                "was made. If they have not been since, their owners must revoke them there."
            )
        _print_restored(found, fields, words, as_json)

    running(inside())


_WORDS_CONTENT = {
    "fits": "The key store fits. Start the daemon: it forgets again what was forgotten since, holds every unfinished "
    "reply as unknown, and reads on from the backup's cursors.",
    "stale": "The key store is OLDER than this content: the daemon will refuse it. Restore a newer key store; where "
    "none is left, empty it and use `ingestd restore keystore --accept-stale`.",
    "absent": "There is no key store yet: nothing can be read. Restore it from its own backup.",
}
_WORDS_KEYSTORE = {
    "fits": "The content database fits.",
    "stale": "The copy was stale. What the content database names as forgotten was destroyed again; copies of the "
    "content that are older than that are opened by older key store copies only: delete those.",
    "absent": "There is no content database yet, so nobody can tell whether this copy is stale. Restore the content "
    "next: it says whether they fit.",
}


@contextlib.asynccontextmanager
async def _empty_store(settings: Settings) -> AsyncIterator[Databases]:
    """Open a store that is about to be restored, with no daemon on it."""
    prepare_folders(settings)
    async with open_store(settings, check=False) as store:
        with contextlib.ExitStack() as stack:
            if (path := store.content.sqlite_path) is not None:
                stack.enter_context(StoreLock(path))
            yield Databases(store.content, store.keystore, store.blobs, settings.inbound.lease_seconds)


@contextlib.contextmanager
def _progress(what: str, count: int) -> Iterator[Step]:
    with click.progressbar(length=count, label=what, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield bar.update


def _prune(folder: Target, keep: int | None) -> int:
    return 0 if keep is None else folder.keep(keep)


def _print_made(made: Backup, deleted: int, as_json: bool) -> None:
    manifest = made.manifest
    fields = {
        "backup": made.path,
        "of": manifest.kind,
        "created_at": manifest.created_at,
        "schema": manifest.schema,
        "rows": manifest.rows,
        "size_bytes": manifest.size_bytes,
        "blobs": manifest.blobs.rows if manifest.blobs else 0,
        "blobs_missing": manifest.blobs_missing,
        "older_deleted": deleted,
    }
    print_json(fields) if as_json else print_fields(fields)


def _print_restored(found: Backup, fields: dict[str, object], words: str, as_json: bool) -> None:
    manifest = found.manifest
    every = {"restored": found.path, "created_at": manifest.created_at, "rows": manifest.rows, **fields}
    if as_json:
        print_json(every)
        return
    print_fields(every)
    click.echo(words)
