"""Why a backup or a restore was refused. Texts are for the operator; they hold paths, ids and counts."""

from __future__ import annotations


class BackupError(Exception):
    """Base of all errors of backups. Nothing that was there before has been changed."""


class WrongPlace(BackupError):
    """Backups of this kind do not belong into this folder."""


class BackupDamaged(BackupError):
    """The backup is not what was written: something is missing, cut or changed. Use another one."""


class BackupUnsuitable(BackupError):
    """The backup is whole, but is not one that can be restored here."""


class StoreNotEmpty(BackupError):
    """A restore never writes over data."""
