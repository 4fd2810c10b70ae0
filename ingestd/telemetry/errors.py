"""Exceptions as a log may hold them: type, place in the code, and text only where the text is ours.

The message of a library's exception is the likeliest way for an address, a
subject or a token to reach a log (an SQL error holds its parameters, an SMTP error
the recipient, an HTTP error the URL). It is never written.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Final

from connectors.base import ConnectorError
from storage.errors import StorageError

OWN_PACKAGES: Final = ("ingestd", "connectors", "storage", "config")
FRAMES_MAX: Final = 5
CAUSES_MAX: Final = 5
TEXT_CHARS_MAX: Final = 200

_ROOT = Path(__file__).resolve().parents[2]
# These hierarchies promise texts of our own, made of ids, hosts, commands and codes.
_OUR_TEXTS = (ConnectorError, StorageError)
# The promise is not taken on trust: no address, no URL with a query, nothing that could be a token.
_SAFE_TEXT = re.compile(r"[A-Za-z0-9 .,:;()\[\]'\"`/_+<>*#!|-]+")
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9+/_=]{40}|ey[A-Za-z0-9_-]{20}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def describe(error: BaseException) -> dict[str, Any]:
    """Return what may be logged about an exception.

    Keys: `error` (type), `error_at` (places, outermost first), and where there are
    any `error_causes` (types, nearest first), `error_text` (ours only), `trouble`.
    """
    fields: dict[str, Any] = {"error": type_name(error), "error_at": places(error)}
    causes = [type_name(cause) for cause in _causes(error)]
    if causes:
        fields["error_causes"] = causes
    if isinstance(error, ConnectorError):
        fields["trouble"] = str(error.trouble)
    text = safe_text(error)
    if text is not None:
        fields["error_text"] = text
    return fields


def type_name(error: BaseException) -> str:
    """Return the name of the exception's class, without its module."""
    name = type(error).__name__
    return name if _NAME.fullmatch(name) else "Exception"


def safe_text(error: BaseException) -> str | None:
    """Return the text of one of our own errors, or None where it may not be written."""
    if not isinstance(error, _OUR_TEXTS):
        return None
    text = str(error)[:TEXT_CHARS_MAX]
    if not _SAFE_TEXT.fullmatch(text) or _TOKEN_LIKE.search(text):
        return None
    return text


def places(error: BaseException) -> list[str]:
    """Return `file:line` of the innermost frames of our own packages, outermost first.

    Where none is ours, the innermost frame of the library, as `module:line`.
    """
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [f"{path}:{line}" for frame, line in frames if (path := _own_path(frame)) is not None]
    if own or not frames:
        return own[-FRAMES_MAX:]
    frame, line = frames[-1]
    module = str(frame.f_globals.get("__name__", ""))
    return [f"{module}:{line}"] if re.fullmatch(r"[A-Za-z0-9_.]{1,80}", module) else []


def _own_path(frame: FrameType) -> str | None:
    try:
        relative = Path(frame.f_code.co_filename).relative_to(_ROOT)
    except ValueError:
        return None
    return relative.as_posix() if relative.parts[0] in OWN_PACKAGES else None


def _causes(error: BaseException) -> list[BaseException]:
    """What led to the error: members of a group, then the chain; bounded, as chains can be circles."""
    found: list[BaseException] = list(error.exceptions[:CAUSES_MAX]) if isinstance(error, BaseExceptionGroup) else []
    cause = _cause(error)
    while cause is not None and len(found) < CAUSES_MAX:
        found.append(cause)
        cause = _cause(cause)
    return found


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__
