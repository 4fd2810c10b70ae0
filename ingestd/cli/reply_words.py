"""What `ticket reply` is given: words, files and images; and why a reply was not sent, in words."""

from __future__ import annotations

import mimetypes
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from ingestd.cli.common import Trouble
from ingestd.desk import ReplyView
from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent
from storage.outbox import ReplyStatus

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


def why(view: ReplyView) -> str:
    """Return why a reply stands where it stands; "" where there is nothing to say."""
    last = view.attempts[-1] if view.attempts else None
    if view.reply.status is ReplyStatus.FAILED and last is not None and last.enhanced_code == "5.6.7":
        # RFC 6531 §3.5: the name of the recipient, before the "@", is not ASCII, and the server has no SMTPUTF8.
        return "the mail server takes no addresses with letters beyond ASCII (it has no SMTPUTF8)"
    return view.reply.reason.replace("_", " ") if view.reply.reason else ""
