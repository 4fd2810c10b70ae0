"""A folder of backups: which may lie in it, how a new one appears in it at once, and how one is found.

A folder holds backups of one kind only, and none lies in a folder that holds another kind: so no
call puts content and key store in one place, and no copy of such a folder holds both.

A backup grows under a name of its own, `.unfinished-…`. Its manifest is written last, and only then
is it given its real name: a crash leaves nothing that looks whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ingestd.backup.errors import BackupDamaged, BackupUnsuitable, WrongPlace
from ingestd.backup.format import MANIFEST, Manifest, decode_manifest, encode_manifest, write_file

_NAME: Final = re.compile(r"(?P<kind>content|keystore)-\d{8}T\d{9}Z")
_UNFINISHED: Final = ".unfinished-"
_FOREIGN: Final = frozenset({"lost+found"})
"""What a fresh file system has in it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup."""

    path: Path
    manifest: Manifest


class Target:
    """A folder of backups, held by this process. Make it with `open_target`."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._kind = kind

    def finished(self) -> list[Path]:
        """Return the finished backups, oldest first."""
        return _finished(self.path)

    @contextlib.contextmanager
    def growing(self, at: datetime) -> Iterator[Path]:
        """Yield the folder in which a new backup grows; what a crash left of earlier ones is removed."""
        for path in self.path.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path)
        name = f"{self._kind}-{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03}Z"
        growing = self.path / f"{_UNFINISHED}{name}"
        growing.mkdir(mode=0o700)
        try:
            yield growing
        except BaseException:
            shutil.rmtree(growing, ignore_errors=True)  # the disk may be full
            raise

    def publish(self, growing: Path, manifest: Manifest) -> Backup:
        """Write the manifest and give the backup its real name, durably."""
        write_file(growing / MANIFEST, encode_manifest(manifest))
        sync_folder(growing)
        path = growing.with_name(growing.name.removeprefix(_UNFINISHED))
        growing.rename(path)
        sync_folder(self.path)
        return Backup(path, manifest)

    def keep(self, count: int) -> int:
        """Delete all but the newest `count` backups; return how many were deleted."""
        old = self.finished()[:-count]
        for path in old:
            # Without its name first: one that is half deleted must not look whole.
            gone = path.with_name(f"{_UNFINISHED}{path.name}")
            path.rename(gone)
            sync_folder(self.path)
            shutil.rmtree(gone)
        return len(old)


@contextlib.contextmanager
def open_target(path: Path, kind: str) -> Iterator[Target]:
    """Hold a folder for a backup of `kind`; it is made where there is none. Raises WrongPlace, OSError."""
    _check_around(path.absolute())
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongPlace(f"another backup into {path} is under way") from None
        _check_inside(path, kind)
        yield Target(path, kind)
    finally:
        os.close(descriptor)


def open_backup(path: Path, kind: str | None = None) -> Backup:
    """Return the backup at `path`, or the newest one in a folder of backups.

    Raises WrongPlace, BackupDamaged, and BackupUnsuitable for one of another kind.
    """
    if not path.is_dir():
        raise WrongPlace(f"there is no folder {path}")
    if not (path / MANIFEST).exists():
        if _NAME.fullmatch(path.name):
            raise BackupDamaged(f"{MANIFEST} is missing")
        finished = _finished(path)
        if not finished:
            raise WrongPlace(f"there is no finished backup in {path}")
        path = finished[-1]
    try:
        manifest = decode_manifest((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupDamaged(f"{path.name}: {MANIFEST} is missing") from None
    if kind is not None and manifest.kind != kind:
        raise BackupUnsuitable(f"{path} is a backup of the {_said(manifest.kind)}, not of the {_said(kind)}")
    return Backup(path, manifest)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _finished(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if _NAME.fullmatch(one.name) and one.is_dir())


def _check_inside(path: Path, kind: str) -> None:
    for one in sorted(path.iterdir()):
        match = _NAME.fullmatch(one.name.removeprefix(_UNFINISHED))
        if match is None:
            if one.name in _FOREIGN:
                continue
            raise WrongPlace(f"{path} is not empty and holds something that is no backup ({one.name}): name another")
        if match["kind"] != kind:
            raise WrongPlace(
                f"{path} holds backups of the {_said(match['kind'])}: whoever has content and key store "
                f"together can read what was forgotten. Name another folder for the {_said(kind)}, on another medium"
            )


def _check_around(path: Path) -> None:
    """Refuse a folder that lies within another folder of backups, of whichever kind."""
    for parent in path.resolve().parents:
        try:
            names = [one.name for one in parent.iterdir()] if parent.is_dir() else []
        except PermissionError:
            continue
        if _NAME.fullmatch(parent.name) or any(_NAME.fullmatch(one.removeprefix(_UNFINISHED)) for one in names):
            raise WrongPlace(f"{path} lies within a folder of other backups, {parent}: name one apart from it")


def _said(kind: str) -> str:
    return {"content": "content", "keystore": "key store"}.get(kind, kind)
