"""Is a backup still what was written? Every file is read and compared; nothing is written."""

from __future__ import annotations

from ingestd.backup.blobs import read_blob, read_index
from ingestd.backup.folder import Backup
from ingestd.backup.format import check_file
from ingestd.backup.progress import Progress, quiet


def check_backup(backup: Backup, progress: Progress = quiet) -> None:
    """Raises BackupDamaged."""
    manifest = backup.manifest
    files = [*manifest.tables, *([manifest.blobs] if manifest.blobs else [])]
    count = len(files) + (manifest.blobs.rows if manifest.blobs else 0)
    with progress("checking", count) as step:
        for file in files:
            check_file(backup.path, file)
            step(1)
        for one in read_index(backup):
            read_blob(backup, one)
            step(1)
