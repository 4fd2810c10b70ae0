"""What a backup consists of: a manifest and row files.

    content-20261124T113455123Z/
      manifest.json         what the backup is, and size and SHA-256 of each file; written last
      accounts.rows.zst     one file a table
      …
      blobs.rows.zst        content only: which blobs there are, with the SHA-256 of each
      blobs/<account>/<mailbox>/<owner>

A row file is one zstd stream of rows, each behind its length as 4 bytes, big-endian. A row is a
msgpack array in the order of the manifest's columns. Ids are 16 bytes and times are microseconds
since 1970, whichever database they come from and go to. The manifest names kinds of columns, so
that rows of an older schema can be loaded without that version's code.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import msgspec
import zstandard
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.types import TypeEngine

from ingestd.backup.errors import BackupDamaged, BackupError, BackupUnsuitable
from storage.types import Id, Instant

FORMAT: Final = "ingestd backup"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
BLOBS: Final = "blobs"
_LENGTH = struct.Struct(">I")
_ROW_BYTES_MAX = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_ZSTD_LEVEL = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_KINDS: dict[str, type[TypeEngine[Any]]] = {
    "id": Id,
    "instant": Instant,
    "bytes": LargeBinary,
    "boolean": Boolean,
    "integer": BigInteger,
    "double": Double,
    "text": Text,
}
_OUT: dict[str, Callable[[Any], Any]] = {
    "id": lambda value: value.bytes,
    "instant": lambda value: (value - _EPOCH) // _MICROSECOND,
    "bytes": bytes,
}
_IN: dict[str, Callable[[Any], Any]] = {
    "id": lambda value: UUID(bytes=value),
    "instant": lambda value: _EPOCH + timedelta(microseconds=value),
}


class ColumnForm(msgspec.Struct, frozen=True):
    name: str
    kind: str
    """id, instant, bytes, boolean, integer or text."""


class RowFile(msgspec.Struct, frozen=True):
    """One table of a backup."""

    table: str
    columns: tuple[ColumnForm, ...]
    rows: int
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.table}.rows.zst"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is."""

    format: str = FORMAT
    version: int = VERSION
    kind: str
    """content or keystore."""
    backup_id: UUID
    created_at: datetime
    """When its snapshot was taken, by this machine's clock."""
    made_by: str
    """The version of ingestd."""
    engine: str
    """sqlite or postgresql: where it was taken. It can be restored into either."""
    schema: str
    """The revision of the database's schema."""
    ledger: str
    """The position in the erasure ledger: of a key store its last one, of a content database the one it knows."""
    tables: tuple[RowFile, ...]
    """In an order in which they can be loaded."""
    blobs: RowFile | None = None
    """The index of the blobs."""
    blobs_missing: int = 0
    """Blobs that the store itself did not have any more, although a message refers to them."""
    left_out: dict[str, int] = {}
    """Rows that a backup must not keep, by table."""

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.tables)

    @property
    def size_bytes(self) -> int:
        """Of the row files, without the blobs."""
        return sum(one.size_bytes for one in self.tables)


class _Envelope(msgspec.Struct):
    sha256: str
    manifest: msgspec.Raw


class _Header(msgspec.Struct):
    """What every version of a manifest has."""

    format: str
    version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's file: its JSON, and the JSON's own SHA-256.

    >>> one = Manifest(kind="content", backup_id=UUID(int=1), created_at=_EPOCH, made_by="1", engine="sqlite",
    ...     schema="content_0001", ledger="0:", tables=())
    >>> decode_manifest(encode_manifest(one)) == one
    True
    """
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    return msgspec.json.encode(_Envelope(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Raises BackupDamaged, and BackupUnsuitable for one that a newer version wrote."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        body = bytes(envelope.manifest)
        if hashlib.sha256(body).hexdigest() != envelope.sha256:
            raise BackupDamaged("the backup's manifest was changed: its own checksum does not fit")
        header = msgspec.json.decode(body, type=_Header)
        if header.format != FORMAT:
            raise BackupDamaged("the manifest is not that of a backup of ingestd")
        if header.version > VERSION:
            raise BackupUnsuitable(
                f"the backup has format {header.version}, this version of ingestd reads up to {VERSION}: "
                "restore it with the version that made it, or with a newer one"
            )
        return msgspec.json.decode(body, type=Manifest)
    except msgspec.MsgspecError:
        raise BackupDamaged("the backup's manifest cannot be read") from None


def forms_of(table: Table) -> tuple[ColumnForm, ...]:
    return tuple(ColumnForm(str(column.name), _kind(column)) for column in table.columns)


def table_of(file: RowFile) -> Table:
    """Return the table to load a file's rows into, as its manifest describes it. Raises BackupUnsuitable."""
    for form in file.columns:
        if form.kind not in _KINDS:
            raise BackupUnsuitable(f"table {file.table} has a column of the unknown kind {form.kind}")
    return Table(file.table, MetaData(), *(Column(form.name, _KINDS[form.kind]()) for form in file.columns))


def _kind(column: Column[Any]) -> str:
    # Id and Instant first: they are made of other types.
    for kind, types in (
        ("id", Id),
        ("instant", Instant),
        ("bytes", LargeBinary),
        ("boolean", Boolean),
        ("integer", Integer),
        ("double", Double),
        ("text", Text),
    ):
        if isinstance(column.type, types):
            return kind
    raise TypeError(f"{column} has a type that backups do not know")


class RowWriter:
    """Writes the rows of one file. Raises BackupError where the disk does not take them."""

    def __init__(self, path: Path, file: BinaryIO, columns: Sequence[ColumnForm]) -> None:
        self.rows = 0
        self.size_bytes = 0
        self._path = path
        self._file = file
        self._digest = hashlib.sha256()
        self._encoder = msgspec.msgpack.Encoder()
        self._convert = [(index, _OUT[form.kind]) for index, form in enumerate(columns) if form.kind in _OUT]
        self._stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()

    def write(self, row: Sequence[Any]) -> None:
        values = list(row)
        for index, convert in self._convert:
            if values[index] is not None:
                values[index] = convert(values[index])
        encoded = self._encoder.encode(values)
        self._put(self._stream.compress(_LENGTH.pack(len(encoded)) + encoded))
        self.rows += 1

    def end(self) -> str:
        """Finish the file and return its SHA-256."""
        self._put(self._stream.flush())
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def _put(self, data: bytes) -> None:
        if data:
            # Here: a database would take the disk's error for its own.
            with writing(self._path):
                self._file.write(data)
            self._digest.update(data)
            self.size_bytes += len(data)


def write_rows(
    folder: Path,
    table: str,
    columns: tuple[ColumnForm, ...],
    rows: Iterator[Sequence[Any]],
    step: Callable[[int], None],
) -> RowFile:
    """Write a table's file so that it survives a power cut; return what it has become."""
    path = folder / f"{table}.rows.zst"
    with writing(path):
        file = _create(path)
    with file:
        writer = RowWriter(path, file, columns)
        for row in rows:
            writer.write(row)
            step(1)
        sha256 = writer.end()
    return RowFile(table, columns, writer.rows, writer.size_bytes, sha256)


def read_rows(folder: Path, file: RowFile) -> Iterator[list[Any]]:
    """Yield the rows of a table's file. Raises BackupDamaged."""
    convert = [(index, _IN[form.kind]) for index, form in enumerate(file.columns) if form.kind in _IN]
    decoder = msgspec.msgpack.Decoder(list[Any])
    count = 0
    with _open(folder, file) as stream:
        while head := _read(stream, _LENGTH.size):
            if len(head) < _LENGTH.size or (length := _LENGTH.unpack(head)[0]) > _ROW_BYTES_MAX:
                raise BackupDamaged(f"{file.name} is damaged after {count} rows")
            row = decoder.decode(_read(stream, length))
            if len(row) != len(file.columns):
                raise BackupDamaged(f"{file.name} has a row of another shape after {count} rows")
            for index, change in convert:
                if row[index] is not None:
                    row[index] = change(row[index])
            count += 1
            yield row
    if count != file.rows:
        raise BackupDamaged(f"{file.name} has {count} of {file.rows} rows")


def check_file(folder: Path, file: RowFile) -> None:
    """Compare a file with what the manifest says of it. Raises BackupDamaged."""
    digest, size = hashlib.sha256(), 0
    try:
        with (folder / file.name).open("rb") as stream:
            while data := stream.read(_READ_BYTES):
                digest.update(data)
                size += len(data)
    except FileNotFoundError:
        raise BackupDamaged(f"{file.name} is missing") from None
    if size != file.size_bytes:
        raise BackupDamaged(f"{file.name} has {size} bytes, {file.size_bytes} were written")
    if digest.hexdigest() != file.sha256:
        raise BackupDamaged(f"{file.name} was changed: it has another SHA-256 than the manifest says")


def write_file(path: Path, data: bytes) -> None:
    """Write a small file so that it survives a power cut; only its owner can read it."""
    with _create(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Say which path cannot be written where the operating system refuses it."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or 'input/output error'}") from error


def _create(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


@contextmanager
def _open(folder: Path, file: RowFile) -> Iterator[zstandard.ZstdDecompressionReader]:
    try:
        with (folder / file.name).open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
            yield stream
    except FileNotFoundError:
        raise BackupDamaged(f"{file.name} is missing") from None
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        raise BackupDamaged(f"{file.name} cannot be read") from None


def _read(stream: zstandard.ZstdDecompressionReader, length: int) -> bytes:
    """Read `length` bytes, or fewer where the stream ends."""
    parts = []
    while length and (part := stream.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
