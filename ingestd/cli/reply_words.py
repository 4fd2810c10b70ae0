"""What `ticket reply` is given: words, files and images."""

from __future__ import annotations

import mimetypes
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from ingestd.cli.common import Trouble
from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent

_UNKNOWN_TYPE = "application/octet-stream"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def words(given: Mapping[BodyFormat, str | None], limit: int) -> tuple[BodyFormat, str]:
    """Return the one of the options --text, --markdown and --html that was given, read from standard input for -."""
    said = [(form, value) for form, value in given.items() if value]
    if len(said) != 1:
        raise click.UsageError("say something: one of --text, --markdown and --html; - reads it from standard input")
    form, value = said[0]
    return form, sys.stdin.read(limit) if value == "-" else value


def attached(path: Path, limit: int) -> AttachmentContent:
    return AttachmentContent(path.name, _type_of(path), _read(path, limit))


def inline_image(option: str, limit: int) -> InlineImage:
    """Return the image of FILE[:NAME]; a file whose own name has a colon is found, too."""
    path, name = Path(option), ""
    if not path.is_file():
        before, colon, name = option.rpartition(":")
        path = Path(before)
        if not colon or not path.is_file():
            raise click.BadParameter(f"there is no file {option}", param_hint="--inline")
    return InlineImage(name or _NOT_IN_NAMES.sub("-", path.name), path.name, _type_of(path), _read(path, limit))


def _type_of(path: Path) -> str:
    guessed, _ = mimetypes.guess_type(path.name)
    return guessed or _UNKNOWN_TYPE


def _read(path: Path, limit: int) -> bytes:
    if path.stat().st_size > limit:
        raise Trouble(f"{path} is larger than a reply may be ({limit} bytes)")
    return path.read_bytes()
