"""Writes TNEF streams, as Outlook does or worse ([MS-OXTNEF])."""

from __future__ import annotations

import struct
from collections.abc import Sequence

UNICODE, STRING8, BINARY, OBJECT, INTEGER, TIME, BOOLEAN = 0x001F, 0x001E, 0x0102, 0x000D, 0x0003, 0x0040, 0x000B
SUBJECT, MESSAGE_CLASS, BODY = 0x00018004, 0x00078008, 0x0002800C
MESSAGE_PROPERTIES, CODEPAGE = 0x00069003, 0x00069007
RENDERING, TITLE, DATA, ATTACH_PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
EMBEDDED = bytes.fromhex("0703020000000000c000000000000046")
APPOINTMENT = bytes.fromhex("0220060000000000c000000000000046")

Property = tuple[int, int | tuple[bytes, int], object]
"""Type, number (or set and number), value."""


def attribute(level: int, name: int, value: bytes) -> bytes:
    return struct.pack("<BII", level, name, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


def properties(*given: Property) -> bytes:
    return struct.pack("<I", len(given)) + b"".join(_property(*one) for one in given)


def _property(kind: int, name: int | tuple[bytes, int], value: object) -> bytes:
    if isinstance(name, int):
        head = struct.pack("<HH", kind, name)
    else:
        head = struct.pack("<HH", kind, 0x8000) + name[0] + struct.pack("<II", 0, name[1])
    if kind in (INTEGER, BOOLEAN):
        return head + struct.pack("<I", value)
    if kind == TIME:
        return head + struct.pack("<Q", value)
    data = f"{value}\0".encode("utf-16-le") if kind == UNICODE else value
    assert isinstance(data, bytes)
    return head + struct.pack("<II", 1, len(data)) + data + bytes(-len(data) % 4)


def file(
    title: bytes = b"", data: bytes | None = None, given: Sequence[Property] = (), *, data_first: bool = False
) -> bytes:
    parts = [attribute(2, TITLE, title + b"\0")] if title else []
    if data is not None:
        parts.insert(0 if data_first else len(parts), attribute(2, DATA, data))
    if given:
        parts.append(attribute(2, ATTACH_PROPERTIES, properties(*given)))
    return attribute(2, RENDERING, bytes(14)) + b"".join(parts)


def tnef(*attributes: bytes, codepage: int = 1252) -> bytes:
    head = struct.pack("<IH", 0x223E9F78, 1) + attribute(1, CODEPAGE, struct.pack("<II", codepage, 0))
    return head + b"".join(attributes)
